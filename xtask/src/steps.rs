// SPDX-License-Identifier: Apache-2.0
//! A list of steps: each is announced, timed and summed up; the first that fails ends the list.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Outcome;

/// What there is to do, in order.
#[derive(Default)]
pub(crate) struct Steps {
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    work: Work,
}

enum Work {
    Commands(Vec<Command>),
    Call(fn() -> Outcome),
    /// Left out on purpose; the summary says why.
    Skipped(&'static str),
}

enum Ending {
    Passed(Duration),
    Failed(Duration),
    Skipped(&'static str),
    NotReached,
}

impl Steps {
    /// Runs a command.
    pub(crate) fn command(self, name: &'static str, command: Command) -> Self {
        self.commands(name, vec![command])
    }

    /// Runs commands one after another.
    pub(crate) fn commands(mut self, name: &'static str, commands: Vec<Command>) -> Self {
        self.steps.push(Step { name, work: Work::Commands(commands) });
        self
    }

    /// Calls a function.
    pub(crate) fn call(mut self, name: &'static str, call: fn() -> Outcome) -> Self {
        self.steps.push(Step { name, work: Work::Call(call) });
        self
    }

    /// Leaves `names` out and says why.
    pub(crate) fn skip(mut self, names: &[&str], why: &'static str) -> Self {
        for step in self.steps.iter_mut().filter(|step| names.contains(&step.name)) {
            step.work = Work::Skipped(why);
        }
        self
    }

    /// Does it all, up to the first failure, and prints the summary.
    pub(crate) fn run(self) -> Outcome {
        let began = Instant::now();
        let total = self.steps.len();
        let mut endings = Vec::new();
        let mut failure = None;
        for (at, step) in self.steps.into_iter().enumerate() {
            if failure.is_some() {
                endings.push((step.name, Ending::NotReached));
                continue;
            }
            println!("\n[{}/{total}] {}", at + 1, step.name);
            let start = Instant::now();
            let ending = match step.work {
                Work::Skipped(why) => {
                    println!("  left out: {why}");
                    Ending::Skipped(why)
                }
                Work::Commands(commands) => ended(start, commands.into_iter().try_for_each(run), &mut failure),
                Work::Call(call) => ended(start, call(), &mut failure),
            };
            endings.push((step.name, ending));
        }
        summary(&endings, began.elapsed());
        match failure {
            None => Ok(()),
            Some(why) => {
                let name = endings.iter().find(|(_, ending)| matches!(ending, Ending::Failed(_)));
                Err(format!("step `{}` failed: {why}", name.map_or("?", |(name, _)| name)))
            }
        }
    }
}

fn ended(start: Instant, outcome: Outcome, failure: &mut Option<String>) -> Ending {
    match outcome {
        Ok(()) => Ending::Passed(start.elapsed()),
        Err(why) => {
            *failure = Some(why);
            Ending::Failed(start.elapsed())
        }
    }
}

fn summary(endings: &[(&'static str, Ending)], took: Duration) {
    let width = endings.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    println!("\nsummary");
    for (name, ending) in endings {
        match ending {
            Ending::Passed(took) => println!("  {name:width$}  ok        {:>7.1} s", took.as_secs_f64()),
            Ending::Failed(took) => println!("  {name:width$}  FAILED    {:>7.1} s", took.as_secs_f64()),
            Ending::Skipped(why) => println!("  {name:width$}  left out  ({why})"),
            Ending::NotReached => println!("  {name:width$}  not reached"),
        }
    }
    println!("  {:width$}            {:>7.1} s", "", took.as_secs_f64());
}

/// Runs one command with our own input and output.
pub(crate) fn run(mut command: Command) -> Outcome {
    let line = shown(&command);
    println!("  $ {line}");
    let status = command.status().map_err(|error| format!("`{line}` does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` ended with {status}")) }
}

/// The command as a person would type it, with the variables that were set for it.
pub(crate) fn shown(command: &Command) -> String {
    // `PATH` is ours to extend and no news; the program's full path is none either.
    let set = command.get_envs().filter(|(name, _)| *name != "PATH");
    let set = set.filter_map(|(name, value)| Some(format!("{}={:?}", name.display(), value?.to_string_lossy())));
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args()).map(|word| word.to_string_lossy().into_owned());
    set.chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_first_failure_ends_the_list_and_is_named() {
        let steps = Steps::default()
            .command("good", shell("exit 0"))
            .commands("bad", vec![shell("exit 0"), shell("exit 3")])
            .call("never", || Err("reached".to_owned()));
        let why = steps.run().unwrap_err();
        assert!(why.contains("`bad`") && why.contains("exit 3") && !why.contains("reached"), "{why}");
    }

    #[test]
    fn what_is_left_out_does_not_run() {
        let steps = Steps::default().command("slow", shell("exit 1")).skip(&["slow"], "quick");
        assert_eq!(steps.run(), Ok(()));
    }

    #[test]
    fn a_command_is_shown_with_its_variables() {
        let mut command = shell("true");
        command.env("RUSTDOCFLAGS", "-D warnings").env("PATH", "x");
        assert_eq!(shown(&command), "RUSTDOCFLAGS=\"-D warnings\" sh -c true");
    }
}

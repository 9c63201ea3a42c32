// SPDX-License-Identifier: Apache-2.0
//! The same call to a server with nothing between: what a bridge can at best be compared with.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Options;
use crate::calls::summary;

const WARM_UP: Duration = Duration::from_millis(500);

pub(crate) fn run(options: &Options) -> Result<String, String> {
    let (program, arguments) = options.rest.split_first().ok_or("a command is needed")?;
    let mut server = Command::new(program);
    server.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().map_err(|error| format!("{program}: {error}"))?;
    let pipes = server.stdin.take().zip(server.stdout.take()).ok_or("no pipes")?;
    let mut talk = Talk { input: pipes.0, output: BufReader::new(pipes.1), line: String::new() };
    talk.ask(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"mcp-load","version":"1"}}}"#)?;
    talk.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)?;
    talk.calls(WARM_UP, &options.tool)?;
    let began = Instant::now();
    let times = talk.calls(options.time, &options.tool)?;
    let line = summary(times, began.elapsed());
    drop(talk);
    server.wait().map_err(|error| error.to_string())?;
    Ok(line)
}

struct Talk {
    input: std::process::ChildStdin,
    output: BufReader<std::process::ChildStdout>,
    line: String,
}

impl Talk {
    fn calls(&mut self, time: Duration, tool: &str) -> Result<Vec<u32>, String> {
        let until = Instant::now() + time;
        let mut times = Vec::new();
        while Instant::now() < until {
            let id = times.len() + 1;
            let said = format!("call {id} of a client that measures");
            let began = Instant::now();
            self.ask(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"message":"{said}"}}}}}}"#
            ))?;
            if !self.line.contains(&said) {
                return Err(format!("not an echo: {}", self.line));
            }
            times.push(u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
        Ok(times)
    }

    fn say(&mut self, line: &str) -> Result<(), String> {
        self.input.write_all(format!("{line}\n").as_bytes()).map_err(|error| error.to_string())
    }

    fn ask(&mut self, line: &str) -> Result<(), String> {
        self.say(line)?;
        self.line.clear();
        self.output.read_line(&mut self.line).map(drop).map_err(|error| error.to_string())
    }
}

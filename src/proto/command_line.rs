// SPDX-License-Identifier: Apache-2.0
//! A command line as words, split as `sh` splits it. No shell ever runs it.

use std::fmt;

use crate::error::{Error, Result};

/// The longest command line, in bytes: the system's own limit for one argument.
const MAX_LENGTH: usize = 128 << 10;

/// A program, its arguments, and the assignments before it (`LEVEL=debug server --fast`).
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// Names and values, in order.
    pub assignments: Vec<(String, String)>,
    /// What to run: a path, or a name to be found in `PATH`.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl CommandLine {
    /// Reads `text`. Words with the meaning of an operator to a shell (`|`, `&&`, `;`, `>`) are refused unless they are
    /// quoted: somebody who writes one expects a shell.
    pub fn parse(text: &str) -> Result<Self> {
        let words = split(text)?;
        if let Some(word) = words.iter().find(|word| word.is_operator()) {
            return Err(Error::config(format!("the command has {:?}, which only a shell understands", word.text))
                .with_hint(format!("quote it if it is an argument, or write sh -c '{text}'")));
        }
        let mut words = words.into_iter().map(|word| word.text).peekable();
        let mut assignments = Vec::new();
        while let Some((name, value)) = words.peek().and_then(|word| assignment(word)) {
            assignments.push((name.to_owned(), value.to_owned()));
            words.next();
        }
        let program = words.next().filter(|program| !program.is_empty()).ok_or_else(|| {
            Error::config("the command names no program").with_hint("write PROGRAM ARGUMENTS, quoted as for sh")
        })?;
        Ok(Self { assignments, program, arguments: words.collect() })
    }
}

impl fmt::Display for CommandLine {
    /// Program and arguments, cut when they are long. Values of assignments may be secrets and are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 120;
        let mut text = self.program.clone();
        for argument in &self.arguments {
            text.push(' ');
            text.push_str(argument);
        }
        match text.char_indices().nth(SHOWN) {
            Some((at, _)) => write!(f, "{}…", text.get(..at).unwrap_or_default()),
            None => f.write_str(&text),
        }
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandLine({self})")
    }
}

/// `text` as words: blanks separate, `'…'` is literal, `"…"` is literal but for `\` before `"`, `\`, `$`, `` ` `` and a line's
/// end, `\` elsewhere takes the next character as it is. Nothing is expanded: `$HOME`, `~` and `*` stay what they are.
pub fn split_words(text: &str) -> Result<Vec<String>> {
    Ok(split(text)?.into_iter().map(|word| word.text).collect())
}

/// `NAME=VALUE`, as a shell knows it.
pub(crate) fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    is_name(name).then_some((name, value))
}

pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[derive(Default)]
struct Word {
    text: String,
    /// A quote or an escape was part of it.
    is_quoted: bool,
}

impl Word {
    fn is_operator(&self) -> bool {
        let of_operator = |c| matches!(c, '|' | '&' | ';' | '<' | '>');
        // `2>&1` and `2>/dev/null` too.
        let text = self.text.trim_start_matches(|c: char| c.is_ascii_digit());
        !self.is_quoted && (text.starts_with(['<', '>']) || !text.is_empty() && text.chars().all(of_operator))
    }
}

fn split(text: &str) -> Result<Vec<Word>> {
    if text.len() > MAX_LENGTH || text.contains('\0') {
        return Err(Error::config(format!("a command is at most {MAX_LENGTH} bytes without NUL, got {}", text.len())));
    }
    let open = |what: &str| {
        Error::config(format!("the command {text:?} ends within {what}")).with_hint("close it, or put a \\ before it")
    };
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = quoted(&mut word);
                loop {
                    match rest.next().ok_or_else(|| open("single quotes"))? {
                        '\'' => break,
                        literal => word.text.push(literal),
                    }
                }
            }
            '"' => {
                let word = quoted(&mut word);
                loop {
                    match rest.next().ok_or_else(|| open("double quotes"))? {
                        '"' => break,
                        '\\' => match rest.next().ok_or_else(|| open("double quotes"))? {
                            '\n' => {}
                            escaped @ ('"' | '\\' | '$' | '`') => word.text.push(escaped),
                            other => word.text.extend(['\\', other]),
                        },
                        literal => word.text.push(literal),
                    }
                }
            }
            '\\' => match rest.next().ok_or_else(|| open("an escape"))? {
                '\n' => {}
                escaped => quoted(&mut word).text.push(escaped),
            },
            plain => word.get_or_insert_default().text.push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(word: &mut Option<Word>) -> &mut Word {
    let word = word.get_or_insert_default();
    word.is_quoted = true;
    word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `sh` makes of it.
    fn by_sh(text: &str) -> Vec<String> {
        let script = format!("printf '%s\\0' {text}");
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert!(output.status.success(), "{text}");
        let said = String::from_utf8(output.stdout).unwrap();
        said.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn words_are_those_of_sh() {
        for text in [
            "npx -y @scope/server-everything",
            "a  b\tc",
            r#"'a b' "c d" e\ f"#,
            r#"a'b'"c"\d"#,
            r#""" '' x"#,
            r#""a \"quoted\" \\ \$ \` \n""#,
            r"'a \ b' \'",
            "--url=https://h/x#y ä€😀",
            "'a\nb' \"c\nd\"",
            "a\\\nb",
            "\"a\\\nb\"",
        ] {
            assert_eq!(split_words(text).unwrap(), by_sh(text), "{text}");
        }
        assert_eq!(split_words(" \t").unwrap(), [""; 0]);
        assert_eq!(split_words("$HOME ~ *.rs a&b=c").unwrap(), ["$HOME", "~", "*.rs", "a&b=c"]);
    }

    #[test]
    fn what_is_not_closed_is_an_error() {
        for text in ["'a", "\"a", "a\\", "\"a\\\"", "a 'b c"] {
            assert_eq!(split_words(text).unwrap_err().kind(), crate::ErrorKind::Config, "{text}");
        }
        assert!(split_words("a\0b").is_err());
        assert!(split_words(&"x".repeat(MAX_LENGTH + 1)).is_err());
    }

    #[test]
    fn assignments_come_before_the_program() {
        let line = CommandLine::parse("A=1 B='x y' run C=3 'D=4'").unwrap();
        assert_eq!(line.assignments, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x y".to_owned())]);
        assert_eq!(
            (line.program.as_str(), line.arguments.as_slice()),
            ("run", ["C=3".to_owned(), "D=4".to_owned()].as_slice())
        );
        assert_eq!(line.to_string(), "run C=3 D=4");
        assert!(!format!("{line:?}").contains("x y"));
        for nothing in ["", "  ", "A=1", "''"] {
            assert!(CommandLine::parse(nothing).is_err(), "{nothing}");
        }
    }

    #[test]
    fn what_needs_a_shell_is_refused_with_one_that_would_do() {
        for text in ["a | b", "a && b", "a ; b", "a > f", "a 2>&1", "a >f", "a &"] {
            let error = CommandLine::parse(text).unwrap_err();
            assert!(error.hint().unwrap().contains("sh -c"), "{error}");
        }
        for text in ["a '|' b", "a \\; b", "a x=1&y=2", "a 3", "a -1"] {
            CommandLine::parse(text).unwrap();
        }
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("[^\0]{0,12}", 0..6)) {
            let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
            prop_assert_eq!(split_words(&quoted.join(" ")).unwrap(), words);
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = CommandLine::parse(&text);
        }
    }
}

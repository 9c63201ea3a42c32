// SPDX-License-Identifier: Apache-2.0
//! The rules of the house that a compiler does not check, read off the source text: `docs/architecture.md` gives the
//! reasons. Comments, strings and `#[cfg(test)]` modules are blanked before a rule looks, so that they may name anything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Pure code: given the same arguments it does the same, so it can be tested to the last state.
const PURE: &[&str] = &[
    "src/proto/",
    "src/registry/select.rs",
    "src/registry/verdict.rs",
    "src/pool/core.rs",
    "src/discovery/balance.rs",
];
const IMPURE: &[&str] = &[
    "tokio",
    "socket2",
    "std::net",
    "std::fs",
    "std::io",
    "std::thread",
    "std::process",
    "std::env",
    "Instant::now",
    "SystemTime",
    "getrandom",
    "async fn",
    ".await",
];

/// Reading the environment. `env!` is read by the compiler and is something else.
const ENVIRONMENT: &[&str] = &[
    "env::var(",
    "env::vars(",
    "env::var_os(",
    "env::vars_os(",
    "std::env::var",
    "std::env::var_os",
    "std::env::vars",
    "std::env::vars_os",
    "env::temp_dir",
    "env::home_dir",
];
/// The runtime is the only reader in the libraries; programs and chores are the outermost layer and may.
const READS_ENVIRONMENT: &[&str] =
    &["src/runtime.rs", "src/runtime/", "cli/", "xtask/", "tests/", "benches/", "examples/"];

/// Code for tests, here and in plugins: a panic is its way to say that a check failed.
const FOR_TESTS: &[&str] = &["src/conformance/", "src/testing.rs", "src/testing/"];

/// Mutable statics that are no singleton in disguise, each with its reason.
const STATICS: &[(&str, &str)] = &[
    // Ids must differ between the runtimes of one process too.
    ("src/message.rs", "NEXT"),
    // Random bits of the process: drawn once, never changed.
    ("src/message.rs", "BITS"),
    // What a thread is polling. It holds for one poll, whichever runtime's.
    ("src/stream/place.rs", "PLACE"),
    ("src/stream/place.rs", "PARCEL"),
    // Room for calls, with nothing in it of those that were: memory, and no state.
    ("src/runtime/call/spare.rs", "SPARE"),
];

#[test]
fn pure_modules_touch_nothing_outside() {
    let mut faults = Faults::default();
    for file in rust_files().iter().filter(|file| file.is_under(PURE)) {
        file.forbid(IMPURE, "is not for pure code: pass it in", &mut faults);
    }
    faults.none();
}

#[test]
fn transports_do_not_know_each_other() {
    let mut faults = Faults::default();
    let files = rust_files();
    let names: BTreeSet<&str> = files.iter().filter_map(File::transport).collect();
    for file in &files {
        let Some(own) = file.transport() else { continue };
        for other in names.iter().filter(|other| **other != own) {
            let path = format!("transport::{other}");
            file.forbid(&[&path], "is another transport: what both need goes down to `io` or `proto`", &mut faults);
        }
        file.forbid(&["crate::layer"], "sits above the transports", &mut faults);
        file.forbid(
            &["config::load", "config::env"],
            "belongs to the runtime: a factory gets its configuration",
            &mut faults,
        );
    }
    faults.none();
}

#[test]
fn only_the_runtime_reads_the_environment() {
    let mut faults = Faults::default();
    for file in rust_files() {
        if !file.is_under(READS_ENVIRONMENT) && !file.is_for_tests() {
            file.forbid(ENVIRONMENT, "only `runtime` reads the environment and hands on pairs", &mut faults);
        }
        // Threads of one test binary share the environment: who sets it changes another test.
        file.forbid_everywhere(&["set_var(", "remove_var("], "no code sets the process's environment", &mut faults);
    }
    faults.none();
}

#[test]
fn the_core_names_no_plugin_and_plugins_use_the_front_door() {
    let plugins = plugins();
    assert!(!plugins.is_empty());
    let mut faults = Faults::default();
    for file in rust_files() {
        if file.path.starts_with("src/") {
            let crates: Vec<String> = plugins.iter().map(|name| format!("biplane_{name}")).collect();
            let crates: Vec<&str> = crates.iter().map(String::as_str).collect();
            file.forbid(&crates, "is a plugin: the core names none", &mut faults);
        }
        let Some(own) = file.path.strip_prefix("plugins/").and_then(|rest| rest.split('/').next()) else { continue };
        for other in plugins.iter().filter(|other| *other != own) {
            let path = format!("biplane_{other}");
            file.forbid(&[&path], "is another plugin", &mut faults);
        }
        let hidden = ["registry::inventory", "registry::Collected", "registry::Made", "include!(", "#[path"];
        file.forbid(&hidden, "is no public interface", &mut faults);
    }
    for name in &plugins {
        let manifest = read(&root().join("plugins").join(name).join("Cargo.toml"));
        if !manifest.lines().any(|line| line.trim() == "biplane.workspace = true") {
            faults.add(
                format!("plugins/{name}/Cargo.toml",),
                0,
                "a plugin has the core as it comes: `biplane.workspace = true`",
            );
        }
    }
    faults.none();
}

#[test]
fn every_source_file_names_its_licence() {
    let mut faults = Faults::default();
    for file in rust_files() {
        if file.text.lines().next() != Some("// SPDX-License-Identifier: Apache-2.0") {
            faults.add(&file.path, 1, "the first line is `// SPDX-License-Identifier: Apache-2.0`");
        }
    }
    faults.none();
}

#[test]
fn every_crate_inherits_the_lints() {
    let workspace = read(&root().join("Cargo.toml"));
    assert!(workspace.contains("unsafe_code = \"forbid\""));
    assert!(workspace.contains("await_holding_lock = \"deny\""));
    let mut faults = Faults::default();
    for manifest in files(root(), &|path| path.file_name().is_some_and(|name| name == "Cargo.toml")) {
        let text = read(&manifest);
        if text.contains("[package]") && !text.contains("[lints]\nworkspace = true") {
            faults.add(relative(&manifest), 0, "lacks `[lints] workspace = true`, so `unsafe` is not forbidden in it");
        }
    }
    faults.none();
}

#[test]
fn files_stay_small() {
    let mut faults = Faults::default();
    let mut lengths = Vec::new();
    for file in rust_files() {
        let lines = file.text.lines().count();
        lengths.push(lines);
        if lines > 600 && !file.text.lines().take(20).any(|line| line.contains("Long because")) {
            faults.add(&file.path, lines, "is over 600 lines: split it, or say `Long because …` in its first lines");
        }
    }
    faults.none();
    lengths.sort_unstable();
    let at = |share: usize| lengths[(lengths.len() - 1) * share / 100];
    assert!(at(90) < 450, "nine files in ten stay under 450 lines; the ninth has {}", at(90));
    assert!(at(50) < 250, "the median file stays near 150 lines; it has {}", at(50));
}

#[test]
fn no_singletons() {
    let mut faults = Faults::default();
    let mut seen = BTreeSet::new();
    for file in rust_files() {
        // A test is a process of its own, with no second runtime to respect.
        let shipped = ["src/", "plugins/", "gateway/"].iter().any(|part| file.path.starts_with(part));
        if !shipped || file.path.contains("/tests/") {
            continue;
        }
        file.forbid(&["static mut", "lazy_static"], "two runtimes live in one process", &mut faults);
        if !STATICS.iter().any(|(path, _)| *path == file.path) {
            file.forbid(&["thread_local!"], "what a runtime's tasks share is no thread's", &mut faults);
        }
        for (number, line) in file.code.lines().enumerate() {
            let Some(name) = mutable_static(line) else { continue };
            let known = STATICS.iter().find(|(path, known)| *path == file.path && *known == name);
            match known {
                Some(known) => drop(seen.insert(known)),
                None => faults.add(&file.path, number + 1, "state belongs to a runtime, or to STATICS with a reason"),
            }
        }
    }
    faults.none();
    assert_eq!(seen.len(), STATICS.len(), "STATICS lists what is no longer there");
}

#[test]
fn nothing_unwraps() {
    let mut faults = Faults::default();
    for file in rust_files() {
        let shipped = ["src/", "cli/src/", "plugins/", "gateway/src/"].iter().any(|part| file.path.starts_with(part));
        if shipped && !file.path.contains("/tests/") && !file.is_for_tests() {
            // `.expect(` with a message; the response plane has a method of that name that takes a context.
            file.forbid(
                &[".unwrap()", ".expect(\"", "panic!(", "todo!(", "unimplemented!("],
                "panics: return an Error",
                &mut faults,
            );
        }
    }
    faults.none();
}

/// The rules above find nothing in a clean tree; this one shows that they would find something in another.
#[test]
fn the_rules_bite() {
    let file = File::new(
        "src/proto/x.rs",
        "// tokio in a comment\nlet a = \"tokio\"; let b = '\"'; let c: &'static str = r#\"std::fs\"#; /* std::fs */\nuse tokio::net;\n\
         #[cfg(test)]\nmod tests {\n    use tokio::x; // }\n    const B: &str = \"}\";\n}\nfn f() { std::env::var(x); }\n",
    );
    let mut faults = Faults::default();
    file.forbid(IMPURE, "x", &mut faults);
    let lines: Vec<_> = faults.0.iter().map(|fault| fault.split(": ").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(lines, ["src/proto/x.rs:3", "src/proto/x.rs:9"], "{:?}", faults.0);

    assert_eq!(mutable_static("    static BITS: std::sync::OnceLock<u64> = OnceLock::new();"), Some("BITS"));
    assert_eq!(mutable_static("pub(crate) static N: AtomicU64 = AtomicU64::new(0);"), Some("N"));
    assert_eq!(mutable_static("static NAMES: &[&str] = &[];"), None);
    assert_eq!(mutable_static("fn f(x: &'static Mutex<u8>) {}"), None);
    assert_eq!(File::new("src/transport/tcp/mod.rs", "").transport(), Some("tcp"));
    assert_eq!(File::new("src/transport/mem.rs", "").transport(), Some("mem"));
    assert_eq!(File::new("src/transport/mod.rs", "").transport(), None);
}

/// The name of a static with interior mutability that `line` declares.
fn mutable_static(line: &str) -> Option<&str> {
    let (before, rest) = line.trim_start().split_once("static ")?;
    let declares = before.is_empty() || before.trim_end() == "pub" || before.starts_with("pub(");
    let (name, of) = rest.split_once(':')?;
    let interior = ["Once", "Lazy", "Mutex", "RwLock", "Atomic", "Cell", "Notify", "Semaphore"];
    (declares && interior.iter().any(|word| of.contains(word))).then_some(name)
}

/// A source file as written, and its code with everything else blanked; lines keep their numbers.
struct File {
    path: String,
    text: String,
    code: String,
}

impl File {
    fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { path: path.into(), code: without_tests(&blank(&text)), text }
    }

    fn is_under(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || (place.ends_with('/') && self.path.starts_with(place)))
    }

    fn is_for_tests(&self) -> bool {
        let within = self.path.strip_prefix("plugins/").and_then(|rest| rest.split_once('/')).map(|(_, within)| within);
        let within = within.unwrap_or(&self.path);
        FOR_TESTS.iter().any(|place| within == *place || (place.ends_with('/') && within.starts_with(place)))
    }

    /// The built-in transport that the file belongs to.
    fn transport(&self) -> Option<&str> {
        let name = self.path.strip_prefix("src/transport/")?.split('/').next()?.trim_end_matches(".rs");
        (name != "mod").then_some(name)
    }

    fn forbid(&self, words: &[&str], why: &str, faults: &mut Faults) {
        self.search(&self.code, words, why, faults);
    }

    /// In tests too.
    fn forbid_everywhere(&self, words: &[&str], why: &str, faults: &mut Faults) {
        self.search(&blank(&self.text), words, why, faults);
    }

    fn search(&self, code: &str, words: &[&str], why: &str, faults: &mut Faults) {
        for (number, line) in code.lines().enumerate() {
            for word in words.iter().filter(|word| names(line, word)) {
                faults.add(&self.path, number + 1, format!("`{word}` {why}"));
            }
        }
    }
}

/// Whether `line` has `word`, not as a part of a longer one: `transport::tcp` is not in `transport::tcp_info`.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part) && word.starts_with(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part) && word.ends_with(part);
        !before && !after
    })
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, path: impl std::fmt::Display, line: usize, what: impl std::fmt::Display) {
        self.0.push(format!("{path}:{line}: {what}"));
    }

    #[track_caller]
    fn none(&self) {
        assert!(self.0.is_empty(), "{} faults:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// Blanks comments and the insides of strings.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let (keep, skip) = match next {
            '/' if rest.starts_with("//") => (0, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (0, comment(rest)),
            '"' => (1, string(rest)),
            'r' if raw_opens(rest) && !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') => {
                (0, raw_string(rest))
            }
            '\'' => (1, character(rest)),
            other => (other.len_utf8(), other.len_utf8()),
        };
        let (taken, left) = rest.split_at(skip);
        code.push_str(&taken[..keep]);
        code.extend(taken[keep..].chars().filter(|c| *c == '\n'));
        rest = left;
    }
    code
}

/// Length of the block comment at the start of `text`; they nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        match here {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of the string literal at the start of `text`.
fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let closes = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

fn raw_opens(text: &str) -> bool {
    text[1..].trim_start_matches('#').starts_with('"') && text[1..].starts_with(['#', '"'])
}

fn raw_string(text: &str) -> usize {
    let fences = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    let close = format!("\"{}", "#".repeat(fences));
    let inside = 2 + fences;
    text[inside..].find(&close).map_or(text.len(), |at| inside + at + close.len())
}

/// Length of the character literal at the start of `text`, or 1 if it is a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => text[escaped + 1..].find('\'').map_or(1, |at| escaped + at + 2),
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}

/// Blanks `#[cfg(test)]` modules of already blanked code.
fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut depth = None;
    let mut armed = false;
    for line in code.lines() {
        armed = armed || line.trim_start().starts_with("#[cfg(test)]");
        let opens = armed && depth.is_none() && line.contains("mod ") && line.contains('{');
        if opens {
            depth = Some(0_usize);
        }
        match depth {
            None => {
                armed = armed && line.trim_start().starts_with("#[");
                out.push_str(line);
            }
            Some(open) => {
                let open = open + line.matches('{').count() - line.matches('}').count();
                (depth, armed) = (Some(open).filter(|open| *open > 0), open > 0);
            }
        }
        out.push('\n');
    }
    out
}

fn rust_files() -> Vec<File> {
    let found = files(root(), &|path| path.extension().is_some_and(|end| end == "rs"));
    assert!(found.len() > 30, "the source tree is not where it was");
    // A module that is only compiled for tests is a test.
    let tests: BTreeSet<PathBuf> = found.iter().flat_map(|path| test_modules(path)).collect();
    let file = |path: &PathBuf| {
        let mut file = File::new(relative(path), read(path));
        if tests.contains(path) {
            file.code.clear();
        }
        file
    };
    found.iter().map(file).collect()
}

/// The files of the modules that `path` declares under `#[cfg(test)]`.
fn test_modules(path: &Path) -> Vec<PathBuf> {
    let text = read(path);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let stem = path.file_stem().unwrap_or_default();
    let beside = path.parent().unwrap_or(path);
    let below = if stem == "mod" || stem == "lib" || stem == "main" { beside.to_owned() } else { beside.join(stem) };
    let module = |line: &str| Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned());
    let mut found = Vec::new();
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| **line == "#[cfg(test)]") {
        let next = |by: usize| lines.get(at + by).copied().unwrap_or_default();
        if let Some(file) = next(1).strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
            found.push(beside.join(file));
        } else if let Some(name) = module(next(1)) {
            found.extend([below.join(format!("{name}.rs")), below.join(name).join("mod.rs")]);
        }
    }
    found
}

fn plugins() -> BTreeSet<String> {
    let folders = fs::read_dir(root().join("plugins")).into_iter().flatten().flatten();
    folders
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Files below `folder`, without build products and hidden folders, in a fixed order.
fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&path, wanted));
            }
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// SPDX-License-Identifier: Apache-2.0

use std::path::PathBuf;
use std::time::Duration;

use biplane::ErrorKind;

use super::*;

const HASH: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn with_file(text: &str) -> (tempfile::TempDir, Inputs) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g.toml");
    std::fs::write(&file, text).unwrap();
    (dir, Inputs { file: Some(file), ..Inputs::default() })
}

fn read(text: &str) -> Result<GatewayConfig> {
    load(&with_file(text).1.clone())
}

fn read_with(text: &str, edit: impl FnOnce(&mut Inputs)) -> Result<GatewayConfig> {
    let (_dir, mut inputs) = with_file(text);
    edit(&mut inputs);
    load(&inputs)
}

#[test]
fn one_upstream_is_all_that_has_to_be_said() {
    let inputs = Inputs { upstreams: vec!["stdio:npx -y @x/server-everything".to_owned()], ..Inputs::default() };
    let config = load(&inputs).unwrap();
    assert_eq!(config.listeners.iter().map(Url::as_str).collect::<Vec<_>>(), ["http://127.0.0.1:8080/mcp"]);
    assert_eq!(config.upstreams[0].name, "server-everything");
    assert_eq!(config.naming, Naming::Plain, "with one upstream a prefix says nothing");
    assert_eq!(config.limits, GatewayLimits::default());
    let error = load(&Inputs::default()).unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("--upstream"), "{error}");
}

#[test]
fn the_example_is_right_and_has_every_key() {
    let example = include_str!("../../../config/gateway.toml");
    let dir = tempfile::tempdir().unwrap();
    let mut text = example.to_owned();
    for name in ["/etc/biplane/session.key", "/run/secrets/search-token"] {
        let file = dir.path().join(name.rsplit('/').next().unwrap());
        std::fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
        text = text.replace(name, file.to_str().unwrap());
    }
    let config = read_with(&text, |inputs| inputs.env = vec![("FILES_KEY".to_owned(), "k".to_owned())]).unwrap();
    assert_eq!(
        config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect::<Vec<_>>(),
        ["files", "search", "calc"]
    );
    assert!(config.session_key.is_some() && config.admission.rules().unwrap().wants_token());
    let usual = GatewayLimits { max_sessions_per_principal: Some(100), ..GatewayLimits::default() };
    assert_eq!(config.limits, usual, "the example shows the defaults");
    for key in [
        "listen",
        "naming",
        "allow_insecure_bind",
        "drain_grace",
        "session_key_file",
        "max_sessions",
        "session_idle",
        "session_lifetime",
        "max_body",
        "max_in_flight",
        "max_in_flight_per_session",
        "request_timeout",
        "origins",
        "hosts",
        "sha256",
        "url",
        "sessions",
        "env",
        "cwd",
        "headers",
        "bearer",
        "allow",
        "deny",
        "max_children",
        "start_timeout",
        "max_sessions_per_principal",
    ] {
        assert!(example.lines().any(|line| line.trim_start_matches("# ").starts_with(key)), "{key}");
    }
    // The core reads the same file, and leaves this section to us.
    let file = dir.path().join("both.toml");
    std::fs::write(&file, format!("balance = \"random\"\n{text}")).unwrap();
    let core = biplane::config::Inputs { file: Some(file), ..biplane::config::Inputs::default() };
    let loaded = biplane::config::load(core, &[]).unwrap();
    assert_eq!(loaded.config.balance, biplane::config::Balance::Random);
}

#[test]
fn a_file_says_it_all() {
    let config = read(
        r#"
        balance = "random"            # the core's, not ours
        [gateway]
        listen = ["http://127.0.0.1:1/mcp", "ws://localhost:2"]
        drain_grace = "5s"
        [gateway.limits]
        session_idle = 90
        max_body = "1MiB"
        [[gateway.upstream]]
        name = "a"
        url = "stdio:server"
        naming = "plain"
        sessions = "dedicated"
        env = { KEY = "v" }
        cwd = "/srv"
        allow = "get_*"
        deny = ["get_secret"]
        max_children = 3
        [[gateway.upstream]]
        url = "https://tools.example/mcp"
        headers = { X-Team = "a" }
        request_timeout = "10s"
        "#,
    )
    .unwrap();
    assert_eq!(config.listeners.len(), 2);
    assert_eq!((config.drain_grace, config.naming), (Duration::from_secs(5), Naming::Prefixed));
    assert_eq!((config.limits.session_idle, config.limits.max_body), (Duration::from_secs(90), 1 << 20));
    let [a, tools] = config.upstreams.as_slice() else { panic!() };
    assert_eq!((a.naming, a.sessions, a.max_children), (Some(Naming::Plain), Sharing::Dedicated, Some(3)));
    assert_eq!(a.env, [("KEY".to_owned(), Secret::new("v"))]);
    assert_eq!(a.cwd, Some(PathBuf::from("/srv")));
    assert!(a.tools.allows("get_x") && !a.tools.allows("get_secret"));
    assert_eq!(tools.name, "tools.example");
    assert_eq!(tools.headers, [("x-team".to_owned(), Secret::new("a"))]);
    assert_eq!(tools.request_timeout, Some(Duration::from_secs(10)));
}

#[test]
fn arguments_win() {
    let file = "[gateway]\nlisten='ws://127.0.0.1:9'\n[[gateway.upstream]]\nname='a'\nurl='stdio:a'\n";
    let config = read_with(file, |inputs| {
        inputs.listen = vec!["http://127.0.0.1:7/mcp".to_owned()];
        inputs.upstreams =
            ["x=stdio:s --a=b", "stdio:env A=1 s", "http://h/?a=b", "http://h/"].map(str::to_owned).into();
        inputs.naming = Some(Naming::Plain);
    })
    .unwrap();
    assert_eq!(config.listeners[0].as_str(), "http://127.0.0.1:7/mcp");
    let names: Vec<_> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["x", "env", "h", "h-2"]);
    assert_eq!(config.upstreams[0].url.as_str(), "stdio:s --a=b");
    assert_eq!(config.naming, Naming::Plain);
}

#[test]
fn every_problem_is_told_with_its_place() {
    let error = read(
        "[gateway]\nlisten = [\"http://127.0.0.1:1\", \"nonsense\"]\nnaming = \"prefixx\"\ndrain_grace = \"0s\"\n\
         [gateway.limits]\nmax_sesions = 3\nmax_body = 0\n\
         [[gateway.upstream]]\nname = \"a_b\"\nurl = \"stdio:x\"\n\
         [[gateway.upstream]]\nname = \"a\"\nurl = \"stdio:x\"\nbearer = { env = \"T\" }\n\
         [[gateway.upstream]]\nname = \"a\"\nurl = \"http://h\"\n\
         [[gateway.upstream]]\nname = \"c\"\n\
         [gateway.admission]\norigins = [\"https://x/path\"]\n[[gateway.admission.token]]\nsha256 = \"hunter2\"\n",
    )
    .unwrap_err()
    .to_string();
    for expected in [
        "g.toml:2:33: gateway.listen: expected a URL",
        "g.toml:3:10: gateway.naming: expected one of [\"prefix\", \"plain\"]; did you mean \"prefix\"?",
        "g.toml:4:15: gateway.drain_grace",
        "g.toml:6:1: gateway.limits.max_sesions: expected a known key; did you mean `max_sessions`?",
        "g.toml:7:12: gateway.limits.max_body",
        "gateway.upstream[0].name: \"a_b\" cannot name an upstream",
        "gateway.upstream[1].bearer: the variable T is not set",
        "gateway.upstream[1].bearer: it has no meaning for stdio",
        "gateway.upstream[2].name: there are two upstreams of the name \"a\"",
        "gateway.upstream[3].url: expected it to be there",
        "gateway.admission.origins",
        "gateway.admission.token[0].name: expected it to be there",
        "gateway.admission.token[0].sha256",
    ] {
        assert!(error.contains(expected), "{expected}\n in {error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
    assert!(error.starts_with("13 problems"), "{error}");
}

#[test]
fn broken_toml_is_one_problem_without_the_line() {
    let error = read("[gateway]\nlisten = \"hunter2\nx = 1\n").unwrap_err().to_string();
    assert!(error.contains("g.toml:2") && !error.contains("hunter2"), "{error}");
    let gone = Inputs { file: Some("/nowhere/x.toml".into()), ..Inputs::default() };
    assert!(load(&gone).unwrap_err().to_string().contains("readable"));
    assert!(read("gateway = 1").unwrap_err().to_string().contains("expected a section"));
    assert!(read("balance = \"random\"").unwrap_err().to_string().contains("--upstream"));
}

#[test]
fn a_public_listener_needs_tls_and_someone_to_say_who_they_are() {
    let upstream = "\n[[gateway.upstream]]\nurl = \"stdio:x\"\n";
    let token = format!("[[gateway.admission.token]]\nname = \"a\"\nsha256 = \"{HASH}\"\n");
    let at = |listen: &str, more: &str| format!("[gateway]\nlisten = \"{listen}\"\n{more}{upstream}");
    for (listen, tokens, mutual, opens) in [
        ("http://0.0.0.0:1", false, false, false),
        ("http://0.0.0.0:1", true, false, false),
        ("https://0.0.0.0:1", false, false, false),
        ("https://0.0.0.0:1", true, false, true),
        ("wss://[::]:1", false, true, true),
        ("http://127.0.0.1:1", false, false, true),
    ] {
        let text = at(listen, if tokens { &token } else { "" });
        let loaded = read_with(&text, |inputs| inputs.has_mutual_tls = mutual);
        assert_eq!(loaded.is_ok(), opens, "{listen} {tokens} {mutual}: {loaded:?}");
    }
    assert!(read(&at("http://0.0.0.0:1", "allow_insecure_bind = true\n")).is_ok());
    let refused = read(&at("http://0.0.0.0:1", "")).unwrap_err().to_string();
    assert!(refused.contains("allow_insecure_bind") && refused.contains("g.toml"), "{refused}");
    let allowed = read_with(&at("http://0.0.0.0:1", ""), |inputs| inputs.allow_insecure_bind = Some(true));
    assert!(allowed.is_ok());
}

#[test]
fn secrets_come_from_elsewhere_and_are_shown_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "hunter2-file\n").unwrap();
    let text = format!(
        "[gateway]\nsession_key_file = '{}'\n[[gateway.upstream]]\nname='a'\nurl = 'https://u:hunter2@h/'\n\
         bearer = {{ file = '{}' }}\nheaders = {{ X-Key = {{ env = 'KEY' }} }}\n\
         [[gateway.upstream]]\nname='b'\nurl='stdio:s --k hunter2'\nenv = {{ A = 'hunter2' }}\n",
        file.display(),
        file.display()
    );
    let env = vec![
        ("KEY".to_owned(), "hunter2-env".to_owned()),
        ("BIPLANE_SESSION_KEY".to_owned(), "hunter2 hunter2 hunter2 hunter2 hunter2".to_owned()),
    ];
    let short = read_with(&text, |inputs| inputs.env = vec![env[0].clone()]).unwrap_err().to_string();
    assert!(short.contains("session_key_file") && !short.contains("hunter2"), "{short}");
    // A key of the environment wins, yet a file that is wrong stays wrong.
    assert!(read_with(&text, |inputs| inputs.env = env.clone()).is_err());
    let text = text.lines().filter(|line| !line.starts_with("session_key_file")).collect::<Vec<_>>().join("\n");
    let config = read_with(&text, |inputs| inputs.env = env).unwrap();
    let headers = &config.upstreams[0].headers;
    assert!(headers.contains(&("authorization".to_owned(), Secret::new("Bearer hunter2-file"))), "{headers:?}");
    assert!(headers.contains(&("x-key".to_owned(), Secret::new("hunter2-env"))));
    assert!(config.session_key.is_some() && !format!("{config:?}").contains("hunter2"), "{config:?}");
    let literal = "[[gateway.upstream]]\nurl='https://h/'\nbearer = 'hunter2'\n";
    let refused = read(literal).unwrap_err().to_string();
    assert!(refused.contains("env") && !refused.contains("hunter2"), "{refused}");
}

#[test]
fn whatever_stands_there_it_is_read_or_refused() {
    let keys = [
        "listen",
        "naming",
        "drain_grace",
        "allow_insecure_bind",
        "limits",
        "admission",
        "upstream",
        "session_key_file",
    ];
    let values =
        ["1", "-1", "1.5", "true", "\"x\"", "[]", "[1]", "{}", "[{}]", "{ a = 1 }", "1979-05-27", "\"\"", "0x10"];
    for key in keys {
        for value in values {
            let _ = read(&format!("[gateway]\n{key} = {value}\n"));
        }
    }
    for key in [
        "name",
        "url",
        "naming",
        "sessions",
        "env",
        "cwd",
        "headers",
        "bearer",
        "allow",
        "max_children",
        "start_timeout",
    ] {
        for value in values {
            let _ = read(&format!("[[gateway.upstream]]\n{key} = {value}\n"));
        }
    }
}

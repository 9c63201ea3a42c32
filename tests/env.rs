// SPDX-License-Identifier: Apache-2.0
//! Every variable: its effect on the typed tree, a bad value refused by name, and the precedence of the layers. A row
//! without a case here fails. Nothing here touches the environment of the process: pairs are handed in.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use biplane::config::{self, Config, EnvKind, EnvVar, Inputs, Loaded, Port, Setting, Source, variables};
use biplane::plane::{RequestPlane, ResponsePlane};
use biplane::registry::{BuildContext, TransportRegistration};
use biplane::{Error, ErrorKind, PlaneType, Result, Transport};

// Registrations -----------------------------------------------------------------------------------------------------

fn connection(_: &BuildContext) -> Result<Arc<dyn Transport>> {
    Err(Error::unsupported("a name only"))
}

fn request(_: &BuildContext) -> Result<RequestPlane> {
    Err(Error::unsupported("a name only"))
}

fn response(_: &BuildContext) -> Result<Arc<dyn ResponsePlane>> {
    Err(Error::unsupported("a name only"))
}

fn discovery(_: &BuildContext) -> Result<Arc<dyn biplane::discovery::Discovery>> {
    Err(Error::unsupported("a name only"))
}

const NATS_ENV: &[EnvVar] = &[
    EnvVar::new("NATS_SERVER", "transport.nats.server", EnvKind::Text, "", "Where the broker is."),
    EnvVar::new("NATS_AUTH_TOKEN", "transport.nats.token", EnvKind::Text, "", "What it is told.").secret(),
    EnvVar::new("NATS_INBOX", "transport.nats.inbox", EnvKind::Int { min: 1, max: 9 }, "2", "How many.").secret(),
];

const REGISTRATIONS: &[TransportRegistration] = &[
    TransportRegistration::connection("tcp", connection).schemes(&["tcp"]),
    TransportRegistration::connection("http", connection).schemes(&["http"]),
    TransportRegistration::request("tcp", request),
    TransportRegistration::request("http", request),
    TransportRegistration::request("nats", request).env(NATS_ENV).elected_by("NATS_SERVER"),
    TransportRegistration::discovery("nats", discovery).env(NATS_ENV),
    TransportRegistration::response("tcp", response),
    TransportRegistration::response("http", response),
    TransportRegistration::discovery("mem", discovery),
    TransportRegistration::discovery("file", discovery),
];

// The table ---------------------------------------------------------------------------------------------------------

/// One variable: a good value and one that is refused.
struct Case {
    name: &'static str,
    good: &'static str,
    /// Another good value, for the layers above.
    other: &'static str,
    bad: &'static str,
    /// What it means nothing without: dotted paths, set in code.
    beside: &'static [(&'static str, &'static str)],
    /// Part of the typed tree, as text.
    effect: fn(&Config) -> String,
    /// What `good` makes of it.
    expected: String,
}

fn case<T: Debug>(
    name: &'static str,
    [good, other, bad]: [&'static str; 3],
    effect: fn(&Config) -> String,
    expected: T,
) -> Case {
    Case { name, good, other, bad, beside: &[], effect, expected: format!("{expected:?}") }
}

/// `case!(VARIABLE, [good, other, bad], field.of.the.tree, what the good value makes of it)`
macro_rules! case {
    ($name:literal, $values:expr, $($field:ident).+, $expected:expr) => {
        case($name, $values, |config| format!("{:?}", config.$($field).+), $expected)
    };
}

/// `tls!(VARIABLE, field of the tcp planes' TLS, what it needs beside it)`
macro_rules! tls {
    ($name:literal, $field:ident, $beside:expr) => {
        case($name, ["/pem/a", "b.pem", "~/pem"], |config| format!("{:?}", of_tls(config).$field), ())
            .expecting("Some(\"/pem/a\")")
            .beside($beside)
    };
}

fn of_tls(config: &Config) -> config::TlsConfig {
    config.tcp.tls.clone().unwrap_or_default()
}

fn cases() -> Vec<Case> {
    let secs = Duration::from_secs;
    vec![
        case("DYN_REQUEST_PLANE", ["http, tcp", "nats", "tpc"], |c| c.request_planes[0].to_string(), ())
            .expecting("http"),
        case("DYN_RESPONSE_PLANE", ["http", "tcp", "htp"], |c| c.response_plane.to_string(), ()).expecting("http"),
        case!("MCP_TRANSPORT", ["http", "tcp", "stdoi"], connection, Some(biplane::TransportId::HTTP)),
        case!(
            "BIPLANE_FALLBACK",
            ["http,tcp", "tcp", "http,,tcp"],
            fallback,
            ["http", "tcp"].map(biplane::TransportId::from)
        ),
        case!("BIPLANE_ADVERTISE_HOST", ["worker-7", "10.0.0.7", "0.0.0.0"], advertise_host, Some("worker-7")),
        case!("RUST_LOG", ["biplane::tcp=debug", "warn", "biplane=debgu"], log, "biplane::tcp=debug"),
        case!("BIPLANE_CONNECT_TIMEOUT", ["250ms", "2", "soon"], limits.connect_timeout, Duration::from_millis(250)),
        case!("BIPLANE_READ_TIMEOUT", ["5m", "6m", "NaN"], limits.read_timeout, Some(secs(300))),
        case!("BIPLANE_WRITE_TIMEOUT", ["1h", "2h", "0"], limits.write_timeout, secs(3600)),
        case!("BIPLANE_CALL_HOME_TIMEOUT", ["3", "4s", "18446744073709551615"], limits.call_home_timeout, secs(3)),
        case!("BIPLANE_MAX_MESSAGE_SIZE", ["64KiB", "1GB", "2GiB"], limits.max_message_size, 65_536),
        case!("DYN_DISCOVERY_BACKEND", ["mem", "nats", "etcd"], discovery.backend, biplane::TransportId::MEM),
        case!("DYN_FILE_KV", ["/srv/kv", "kv", "~/kv"], discovery.file_kv, "/srv/kv"),
        case!("DYN_SYSTEM_HOST", ["0.0.0.0", "::1", "http://x"], system.host, "0.0.0.0"),
        case!("DYN_SYSTEM_PORT", ["9090", "0", "65536"], system.port, Some(9090)),
        case!("DYN_TCP_REQUEST_HOST", ["[::1]", "h", "h:9001"], tcp.request.host, "::1"),
        case!("DYN_TCP_REQUEST_PORT", ["9001", "0", "70000"], tcp.request.port, Port::Set(9001)),
        case!("DYN_TCP_REQUEST_MAX_CONNECTIONS", ["7", "8", "0"], tcp.max_connections, 7),
        case!("DYN_TCP_REQUEST_HEARTBEAT_INTERVAL_SECS", ["15", "10s", "-1"], tcp.heartbeat_interval, secs(15)),
        case!("DYN_TCP_REQUEST_CONNECTION_TIMEOUT_SECS", ["90", "2m", "1.5"], tcp.connection_timeout, secs(90)),
        case!("DYN_TCP_RESPONSE_STREAM_HOST", ["127.0.0.1", "h", "a b"], tcp.response.host, "127.0.0.1"),
        case!("DYN_TCP_RESPONSE_STREAM_PORT", ["7000", "0", "+1"], tcp.response.port, Port::Set(7000)),
        case!("DYN_TCP_POOL_ENABLED", ["off", "YES", "maybe"], tcp.pool.enabled, false),
        case!("DYN_TCP_POOL_MAX_PER_TARGET", ["20", "30", "18446744073709551615"], tcp.pool.max_per_target, 20),
        case!("DYN_TCP_POOL_MIN_IDLE", ["0", "5", "NaN"], tcp.pool.min_idle, 0),
        case!("DYN_TCP_POOL_IDLE_TIMEOUT_SECS", ["60", "1h", "inf"], tcp.pool.idle_timeout, secs(60)),
        case!("DYN_TCP_POOL_MAX_LIFETIME_SECS", ["600", "1d", "11y"], tcp.pool.max_lifetime, secs(600)),
        case!("DYN_TCP_POOL_KEEPALIVE_SECS", ["5", "6", "5 5"], tcp.pool.keepalive, secs(5)),
        tls!("DYN_TCP_TLS_CERT_PATH", cert, &[("transport.tcp.tls.key", "/x")]),
        tls!("DYN_TCP_TLS_KEY_PATH", key, &[("transport.tcp.tls.cert", "/x")]),
        tls!("DYN_TCP_TLS_CA_CERT_PATH", ca, &[]),
        case("DYN_TCP_TLS_SERVER_NAME", ["h.example", "::1", "h/x"], |c| format!("{:?}", of_tls(c).server_name), ())
            .expecting("Some(\"h.example\")")
            .beside(&[("transport.tcp.tls.enabled", "yes")]),
        tls!("DYN_TCP_TLS_CLIENT_CERT_PATH", client_cert, &[("transport.tcp.tls.client_key", "/x")]),
        tls!("DYN_TCP_TLS_CLIENT_KEY_PATH", client_key, &[("transport.tcp.tls.client_cert", "/x")]),
        tls!(
            "DYN_TCP_TLS_CLIENT_CA_CERT_PATH",
            client_ca,
            &[("transport.tcp.tls.cert", "/x"), ("transport.tcp.tls.key", "/x")]
        ),
        case!("DYN_HTTP_RPC_HOST", ["127.0.0.1", "h", "h/x"], http.request.host, "127.0.0.1"),
        case!("DYN_HTTP_RPC_PORT", ["0", "1", "http"], http.request.port, Port::Set(0)),
        case!("DYN_HTTP_RPC_ROOT_PATH", ["api/", "/", "/a b"], http.request_root, "/api"),
        case!("DYN_HTTP_REQUEST_TIMEOUT", ["9", "10", "5,5"], http.request_timeout, secs(9)),
        case!("DYN_HTTP_RESPONSE_HOST", ["127.0.0.1", "h", "é"], http.response.host, "127.0.0.1"),
        case!("DYN_HTTP_RESPONSE_PORT", ["8082", "1", "8082.0"], http.response.port, Port::Set(8082)),
        case!("DYN_HTTP_RESPONSE_ROOT_PATH", ["/r", "/s", "/a?b"], http.response_root, "/r"),
        case!(
            "DYN_HTTP_RESPONSE_STREAM_FORMAT",
            ["NDJSON", "binary", "ssee"],
            http.response_format,
            config::StreamFormat::Ndjson
        ),
        case!("DYN_HTTP_RESPONSE_TIMEOUT_SECS", ["30m", "1", "0s"], http.response_timeout, secs(1800)),
        case!("BIPLANE_HTTP_VERSION", ["1.1", "2", "3"], http.version, config::HttpVersion::Http1),
    ]
}

impl Case {
    /// Sets what it means nothing without.
    fn beside(mut self, beside: &'static [(&'static str, &'static str)]) -> Self {
        self.beside = beside;
        self
    }

    fn overrides(&self) -> Vec<(String, String)> {
        self.beside.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    /// For what is shown as bare text.
    fn expecting(mut self, text: &str) -> Self {
        self.expected = text.to_owned();
        self
    }

    fn row(&self) -> &'static EnvVar {
        variables().iter().find(|row| row.name == self.name).unwrap_or_else(|| panic!("{} is no row", self.name))
    }
}

// The tests ---------------------------------------------------------------------------------------------------------

#[test]
fn every_row_has_a_case_and_every_name_is_once() {
    let rows: BTreeSet<_> = variables().iter().map(|row| row.name).collect();
    assert_eq!(rows.len(), variables().len(), "a variable has two rows");
    let mut cases: BTreeSet<_> = cases().iter().map(|case| case.name).collect();
    // It has no path in the tree and tests of its own below.
    cases.insert("BIPLANE_CONFIG");
    assert_eq!(rows, cases);
}

#[test]
fn every_variable_has_its_effect() {
    let defaults = Config::defaults().unwrap();
    for case in cases() {
        let loaded = load(Inputs { overrides: case.overrides(), ..env(&[(case.name, case.good)]) }).unwrap();
        assert_eq!((case.effect)(&loaded.config), case.expected, "{}", case.name);
        assert_ne!((case.effect)(&defaults), case.expected, "{}: its effect is the default", case.name);
        assert_eq!(setting(&loaded, case.row().path).source, Source::Env(case.name.into()), "{}", case.name);
    }
}

#[test]
fn every_bad_value_is_refused_by_name() {
    for case in cases() {
        let error = refused(env(&[(case.name, case.bad)]));
        assert!(error.contains(case.name) && error.contains(case.bad) && error.contains("expected"), "{error}");
    }
}

#[test]
fn any_garbage_is_refused_or_read_and_never_panics() {
    let huge = "9".repeat(10 << 20);
    let garbage =
        ["NaN", "-1", "18446744073709551616", "\0", "\u{fffd}", "{}", "[1]", "\"", "%", "a=b", ",", "\u{202e}x", &huge];
    for row in variables() {
        for text in garbage {
            if let Err(error) = load(env(&[(row.name, text)])) {
                let error = error.to_string();
                assert!(error.contains(row.name), "{error}");
                assert!(error.len() < 1000, "{} bytes about {}", error.len(), row.name);
            }
        }
        if row.name != "BIPLANE_CONFIG" {
            refused(env(&[(row.name, &huge)]));
        }
    }
}

#[test]
fn empty_is_unset() {
    let pairs: Vec<_> = variables().iter().map(|row| (row.name, "  ")).collect();
    let loaded = with_env(&pairs);
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", Config::defaults().unwrap()));
    assert!(loaded.settings.iter().all(|setting| setting.source == Source::Default));
}

#[test]
fn default_then_file_then_environment_then_code() {
    for case in cases() {
        let path = case.row().path;
        let file = file(&format!("{path} = {:?}\n", case.other));
        let overrides = case.overrides();
        let mut inputs = Inputs { file: Some(file.path().into()), overrides, ..Inputs::default() };

        let from_file = load(inputs.clone()).unwrap();
        assert_eq!(setting(&from_file, path).source, Source::File(file.path().into()), "{path}");
        assert_ne!((case.effect)(&from_file.config), case.expected, "{path}");

        inputs.env = vec![(case.name.into(), case.good.into())];
        let from_env = load(inputs.clone()).unwrap();
        assert_eq!((case.effect)(&from_env.config), case.expected, "{path}");

        inputs.overrides.push((path.into(), case.other.into()));
        let from_code = load(inputs).unwrap();
        assert_eq!(setting(&from_code, path).source, Source::Code, "{path}");
        assert_eq!((case.effect)(&from_code.config), (case.effect)(&from_file.config), "{path}");
    }
}

#[test]
fn the_defaults_that_are_told_are_the_defaults_that_hold() {
    let loaded = with_env(&[("TMPDIR", "/scratch")]);
    for row in variables().iter().filter(|row| row.path != "discovery.file_kv" && !row.path.is_empty()) {
        let setting = setting(&loaded, row.path);
        assert_eq!(setting.source, Source::Default);
        // Said in code, the text of the table has to give the same value.
        let overrides = vec![(row.path.to_owned(), row.default.to_owned())];
        let told = load(Inputs { overrides, ..Inputs::default() }).unwrap();
        assert_eq!(setting.value, self::setting(&told, row.path).value, "{}", row.path);
    }
    let store = loaded.config.discovery.file_kv.to_string_lossy().into_owned();
    assert!(store.starts_with("/scratch/biplane-"), "{store}");
    assert_eq!(loaded.config.tcp.request.port, Port::Default(9001));
    assert_eq!(loaded.config.tcp.response.port, Port::Default(0));
}

#[test]
fn four_faults_are_one_error() {
    let file = file("[limits]\nconnect_timeout = \"soon\"\n[transport.tcp.pol]\nenabled = true\n");
    let error = refused(Inputs {
        file: Some(file.path().into()),
        overrides: vec![("balanse".into(), "random".into())],
        ..env(&[
            ("DYN_TCP_POOL_ENABLED", "maybe"),
            ("DYN_TCP_POOL_KEEPALIVE_SECS", "-1"),
            ("DYN_REQUEST_PLANE", "htp"),
            ("DYN_HTTP_RPC_PORT", "70000"),
            // Malformed too, yet overridden by code: nothing malformed is ignored.
            ("BIPLANE_HTTP_VERSION", "3"),
        ])
    });
    for part in [
        "8 problems",
        "DYN_TCP_POOL_ENABLED is \"maybe\": expected 1/0, true/false, yes/no or on/off",
        "DYN_TCP_POOL_KEEPALIVE_SECS is \"-1\": expected seconds",
        "DYN_REQUEST_PLANE is \"htp\": expected a registered request transport, or several separated by commas (registered: http, nats, tcp); did you mean `http`?",
        "DYN_HTTP_RPC_PORT is \"70000\": expected a port from 0 to 65535",
        "limits.connect_timeout is \"soon\"",
        "transport.tcp.pol: expected a known key",
        "code: balanse: expected a known key; did you mean `balance`?",
        "BIPLANE_HTTP_VERSION is \"3\": expected `2`, `1.1`",
    ] {
        assert!(error.contains(part), "no {part:?} in:\n{error}");
    }
}

#[test]
fn a_set_variable_elects_a_plane() {
    let elected = with_env(&[("NATS_SERVER", "nats://h")]);
    assert_eq!(elected.config.request_planes, ["nats"]);
    assert_eq!(setting(&elected, "request_planes").source, Source::Env("NATS_SERVER".into()));
    // Only the registrations that say so: the discovery backend stays.
    assert_eq!(elected.config.discovery.backend, "file");

    assert_eq!(with_env(&[("NATS_SERVER", "")]).config.request_planes, ["tcp"]);
    assert_eq!(with_env(&[("NATS_SERVER", "h"), ("DYN_REQUEST_PLANE", "http")]).config.request_planes, ["http"]);

    let file = file("[transport.nats]\nserver = \"nats://h\"\n");
    let from_file = load(Inputs { file: Some(file.path().into()), ..Inputs::default() }).unwrap();
    assert_eq!(from_file.config.request_planes, ["nats"]);
    assert_eq!(setting(&from_file, "request_planes").source, Source::File(file.path().into()));
}

#[test]
fn without_the_plugin_its_variable_elects_nothing() {
    let linked: Vec<_> = REGISTRATIONS.iter().copied().filter(|row| row.transport_id != "nats").collect();
    let loaded = config::load(env(&[("NATS_SERVER", "nats://h")]), &linked).unwrap();
    assert_eq!(loaded.config.request_planes, ["tcp"]);
}

#[test]
fn a_plugin_reads_its_section() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nats {
        server: String,
        token: Option<String>,
        inbox: Option<u8>,
        extra: Option<Vec<u16>>,
    }

    let file = file("[transport.nats]\nserver = \"nats://bob:pw@h\"\nextra = [1, 2]\n");
    let inputs =
        Inputs { file: Some(file.path().into()), ..env(&[("NATS_AUTH_TOKEN", "s3cret"), ("NATS_INBOX", "3")]) };
    let loaded = load(inputs).unwrap();
    let nats: Nats = loaded.config.section("nats").unwrap();
    assert_eq!((nats.server.as_str(), nats.token.as_deref()), ("nats://bob:pw@h", Some("s3cret")));
    assert_eq!((nats.inbox, nats.extra), (Some(3), Some(vec![1, 2])));

    // None of its secrets can be seen.
    let shown = format!("{loaded:?} {:?}", setting(&loaded, "transport.nats.server").value);
    assert!(!shown.contains("s3cret") && !shown.contains("bob"), "{shown}");
    assert_eq!(setting(&loaded, "transport.nats.token").value, "***");
    assert_eq!(setting(&loaded, "transport.nats.extra").value, "(set)");
    let error = refused(env(&[("NATS_INBOX", "s3cret")]));
    assert!(error.contains("NATS_INBOX is ***") && !error.contains("s3cret"), "{error}");

    // A key that the plugin does not know is refused when it reads its section.
    let file = self::file("[transport.nats]\nserver = \"h\"\nsever = \"s3cret\"\n");
    let loaded = load(Inputs { file: Some(file.path().into()), ..Inputs::default() }).unwrap();
    let error = loaded.config.section::<Nats>("nats").unwrap_err().to_string();
    assert!(error.contains("[transport.nats]") && error.contains("sever") && !error.contains("s3cret"), "{error}");
}

#[test]
fn sections_of_unregistered_transports_are_refused() {
    let file = file("[transport.nast]\nserver = \"h\"\n");
    let error = refused(Inputs { file: Some(file.path().into()), ..Inputs::default() });
    assert!(error.contains("transport.nast") && error.contains("did you mean `transport.nats`?"), "{error}");
}

#[test]
fn a_row_outside_its_section_is_refused() {
    const STRAY: &[EnvVar] = &[EnvVar::new("ACME", "transport.tcp.request.port", EnvKind::Port, "", "Not its own.")];
    let error =
        config::load(Inputs::default(), &[TransportRegistration::request("acme", request).env(STRAY)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("transport.acme."), "{error}");
}

#[test]
fn rules_between_values() {
    let error = refused(env(&[("DYN_TCP_POOL_MAX_PER_TARGET", "2"), ("DYN_TCP_POOL_MIN_IDLE", "3")]));
    assert!(
        error.contains("DYN_TCP_POOL_MIN_IDLE is \"3\"") && error.contains("DYN_TCP_POOL_MAX_PER_TARGET"),
        "{error}"
    );
    let error = refused(env(&[("DYN_TCP_REQUEST_HEARTBEAT_INTERVAL_SECS", "60")]));
    assert!(error.contains("\"1m\" (the default)") && error.contains("HEARTBEAT"), "{error}");
    // A malformed value is one problem, not also a conflict of its default.
    let error = refused(env(&[("DYN_TCP_POOL_MAX_PER_TARGET", "x"), ("DYN_TCP_POOL_MIN_IDLE", "80")]));
    assert_eq!(error.matches("expected").count(), 1, "{error}");
}

#[test]
fn the_file_is_named_by_argument_or_variable() {
    let one = file("balance = \"random\"\n");
    let loaded = with_env(&[("BIPLANE_CONFIG", &one.path().to_string_lossy())]);
    assert_eq!(loaded.config.balance, config::Balance::Random);
    assert_eq!(setting(&loaded, "").source, Source::Env("BIPLANE_CONFIG".into()));

    let two = file("balance = \"round-robin\"\n");
    let inputs = env(&[("BIPLANE_CONFIG", &one.path().to_string_lossy())]);
    let loaded = load(Inputs { file: Some(two.path().into()), ..inputs }).unwrap();
    assert_eq!(loaded.config.balance, config::Balance::RoundRobin);

    let error = refused(env(&[("BIPLANE_CONFIG", "/no/such/file.toml"), ("DYN_SYSTEM_PORT", "x")]));
    assert!(error.contains("BIPLANE_CONFIG") && error.contains("DYN_SYSTEM_PORT"), "{error}");
    let error = refused(env(&[("BIPLANE_CONFIG", "~/biplane.toml")]));
    assert!(error.contains("BIPLANE_CONFIG") && error.contains("in full"), "{error}");
}

#[test]
fn a_file_may_write_values_in_its_own_types() {
    let file = file(
        "request_planes = [\"http\", \"tcp\"]\nstrict = true\n[limits]\nconnect_timeout = 3\nmax_message_size = 65536\n\
         [transport.http]\nversion = 1.1\n[system]\nport = 9090\n",
    );
    let config = load(Inputs { file: Some(file.path().into()), ..Inputs::default() }).unwrap().config;
    assert_eq!(config.request_planes, ["http", "tcp"]);
    assert!(config.strict);
    assert_eq!(config.limits.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.http.version, config::HttpVersion::Http1);
}

#[test]
fn wrong_shapes_in_a_file_are_told_by_key() {
    let file = file("limits = 3\nstrict = [true]\nrequest_planes = [1]\n[balance]\nx = 1\n[system]\nport = 9090.5\n");
    let error = refused(Inputs { file: Some(file.path().into()), ..Inputs::default() });
    for key in ["limits: expected a section", "strict: ", "request_planes: ", "balance: ", "system.port is \"9090.5\""]
    {
        assert!(error.contains(key), "no {key:?} in:\n{error}");
    }
    let broken = self::file("balance = \n");
    let error = refused(Inputs { file: Some(broken.path().into()), ..Inputs::default() });
    assert!(error.contains("expected TOML") && error.contains("line 1"), "{error}");
}

#[test]
fn slips_are_warned_of_and_strangers_left_alone() {
    let loaded = with_env(&[("DYN_TCP_POOL_MAX_PER_TARGETS", "5"), ("DYN_LOGGING_JSONL", "1"), ("HOME", "/")]);
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("did you mean DYN_TCP_POOL_MAX_PER_TARGET?"), "{:?}", loaded.warnings);
}

#[cfg(unix)]
#[test]
fn what_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let value = std::ffi::OsString::from_vec(vec![b'/', 0xff]);
    let error = refused(Inputs::from_env([("DYN_FILE_KV".into(), value)]));
    assert!(error.contains("DYN_FILE_KV") && error.contains("UTF-8"), "{error}");
}

#[test]
fn the_example_loads_and_is_no_default() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/example.toml");
    let loaded = load(Inputs { file: Some(path), ..Inputs::default() }).unwrap();
    let defaults = load(Inputs::default()).unwrap();
    assert_eq!(loaded.config.request_planes, ["http", "tcp"]);
    let changed = loaded.settings.iter().filter(|setting| matches!(setting.source, Source::File(_)));
    assert!(changed.clone().count() > 10);
    for setting in
        changed.filter(|setting| !["discovery.backend", "transport.http.response_format"].contains(&&*setting.path))
    {
        assert_ne!(setting.value, self::setting(&defaults, &setting.path).value, "{}", setting.path);
    }
}

#[test]
fn every_key_of_the_defaults_stands_in_the_file_with_a_place() {
    let text = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/default.toml")).unwrap();
    let loaded = load(Inputs::default()).unwrap();
    for setting in
        loaded.settings.iter().filter(|setting| !setting.path.is_empty() && !setting.path.starts_with("transport.nats"))
    {
        let (section, key) = setting.path.rsplit_once('.').unwrap_or(("", &setting.path));
        let body = if section.is_empty() {
            text.split("\n[").next()
        } else {
            text.split("\n[").find_map(|part| part.strip_prefix(section)?.strip_prefix("]\n"))
        };
        let stands =
            body.unwrap_or_default().lines().any(|line| line.split_once(" = ").is_some_and(|(name, _)| name == key));
        assert!(stands, "config/default.toml lacks {}", setting.path);
    }
}

/// The core's part; `cargo xtask docs` compares the whole, because this package cannot link the plugins.
#[test]
fn the_document_is_the_committed_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let of_plugin = |section: &&str| !section.starts_with("The transport `");
    let core: Vec<_> = committed.split("\n## ").filter(of_plugin).collect();
    assert!(
        core.join("\n## ") == config::document(&[]),
        "docs/configuration.md is out of date; run `cargo xtask docs`"
    );

    // What is taken out above is exactly what plugins add.
    let whole = config::document(REGISTRATIONS);
    let core: Vec<_> = whole.split("\n## ").filter(of_plugin).collect();
    assert_eq!(core.join("\n## "), config::document(&[]));
    assert!(whole.len() > config::document(&[]).len());
}

#[test]
fn the_document_tells_of_plugins_and_of_every_variable() {
    let text = config::document(REGISTRATIONS);
    for row in variables().iter().chain(NATS_ENV) {
        assert_eq!(text.matches(&format!("| `{}` |", row.name)).count(), 1, "{}", row.name);
    }
    assert!(text.contains("## The transport `nats`") && text.contains("exit code 2"));
}

#[test]
fn ids_of_every_plane_are_checked() {
    for (plane, variable) in [
        (PlaneType::Request, "DYN_REQUEST_PLANE"),
        (PlaneType::Response, "DYN_RESPONSE_PLANE"),
        (PlaneType::Connection, "MCP_TRANSPORT"),
        (PlaneType::Discovery, "DYN_DISCOVERY_BACKEND"),
    ] {
        for registration in REGISTRATIONS {
            let taken =
                REGISTRATIONS.iter().any(|row| row.plane() == plane && row.transport_id == registration.transport_id);
            let loaded = load(env(&[(variable, registration.transport_id)]));
            assert_eq!(loaded.is_ok(), taken, "{variable}={}", registration.transport_id);
        }
    }
}

// Help --------------------------------------------------------------------------------------------------------------

fn env(pairs: &[(&str, &str)]) -> Inputs {
    let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Inputs { env, ..Inputs::default() }
}

fn load(inputs: Inputs) -> Result<Loaded> {
    config::load(inputs, REGISTRATIONS)
}

fn with_env(pairs: &[(&str, &str)]) -> Loaded {
    load(env(pairs)).unwrap_or_else(|error| panic!("{pairs:?}: {error}"))
}

fn refused(inputs: Inputs) -> String {
    let error = load(inputs).expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

fn setting<'a>(loaded: &'a Loaded, path: &str) -> &'a Setting {
    loaded.settings.iter().find(|setting| setting.path == path).unwrap_or_else(|| panic!("no setting {path:?}"))
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

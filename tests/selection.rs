// SPDX-License-Identifier: Apache-2.0
//! What `biplane explain` says, situation by situation, against `tests/snapshots/selection-*.txt`.
//!
//! To take what the code now says as right, run with `BIPLANE_UPDATE_SNAPSHOTS=1` and read the difference.

use std::fmt::Write;
use std::path::Path;

use biplane::capability::{Exchange, Rendezvous, Requirements, Sharing, TransportCapabilities};
use biplane::registry::{
    Explanation, Preference, Question, Selection, TransportRegistration, TransportRegistry, meeting,
};
use biplane::{PlaneType, TransportId};

/// A market of transports as a program with plugins has them: made up, so that no built-in's change moves a snapshot.
fn registry() -> TransportRegistry {
    let claims = |exchange, rendezvous, max_message_size| TransportCapabilities {
        exchange,
        rendezvous,
        max_message_size,
        sharing: Sharing::Any,
        persistent_connections: true,
        server_push: false,
    };
    let code = TransportRegistration::made_in_code;
    use PlaneType::{Connection, Discovery, Request, Response};
    let (duplex, streaming, unary) = (Exchange::Duplex, Exchange::Streaming, Exchange::Unary);
    let (inline, home, fetch) = (Rendezvous::INLINE, Rendezvous::CALL_HOME, Rendezvous::FETCH);
    let both = |other| Rendezvous { inline: true, ..other };
    let core = "biplane@1.0.0";
    let all = [
        code("tcp", Request).schemes(&["tcp"]).priority(10).capabilities(claims(duplex, inline, None)).origin(core),
        code("http", Request)
            .schemes(&["http", "https"])
            .priority(20)
            .capabilities(claims(unary, inline, None))
            .origin(core),
        code("nats", Request)
            .schemes(&["nats"])
            .priority(30)
            .capabilities(claims(unary, Rendezvous::NONE, Some(1 << 20)))
            .origin("biplane-nats@1.0.0"),
        code("acme", Request)
            .schemes(&["acme", "https"])
            .priority(20)
            .capabilities(claims(unary, inline, None))
            .origin("acme@3.1.4"),
        code("tcp", Response).priority(10).capabilities(claims(streaming, both(home), None)).origin(core),
        code("http", Response).priority(20).capabilities(claims(streaming, both(fetch), None)).origin(core),
        code("acme", Response).priority(60).capabilities(claims(streaming, inline, None)).origin("acme@3.1.4"),
        code("http", Connection)
            .schemes(&["http", "https"])
            .priority(20)
            .capabilities(claims(duplex, inline, None))
            .origin(core),
        code("sse", Connection)
            .schemes(&["http", "https"])
            .priority(40)
            .capabilities(claims(streaming, inline, None))
            .origin(core),
        code("file", Discovery).priority(10).origin(core),
    ];
    TransportRegistry::builder().register_all(&all).unwrap().build().unwrap()
}

fn ids(list: &[&'static str]) -> Vec<TransportId> {
    list.iter().copied().map(TransportId::from_static).collect()
}

#[test]
fn calls_by_name() {
    let registry = registry();
    let mut book = Snapshot::new("by-name");
    let offered = ids(&["http", "tcp", "grpc"]);
    let (tcp_http, nats, http) = (ids(&["tcp", "http"]), ids(&["nats"]), ids(&["http"]));
    let named = |preference| Question { preference, offered: Some(&offered), ..Question::new(PlaneType::Request) };
    let call = |question: &Question<'_>, response: &'static str| {
        let request = registry.select(question);
        let counterpart = request.chosen.as_ref().map(|id| registry.registration(PlaneType::Request, id).unwrap());
        let wanted = ids(&[response]);
        let answer = registry.select(&Question {
            preference: Preference::Only(&wanted),
            counterpart,
            ..Question::new(PlaneType::Response)
        });
        let met = counterpart.zip(answer.chosen.as_ref()).and_then(|(request, id)| {
            let response = registry.registration(PlaneType::Response, id).unwrap();
            meeting((request.transport_id, &request.capabilities), (response.transport_id, &response.capabilities))
        });
        Explanation::new("demo.llm.generate").with(request).with(answer).with_answer(met)
    };
    book.explanation(
        "the first configured that the instance offers",
        &call(&named(Preference::First(&tcp_http)), "tcp"),
    );
    book.explanation("http asks, tcp answers", &call(&named(Preference::First(&http)), "tcp"));
    book.explanation("tcp asks, http answers", &call(&named(Preference::First(&tcp_http)), "http"));
    book.explanation("none configured is offered, so priority decides", &call(&named(Preference::First(&nats)), "tcp"));
    book.explanation("the same, but strict", &call(&named(Preference::Only(&nats)), "tcp"));
    book.explanation("answers that only come inline", &call(&named(Preference::First(&http)), "acme"));
    book.explanation("a response plane that is not there", &call(&named(Preference::None), "warp"));
    book.check();
}

#[test]
fn calls_by_url() {
    let registry = registry();
    let mut book = Snapshot::new("by-url");
    let (acme, warp, sse, file) = (ids(&["acme"]), ids(&["warp"]), ids(&["sse"]), ids(&["file"]));
    let request = Question::new(PlaneType::Request);
    let connection = Question::new(PlaneType::Connection);
    let table: [(&str, &str, Question<'_>); 9] = [
        ("two serve the scheme, equal priority", "https://h/x", Question { scheme: Some("https"), ..request.clone() }),
        (
            "the URL insists",
            "acme+http://h/x",
            Question { scheme: Some("http"), insisted: acme.first(), ..request.clone() },
        ),
        (
            "the configuration prefers among those that serve the scheme",
            "https://h/x",
            Question { scheme: Some("https"), preference: Preference::First(&acme), ..request.clone() },
        ),
        ("a scheme with a slip", "htps://h/x", Question { scheme: Some("htps"), ..request.clone() }),
        ("a scheme of a plugin that is not linked", "rdma://h/x", Question { scheme: Some("rdma"), ..request.clone() }),
        (
            "insists on what is not there",
            "warp+http://h/x",
            Question { scheme: Some("http"), insisted: warp.first(), ..request.clone() },
        ),
        (
            "insists on what serves another plane",
            "file+http://h/x",
            Question { scheme: Some("http"), insisted: file.first(), ..request },
        ),
        (
            "MCP_TRANSPORT=sse",
            "https://h/mcp",
            Question { scheme: Some("https"), preference: Preference::First(&sse), ..connection.clone() },
        ),
        (
            "the first declines before any I/O",
            "https://h/mcp",
            Question {
                scheme: Some("https"),
                declined: &[(TransportId::HTTP, "the server speaks the older era".to_owned())],
                ..connection
            },
        ),
    ];
    for (title, asked, question) in table {
        book.explanation(title, &Explanation::new(asked).with(registry.select(&question)));
    }
    book.check();
}

#[test]
fn needs() {
    let registry = registry();
    let mut book = Snapshot::new("needs");
    let table = [
        (PlaneType::Request, "max_message_size=10MiB"),
        (PlaneType::Request, "duplex"),
        (PlaneType::Response, "streaming,shared"),
        (PlaneType::Response, "duplex,server_push"),
        (PlaneType::Discovery, "persistent_connections"),
    ];
    for (plane, needs) in table {
        let question = Question { needs: Requirements::parse(needs).unwrap(), ..Question::new(plane) };
        book.explanation(needs, &Explanation::new("words").with(registry.select(&question)));
    }
    let empty = TransportRegistry::builder().build().unwrap().select(&Question::new(PlaneType::Request));
    book.explanation("nothing linked at all", &Explanation::new("words").with(empty));
    book.check();
}

#[test]
fn the_form_for_programs() {
    let offered = ids(&["http", "grpc"]);
    let selection = registry().select(&Question { offered: Some(&offered), ..Question::new(PlaneType::Request) });
    let explanation = Explanation::new("words").with(selection).with_note("fallback", "http, after a failed connect");
    let mut book = Snapshot::new("json");
    book.text(&serde_json::to_string_pretty(&explanation).unwrap());
    book.check();
}

#[test]
fn fallbacks_are_those_listed_that_could_carry_the_call() {
    let registry = registry();
    let offered = ids(&["tcp", "http", "acme"]);
    let question = Question { offered: Some(&offered), ..Question::new(PlaneType::Request) };
    let listed = ids(&["nats", "http", "tcp", "acme"]);
    let turn_to = |selection: &Selection| selection.fallbacks(&listed).cloned().collect::<Vec<_>>();
    assert_eq!(
        turn_to(&registry.select(&question)),
        ["http", "acme"],
        "nats is not offered, tcp is the one that failed"
    );
    assert!(
        turn_to(&registry.select(&Question::new(PlaneType::Response))).is_empty(),
        "a response plane never falls back"
    );
}

/// One file of expected text.
struct Snapshot {
    name: &'static str,
    text: String,
}

impl Snapshot {
    fn new(name: &'static str) -> Self {
        Self { name, text: String::new() }
    }

    /// The table, and the error of each plane that found nobody.
    fn explanation(&mut self, title: &str, explanation: &Explanation) {
        writeln!(self.text, "## {title}\n\n{explanation}").unwrap();
        for selection in &explanation.planes {
            if let Err(error) = selection.require() {
                writeln!(self.text, "error: {error}\n").unwrap();
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    #[track_caller]
    fn check(self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/selection-{}.txt", self.name));
        if std::env::var_os("BIPLANE_UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&path, &self.text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        let difference = expected.lines().zip(self.text.lines()).find(|(expected, got)| expected != got);
        assert!(
            expected == self.text,
            "{} differs, first at {difference:#?}; now it is:\n{}",
            path.display(),
            self.text
        );
    }
}

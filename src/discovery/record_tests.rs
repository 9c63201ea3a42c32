// SPDX-License-Identifier: Apache-2.0

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;

use super::*;
use crate::discovery::samples::{instance, name};
use crate::error::ErrorKind;

fn read(text: &str) -> Result<Instance> {
    Instance::from_json(text.as_bytes())
}

fn with_transport(transport: &str) -> Result<Instance> {
    read(&format!(r#"{{"endpoint": "words", "instance_id": 1, "transport": {transport}}}"#))
}

#[test]
fn the_record_of_the_documents_is_read() {
    let text = r#"{"namespace": "demo", "component": "llm", "endpoint": "generate", "instance_id": 7587886113,
        "weight": 100, "transport": {"unified": {
        "request_transports": [{"transport_id": "tcp", "address": "10.0.0.7:9001",
            "capabilities": {"exchange": "duplex"}, "metadata": {}}],
        "response_transports": [{"transport_id": "tcp", "address": "", "capabilities": {}, "metadata": {}}]}}}"#;
    let record = read(text).unwrap();
    assert_eq!(record.name, name("demo.llm.generate"));
    assert_eq!((record.instance_id, record.weight), (7_587_886_113, 100));
    let endpoints = record.request_endpoints();
    assert_eq!(endpoints[0].address, TransportAddress::tcp("10.0.0.7:9001"));
    assert!(endpoints[0].capabilities.bidirectional());
    assert_eq!(record.response_transports(), [TransportId::TCP]);
}

#[test]
fn the_written_shape_is_the_plural_one() {
    let text = instance("demo.llm.generate", u64::MAX, 7).to_json().unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["instance_id"].as_u64(), Some(u64::MAX));
    assert_eq!(value["transport"]["unified"]["request_transports"][0]["transport_id"], "tcp");
    assert_eq!(value["transport"]["unified"]["response_transports"][0]["capabilities"]["exchange"], "unary");
    for absent in ["type", "holder"] {
        assert!(value.get(absent).is_none(), "{absent} is not for every record");
    }
    assert!(value["transport"]["unified"].get("request_transport").is_none());
}

#[test]
fn the_singular_shape_is_read_without_regard_to_case() {
    let record = with_transport(
        r#"{"unified": {
            "request_transport": {"transport_id": "HTTP", "address": "http://h:8081/v1/rpc/words", "capabilities":
                {"streaming": true, "persistent_connections": true, "bidirectional": false, "max_message_size": 1048576}},
            "response_transport": {"transport_id": "Tcp", "address": "", "capabilities":
                {"streaming": true, "persistent_connections": true, "bidirectional": true, "max_message_size": null}}}}"#,
    )
    .unwrap();
    let [endpoint] = &record.request_endpoints()[..] else { panic!("one request transport") };
    assert_eq!(endpoint.address.transport, "http");
    assert_eq!(endpoint.capabilities.exchange, Exchange::Streaming);
    assert_eq!(endpoint.capabilities.max_message_size, Some(1 << 20));
    assert!(endpoint.capabilities.persistent_connections);
    assert_eq!(record.response_transports(), [TransportId::TCP]);
    assert_eq!((record.name, record.weight), (name("words"), 100));
}

#[test]
fn the_fixed_pairs_are_read() {
    let nats = with_transport(r#"{"nats_tcp": "words.1"}"#).unwrap();
    assert_eq!(nats.transport, TransportType::NatsTcp("words.1".into()));
    let http = with_transport(r#"{"http_tcp": {"http_endpoint": "http://host:8081/v1/rpc/words"}}"#).unwrap();
    assert_eq!(http.transport, TransportType::HttpTcp("http://host:8081/v1/rpc/words".into()));
}

#[test]
fn records_of_dynamo_get_ids_of_their_own() {
    let endpoint = |record: Instance| record.request_endpoints()[0].address.clone();
    for (member, id) in [("tcp", "dynamo.tcp"), ("nats", "dynamo.nats"), ("http", "dynamo.http")] {
        let record = with_transport(&format!(r#"{{"{member}": "10.0.0.7:9001/a/words"}}"#)).unwrap();
        assert_eq!(record.response_transports(), [TransportId::from_static("dynamo.tcp")]);
        assert_eq!(endpoint(record), TransportAddress::new(id, "10.0.0.7:9001/a/words"));
    }
    let tagged = r#"{"type": "Endpoint", "namespace": "ns", "component": "worker", "endpoint": "generate",
        "instance_id": 9007199254740993, "device_type": "cuda", "transport": {"nats_tcp": "ns_worker.generate-2f"}}"#;
    let record = read(tagged).unwrap();
    assert_eq!(record.instance_id, 9_007_199_254_740_993, "exact above 2^53");
    assert_eq!(endpoint(record), TransportAddress::new("dynamo.nats", "ns_worker.generate-2f"));
    assert_eq!(read(&tagged.replace("Endpoint", "Model")).unwrap_err().kind(), ErrorKind::Protocol);
}

#[test]
fn unknown_members_are_ignored_everywhere() {
    let record = read(
        r#"{"colour": [1, {"deep": null}], "endpoint": "words", "instance_id": 1, "transport": {"later": 1, "unified": {
        "request_transports": [{"transport_id": "tcp", "address": "h:1", "zone": "b", "capabilities": {"teleport": true}}],
        "topology": {}}}}"#,
    )
    .unwrap();
    assert_eq!(record.request_endpoints()[0].address, TransportAddress::tcp("h:1"));
    assert!(record.response_transports().is_empty());
}

#[test]
fn what_is_no_record_is_a_typed_error() {
    let protocol = [
        "",
        "null",
        "[]",
        "{",
        "\u{0}\u{1}",
        r#"{"endpoint": "words"}"#,
        r#"{"endpoint": "words", "instance_id": -1, "transport": {"nats_tcp": "s"}}"#,
        r#"{"endpoint": "words", "instance_id": 1.5, "transport": {"nats_tcp": "s"}}"#,
        r#"{"endpoint": "words", "instance_id": 18446744073709551616, "transport": {"nats_tcp": "s"}}"#,
        r#"{"endpoint": "words", "instance_id": 1, "weight": 300, "transport": {"nats_tcp": "s"}}"#,
        r#"{"endpoint": "../../etc", "instance_id": 1, "transport": {"nats_tcp": "s"}}"#,
        r#"{"namespace": "a.b", "endpoint": "words", "instance_id": 1, "transport": {"nats_tcp": "s"}}"#,
        r#"{"endpoint": "a.b", "instance_id": 1, "transport": {"nats_tcp": "s"}}"#,
    ];
    for text in protocol {
        assert_eq!(read(text).unwrap_err().kind(), ErrorKind::Protocol, "{text}");
    }
    for transport in [r#"{}"#, r#""tcp""#, r#"{"unified": {}}"#, r#"{"unified": null}"#, r#"{"tcp": 1}"#] {
        assert_eq!(with_transport(transport).unwrap_err().kind(), ErrorKind::Protocol, "{transport}");
    }
    let error = with_transport(r#"{"carrier_pigeon": "loft"}"#).unwrap_err().to_string();
    assert!(error.contains("carrier_pigeon") && error.contains("unified"), "{error}");
}

#[test]
fn absurd_sizes_are_refused_before_parsing_and_before_writing() {
    let huge = vec![b'['; MAX_SIZE + 1];
    assert_eq!(Instance::from_json(&huge).unwrap_err().kind(), ErrorKind::TooLarge);
    // Deep, but within the size: the parser's own depth limit must hold.
    assert_eq!(Instance::from_json(&huge[..MAX_SIZE]).unwrap_err().kind(), ErrorKind::Protocol);
    let mut fat = instance("words", 1, 100);
    fat.transport = TransportType::NatsTcp("s".repeat(MAX_SIZE));
    assert_eq!(fat.to_json().unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(instance("words", 1, 101).to_json().unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn a_new_weight_leaves_the_rest_as_it_was() {
    let text =
        r#"{"endpoint":"words","instance_id":18446744073709551615,"later":{"n": 1e400},"transport":{"nats_tcp":"s"}}"#;
    let changed = String::from_utf8(with_weight(text.as_bytes(), 3).unwrap()).unwrap();
    assert!(changed.contains(r#"{"n": 1e400}"#), "{changed}");
    let record = read(&changed.replace(r#""later":{"n": 1e400},"#, "")).unwrap();
    assert_eq!((record.instance_id, record.weight), (u64::MAX, 3));
    assert!(with_weight(text.as_bytes(), 101).is_err());
    assert!(with_weight(b"[]", 1).is_err());
}

fn endpoints() -> impl Strategy<Value = Vec<TransportEndpoint>> {
    let exchange = prop_oneof![Just(Exchange::Unary), Just(Exchange::Streaming), Just(Exchange::Duplex)];
    let sharing = prop_oneof![Just(Sharing::Exclusive), Just(Sharing::PerSession), Just(Sharing::Any)];
    let claims = (exchange, sharing, any::<[bool; 5]>(), any::<Option<u64>>()).prop_map(
        |(exchange, sharing, [inline, call_home, fetch, persistent_connections, server_push], max_message_size)| {
            let rendezvous = Rendezvous { inline, call_home, fetch };
            TransportCapabilities {
                exchange,
                sharing,
                rendezvous,
                persistent_connections,
                server_push,
                max_message_size,
            }
        },
    );
    let endpoint = ("[a-z][a-z0-9.-]{0,12}", any::<String>(), claims, hash_map(any::<String>(), any::<String>(), 0..3));
    let endpoint = endpoint.prop_map(|(id, address, capabilities, metadata)| TransportEndpoint {
        address: TransportAddress { transport: id.parse().unwrap(), address },
        capabilities,
        metadata,
    });
    vec(endpoint, 0..4)
}

fn instances() -> impl Strategy<Value = Instance> {
    let transport = prop_oneof![
        any::<String>().prop_map(TransportType::NatsTcp),
        any::<String>().prop_map(TransportType::HttpTcp),
        (endpoints(), endpoints()).prop_map(|(request_transports, response_transports)| TransportType::Unified {
            request_transports,
            response_transports
        }),
    ];
    let part = || prop_oneof![Just("default".to_owned()), "[A-Za-z0-9_-]{1,20}"];
    (part(), part(), part(), any::<u64>(), 0..=100_u8, transport).prop_map(
        |(namespace, component, endpoint, instance_id, weight, transport)| Instance {
            name: ServiceName { namespace, component, endpoint },
            instance_id,
            weight,
            transport,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(instance in instances()) {
        prop_assert_eq!(Instance::from_json(instance.to_json().unwrap().as_bytes()).unwrap(), instance);
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Instance::from_json(&bytes);
        let _ = with_weight(&bytes, 1);
    }

    #[test]
    fn a_damaged_record_is_an_error_or_another_record(instance in instances(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = instance.to_json().unwrap().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let _ = Instance::from_json(&text);
        let _ = Instance::from_json(&text[..at]);
    }
}

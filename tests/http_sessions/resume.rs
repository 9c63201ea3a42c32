// SPDX-License-Identifier: Apache-2.0
use std::time::Duration;

use biplane::io::admission::Admission;

use super::client::{ACCEPT, Response};
use super::world::{World, call};

async fn resume(world: &World, session: &str, last: &str) -> Response {
    let headers =
        [ACCEPT, ("Mcp-Session-Id", session), ("MCP-Protocol-Version", "2025-11-25"), ("Last-Event-ID", last)];
    world.request("GET", &headers).await
}

#[tokio::test]
async fn the_rest_of_a_stream_is_got_by_its_last_event() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    let mut response = world.within(&session, &call(1, "progress", "{}")).await;
    let priming = response.body.event().await.unwrap().id.unwrap();
    let first = response.body.event().await.unwrap().id.unwrap();
    drop(response);
    for (last, expected) in
        [(&first, &[r#""n":2"#, r#""result""#][..]), (&priming, &[r#""n":1"#, r#""n":2"#, r#""result""#])]
    {
        let mut rest = resume(&world, &session, last).await;
        assert_eq!(rest.status, 200);
        assert_eq!(rest.body.event().await.unwrap().id.as_deref(), Some(last.as_str()));
        for part in expected {
            assert!(rest.body.event().await.unwrap().data.contains(part));
        }
        assert!(rest.body.event().await.is_none(), "the stream ends with its response");
    }
}

#[tokio::test]
async fn a_long_call_gets_a_head_and_can_be_polled() {
    let settings = |settings: &mut biplane::transport::http::ListenSettings| {
        settings.patience = Duration::ZERO;
        settings.keep_alive = Duration::from_millis(20);
    };
    let world = World::with(settings, Admission::default()).await;
    let session = world.session("2025-11-25").await;
    let mut response = world.within(&session, &call(1, "slow", "{}")).await;
    assert!(response.is_stream());
    let priming = response.body.event().await.unwrap();
    assert_eq!(priming.data, "");
    response.body.sign_of_life().await;
    drop(response);
    assert_eq!(world.saw().await, "waiting");
    let mut rest = resume(&world, &session, &priming.id.unwrap()).await;
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    world.within(&session, cancel).await;
    assert_eq!(world.saw().await, "stopped");
    assert_eq!(rest.body.event().await.unwrap().data, "");
    assert!(rest.body.event().await.is_none());
}

#[tokio::test]
async fn a_place_that_nobody_knows_is_a_stream_like_any() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    for last in ["99-1", "nonsense", ""] {
        let mut stream = resume(&world, &session, last).await;
        assert!(stream.is_stream());
        assert_eq!(world.within(&session, &call(1, "tell", "{}")).await.status, 200);
        assert_eq!(stream.body.event().await.unwrap().data, "");
        assert!(stream.body.event().await.unwrap().data.contains(r#"{"n":1}"#));
    }
}

#[tokio::test]
async fn one_stream_does_not_tell_what_another_told() {
    let world = World::new().await;
    let session = world.session("2025-11-25").await;
    let mut listening = resume(&world, &session, "").await;
    world.within(&session, &call(1, "tell", "{}")).await;
    let priming = listening.body.event().await.unwrap().id.unwrap();
    assert!(listening.body.event().await.unwrap().data.contains("message"));
    let mut answered = world.within(&session, &call(2, "progress", "{}")).await;
    while answered.body.event().await.is_some() {}
    drop(listening);
    let mut again = resume(&world, &session, &priming).await;
    assert_eq!(again.body.event().await.unwrap().data, "");
    assert!(again.body.event().await.unwrap().data.contains("message"));
    world.within(&session, &call(3, "tell", "{}")).await;
    assert!(again.body.event().await.unwrap().data.contains("message"), "nothing of the other stream between");
}

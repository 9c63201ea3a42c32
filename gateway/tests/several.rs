// SPDX-License-Identifier: Apache-2.0
//! Several servers behind one gateway, end to end.

mod support;

use std::time::Duration;

use biplane::{Biplane, Inbound};
use serde_json::{Value, json};
use support::{Client, Server, gateway};

fn names(tools: &Value) -> Vec<&str> {
    tools["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn tools_of_all_bear_their_servers_name_and_find_it() {
    let (one, two) = (Server::start("one").await, Server::start("two").await);
    let biplane = Biplane::builder().build().unwrap();
    let (_running, url) = gateway(&biplane, &[("one", &one.url), ("two", &two.url)]).await;
    let client = Client::connect(&biplane, &url, json!({})).await;
    assert_eq!(names(&client.request("tools/list", json!({})).await.unwrap()), ["one_echo", "two_echo"]);
    let calls = (0..40).map(|number| {
        let (client, tool) = (&client, if number % 2 == 0 { "one_echo" } else { "two_echo" });
        async move { client.call(tool, &number.to_string()).await.unwrap()["content"][0]["text"].clone() }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers, (0..40).map(|number| json!(number.to_string())).collect::<Vec<_>>());
    let error = client.call("echo", "").await.unwrap_err();
    assert_eq!(error.peer().unwrap().code, -32602);
}

#[tokio::test]
async fn a_server_that_is_down_hides_nobody_and_joins_when_it_is_up() {
    let one = Server::start("one").await;
    // A port that was free a moment ago.
    let free = Server::start("two").await.url.clone();
    let biplane = Biplane::builder().build().unwrap();
    let (running, url) = gateway(&biplane, &[("one", &one.url), ("two", &free)]).await;
    running.settled().await;
    let client = Client::connect(&biplane, &url, json!({})).await;
    let tools = client.request("tools/list", json!({})).await.unwrap();
    assert_eq!(names(&tools), ["one_echo"]);
    let told = &tools["_meta"]["dev.biplane/upstreams"]["two"]["error"];
    assert!((-31099..=-31000).contains(&told["code"].as_i64().unwrap()), "{tools}");
    client.call("one_echo", "x").await.unwrap();
    let error = client.call("two_echo", "x").await.unwrap_err();
    let said = error.peer().unwrap();
    assert!((-31099..=-31000).contains(&said.code) && said.message.contains("\"two\""), "{said}");

    let _two = Server::start_at("two", &free).await;
    let joined = async {
        loop {
            if let Some(Inbound::Notification(method, _)) = client.0.receive().await.unwrap()
                && method.as_str() == "notifications/tools/list_changed"
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), joined).await.expect("nobody told that the tools have changed");
    assert_eq!(names(&client.request("tools/list", json!({})).await.unwrap()), ["one_echo", "two_echo"]);
    client.call("two_echo", "x").await.unwrap();
}

#[tokio::test]
async fn what_a_server_says_of_its_lists_comes_through() {
    let (one, two) = (Server::start("one").await, Server::start("two").await);
    let biplane = Biplane::builder().build().unwrap();
    let (_running, url) = gateway(&biplane, &[("one", &one.url), ("two", &two.url)]).await;
    let client = Client::connect(&biplane, &url, json!({})).await;
    client.call("two_changed", "").await.unwrap();
    match client.0.receive().await.unwrap().unwrap() {
        Inbound::Notification(method, _) => assert_eq!(method.as_str(), "notifications/tools/list_changed"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_never_answers_does_not_keep_clients_out() {
    let one = Server::start("one").await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let two = format!("lines+tcp://{}", silent.local_addr().unwrap());
    let biplane = Biplane::builder().build().unwrap();
    let (_running, url) = gateway(&biplane, &[("one", &one.url), ("two", &two)]).await;
    let client = Client::connect(&biplane, &url, json!({})).await;
    let tools = client.request("tools/list", json!({})).await.unwrap();
    assert_eq!(names(&tools), ["one_echo"]);
    assert!(tools["_meta"]["dev.biplane/upstreams"]["two"]["error"]["message"].is_string(), "{tools}");
    client.call("one_echo", "x").await.unwrap();
}

// SPDX-License-Identifier: Apache-2.0
//! Through a real nginx as people configure it: HTTP/1.1 to the worker, buffering left on, which the answer's own header
//! turns off.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use biplane::config::{HttpVersion, StreamFormat};
use biplane::{ControlMessage, ErrorKind, Request, ResponseSender, TransportAddress, handler_fn};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::by_hand::authority;
use crate::world::*;

/// An nginx before `upstream`, or `None` where it is not installed.
async fn nginx(directory: &Path, upstream: &str) -> Option<(Child, String)> {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let at = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .collect();
    let configuration = format!(
        "daemon off; master_process off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; {temporary}\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; \
         proxy_set_header Connection ''; }} }} }}\n"
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-e").arg(directory.join("error.log")).arg("-c").arg(&file).stdin(Stdio::null()).kill_on_drop(true);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("nginx is not installed ({error}): skipped");
            return None;
        }
    };
    soon(async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    Some((child, format!("127.0.0.1:{port}")))
}

#[tokio::test]
async fn items_pass_one_by_one_and_a_cut_is_no_end() {
    let world = World::new(speaking(HttpVersion::Http1, StreamFormat::Sse));
    let (go, gate) = tokio::sync::watch::channel(0);
    let handler = handler_fn(move |_: Request, reply: ResponseSender| {
        let mut gate = gate.clone();
        async move {
            for item in 0..4 {
                // Each item waits until the one before has been seen by the caller.
                let _ = gate.wait_for(|seen| *seen >= item).await;
                reply.send(item.to_string()).await?;
            }
            reply.stopped().await;
            reply.send("stopped").await?;
            std::future::pending().await
        }
    });
    let guard = world.serve("paced", handler).await;
    let directory = tempfile::tempdir().unwrap();
    let Some((mut nginx, proxy)) = nginx(directory.path(), authority(&guard)).await else { return };
    let to = TransportAddress::http(guard.address().address.replace(authority(&guard), &proxy));

    let mut stream = world.inline(&to, request("")).await.unwrap();
    for item in 0..4 {
        assert_eq!(soon(stream.next()).await.unwrap().unwrap().text().unwrap(), item.to_string());
        go.send(item + 1).unwrap();
    }
    stream.control(ControlMessage::Stop);
    assert_eq!(soon(stream.next()).await.unwrap().unwrap().text().unwrap(), "stopped");
    nginx.kill().await.unwrap();
    let error = soon(stream.next()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.items_seen()), (ErrorKind::Closed, Some(5)));
}

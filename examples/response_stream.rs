// SPDX-License-Identifier: Apache-2.0
//! A service that streams tokens, and a caller that reads some of them and asks it to finish early.
//!
//! `cargo run --example response_stream`

use std::time::Duration;

use biplane::{Biplane, ControlMessage, Request, ResponseSender, handler_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> biplane::Result<()> {
    // Worker and caller in one process, so that the example needs nothing else: discovery stays in memory, the wires are real.
    let biplane = Biplane::builder()
        .process_env()
        .set("discovery.backend", "mem")
        .set("transport.tcp.request.port", 0)
        .build()?;

    let tokens = handler_fn(|_: Request, reply: ResponseSender| async move {
        for number in 1_u64.. {
            tokio::select! {
                sent = reply.send(format!("token {number}")) => sent?,
                // The caller wants no more; one that hangs up drops this future instead.
                ControlMessage::Stop = reply.stopped() => break,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        reply.send("goodbye").await
    });
    let serving = biplane.serve("demo.llm.generate", tokens).start().await?;

    let mut answer = biplane.call("demo.llm.generate", "once upon a time").await?;
    while let Some(item) = answer.next().await {
        println!("{}", item?.text()?);
        if answer.items_seen() == 5 {
            answer.control(ControlMessage::Stop);
        }
    }

    serving.stop(Duration::from_secs(5)).await;
    biplane.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

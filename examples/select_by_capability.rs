// SPDX-License-Identifier: Apache-2.0
//! Asks the registry who can do what, and why the others cannot.
//!
//! `cargo run --example select_by_capability`

use biplane::capability::{Exchange, Requirements};
use biplane::{Biplane, PlaneType};

#[tokio::main(flavor = "current_thread")]
async fn main() -> biplane::Result<()> {
    let biplane = Biplane::from_env()?;
    let registry = biplane.registry();

    for plane in [PlaneType::Connection, PlaneType::Request, PlaneType::Response] {
        println!("{plane}: {:?}", registry.list_transports(plane));
    }

    let needs = Requirements { exchange: Exchange::Duplex, server_push: true, ..Requirements::NONE };
    let chosen = registry.select_transport(PlaneType::Connection, &needs)?;
    println!("for a duplex exchange with server push: {chosen}");

    // Who would carry a call of a URL, with the reason of every candidate.
    println!("{}", biplane.explain("http://127.0.0.1:8081/v1/rpc/words", Requirements::NONE).await?);
    Ok(())
}

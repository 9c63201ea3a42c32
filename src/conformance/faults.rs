// SPDX-License-Identifier: Apache-2.0
//! A bad network between the caller and the responder, made by the fault proxy.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::case::{Body, Case, Check, Failure, Need, ensure};
use super::fixture::Fixture;
use super::proxy::{Action, Plan};
use super::service::Behaviour;
use super::streams::fails;
use crate::error::ErrorKind;

const fn case(name: &'static str, needs: &'static [Need], body: Body) -> Case {
    Case::new("faults", name, needs, body)
}

pub(super) const CASES: &[Case] = &[
    case("split_at_every_byte", &[Need::OverTcp], |fixture| {
        Box::pin(works(fixture, Plan::new().both(first_split(fixture), Action::Split(1))))
    }),
    case("pieces_of_any_size", &[Need::OverTcp], |fixture| {
        Box::pin(works(fixture, Plan::new().seed(7).both(0, Action::Split(97))))
    }),
    case("delay", &[Need::OverTcp], |fixture| {
        Box::pin(works(fixture, Plan::new().both(10, Action::Delay(Duration::from_millis(100)))))
    }),
    case("cut_in_mid_request", &[Need::OverTcp], |fixture| Box::pin(request_lost(fixture, Action::Cut))),
    case("reset_in_mid_request", &[Need::OverTcp], |fixture| Box::pin(request_lost(fixture, Action::Reset))),
    case("black_hole_ends_with_the_deadline", &[Need::OverTcp], |fixture| Box::pin(black_hole(fixture))),
    case("garbage_disturbs_nobody", &[Need::OverTcp], |fixture| Box::pin(garbage(fixture))),
    case("random_faults_end", &[Need::OverTcp], |fixture| Box::pin(random(fixture))),
];

/// Where splitting begins. A WebSocket's upgrade is read by its library, which takes a head that comes in very many pieces for
/// an attack: what is split is what comes behind it.
fn first_split(fixture: &Fixture) -> u64 {
    if fixture.caller.info().transport == "ws" { 1024 } else { 0 }
}

async fn works(fixture: &Fixture, plan: Plan) -> Check {
    let (_proxy, caller) = fixture.dial_through(plan).await?;
    if !fixture.claims.capabilities.streaming() {
        fixture.echo_by(caller.clone()).in_turn().await?;
        caller.close(Duration::ZERO).await?;
        return Ok(());
    }
    let mut stream = caller.open(fixture.ask(Behaviour::Count, "20 500"))?;
    for index in 0..20 {
        match stream.next().await {
            Some(found) => ensure!(found?.body == super::service::item(index, 500), "item {index} is another one"),
            None => return Err(Failure::new(format!("the answer ended before item {index}"))),
        }
    }
    super::streams::ends(&mut stream).await?;
    caller.close(Duration::ZERO).await?;
    Ok(())
}

async fn request_lost(fixture: &Fixture, action: Action) -> Check {
    let size = fixture.max_message_size() / 2;
    let plan = Plan::new().to_target(size as u64 / 2, action);
    let (proxy, caller) = fixture.dial_through(plan).await?;
    let error = match caller.request(fixture.ask(Behaviour::Echo, fixture.claims.payload.sized(size))).await {
        Err(error) => error,
        Ok(_) => return Err(Failure::new("half a request was answered")),
    };
    ensure!(
        matches!(error.kind(), ErrorKind::Closed | ErrorKind::Connect | ErrorKind::Refused | ErrorKind::Protocol),
        "a lost request ended with {error:?}"
    );
    // The network is well again: the next request works, on a connection that the caller makes anew if it must.
    proxy.set_plan(Plan::new());
    if !fixture.claims.connection {
        fixture.echo_by(caller.clone()).in_turn().await?;
    }
    caller.close(Duration::ZERO).await?;
    fixture.echo().in_turn().await
}

async fn black_hole(fixture: &Fixture) -> Check {
    // Behind every handshake, that of TLS with certificates of both ends included.
    let (_proxy, caller) = fixture.dial_through(Plan::new().to_target(8 << 10, Action::Hold)).await?;
    let request =
        fixture.ask(Behaviour::Echo, fixture.claims.payload.sized(32 << 10)).with_timeout(Duration::from_millis(500));
    let error = match caller.open(request) {
        Err(error) => error,
        Ok(mut stream) => fails(&mut stream).await?,
    };
    ensure!(
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Closed | ErrorKind::Connect),
        "a request into a black hole ended with {error:?}"
    );
    caller.close(Duration::ZERO).await?;
    fixture.echo().in_turn().await
}

async fn garbage(fixture: &Fixture) -> Check {
    let address = fixture.socket_address().ok_or_else(|| Failure::new("no address to send garbage to"))?;
    let samples: [&[u8]; 5] =
        [b"\0", &[0xff; 4096], b"GET / HTTP/9.9\r\n\r\n", b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"{}\n{}\n"];
    for sample in samples {
        let mut socket = TcpStream::connect(address).await?;
        // The responder may answer, close or reset, as it likes; it may not stop serving others.
        let _ = socket.write_all(sample).await;
        let _ = socket.shutdown().await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut rest)).await;
        fixture.echo().in_turn().await?;
    }
    Ok(())
}

async fn random(fixture: &Fixture) -> Check {
    for seed in 0..16 {
        // Whatever happens, it ends, and a whole answer is the right one. A flipped bit may only be caught by a checksum,
        // which not every wire has; so bodies are not compared here.
        let Ok((_proxy, caller)) = fixture.dial_through(Plan::random(seed, 2000)).await else { continue };
        let request = fixture.ask(Behaviour::Count, "10 200").with_timeout(Duration::from_millis(700));
        if let Ok(mut stream) = caller.open(request) {
            while let Some(Ok(_)) = stream.next().await {}
        }
        caller.close(Duration::ZERO).await?;
    }
    fixture.echo().in_turn().await
}

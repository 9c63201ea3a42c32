// SPDX-License-Identifier: Apache-2.0
//! How many links a caller needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use biplane::TransportAddress;
use tokio::net::{TcpListener, TcpStream};

use crate::by_hand::authority;
use crate::world::*;

/// A relay to `upstream` that counts the links it carries.
async fn counting(upstream: &str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (links, upstream) = (Arc::new(AtomicUsize::new(0)), upstream.to_owned());
    let count = links.clone();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let upstream = upstream.clone();
            tokio::spawn(async move {
                let mut responder = TcpStream::connect(upstream).await?;
                tokio::io::copy_bidirectional(&mut caller, &mut responder).await
            });
        }
    });
    (address, links)
}

#[tokio::test]
async fn one_link_serves_requests_that_follow_each_other() {
    for version in VERSIONS {
        for format in FORMATS {
            let world = World::new(speaking(version, format));
            let guard = world.serve("words", words()).await;
            let (address, links) = counting(authority(&guard)).await;
            let to = TransportAddress::http(guard.address().address.replace(authority(&guard), &address));
            for round in 0..20 {
                let stream = world.inline(&to, request("to be or not")).await.unwrap();
                assert_eq!(texts(stream).await, ["to", "be", "or", "not"]);
                // Acknowledgements, refusals and one-way requests give their link back, too.
                let stream = world.fetched(&to, request(format!("{round}"))).await.unwrap();
                assert_eq!(texts(stream).await, [format!("{round}")]);
                let nobody = TransportAddress::http(to.address.replace("words", "nobody"));
                assert!(world.inline(&nobody, request("")).await.is_err());
            }
            assert_eq!(links.load(Ordering::Relaxed), 1, "{version:?} {format:?}");
        }
    }
}

#[tokio::test]
async fn http2_shares_links_among_requests_at_once() {
    let world = World::new(config(|_| {}));
    let (dropped, _gone) = tokio::sync::mpsc::unbounded_channel();
    let guard = world.serve("endless", endless(1, dropped)).await;
    let (address, links) = counting(authority(&guard)).await;
    let to = TransportAddress::http(guard.address().address.replace(authority(&guard), &address));
    let mut open = Vec::new();
    for _ in 0..600 {
        open.push(world.inline(&to, request("")).await.unwrap());
    }
    let links = links.load(Ordering::Relaxed);
    assert!((3..=6).contains(&links), "{links} links for 600 streams of which 250 fit a link");
}

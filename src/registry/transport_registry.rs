// SPDX-License-Identifier: Apache-2.0
//! Tests of the registry. The module has this name so that `cargo test --lib transport_registry` finds them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;

use super::*;
use crate::capability::{Exchange, Rendezvous, TransportCapabilities};
use crate::config::Config;
use crate::connection::Connection;
use crate::error::Detail;
use crate::message::{Request, RequestContext, Subject};
use crate::plane::{Ack, EndpointGuard, Opened, PendingResponse, ReplyTo, ResponseConnectionInfo};
use crate::target::{Target, TransportAddress};

/// Does nothing but be itself: the registry never looks inside.
struct Dummy;

#[async_trait]
impl Transport for Dummy {
    async fn connect(&self, _: &Target) -> Result<Arc<dyn Connection>> {
        Err(Error::unsupported("a dummy"))
    }
}

#[async_trait]
impl RequestPlaneClient for Dummy {
    async fn send_request(&self, _: &TransportAddress, _: Request, _: &ReplyTo) -> Result<Ack> {
        Err(Error::unsupported("a dummy"))
    }
}

#[async_trait]
impl RequestPlaneServer for Dummy {
    async fn register_endpoint(&self, _: Subject, _: crate::Dispatch) -> Result<EndpointGuard> {
        Err(Error::unsupported("a dummy"))
    }

    async fn close(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl ResponsePlane for Dummy {
    async fn expect(&self, _: &RequestContext, _: &TransportAddress) -> Result<PendingResponse> {
        Err(Error::unsupported("a dummy"))
    }

    async fn create_response_stream(&self, _: &RequestContext, _: &ResponseConnectionInfo) -> Result<Opened> {
        Err(Error::unsupported("a dummy"))
    }

    async fn close(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

const REQUEST: PlaneType = PlaneType::Request;

fn request(id: &'static str) -> TransportRegistration {
    TransportRegistration::request(id, |_| Ok(RequestPlane { client: Arc::new(Dummy), server: Arc::new(Dummy) }))
}

fn context(instance_id: u64) -> BuildContext {
    BuildContext::new(Arc::new(Config::defaults().unwrap()), Default::default(), instance_id)
}

#[test]
fn the_order_is_plane_priority_id_and_not_that_of_registration() {
    let all = [
        request("zeta").priority(10),
        request("beta").priority(20),
        request("alpha").priority(20),
        TransportRegistration::made_in_code("only", PlaneType::Connection).priority(99),
    ];
    let forwards = TransportRegistry::builder().register_all(&all).unwrap().build().unwrap();
    let backwards: Vec<_> = all.into_iter().rev().collect();
    let backwards = TransportRegistry::builder().register_all(&backwards).unwrap().build().unwrap();
    assert_eq!(format!("{forwards:?}"), "[\"connection only\", \"request zeta\", \"request alpha\", \"request beta\"]");
    assert_eq!(format!("{forwards:?}"), format!("{backwards:?}"));
    assert_eq!(forwards.list_transports(REQUEST), ["zeta", "alpha", "beta"]);
}

#[test]
fn two_of_one_plane_and_id_are_refused_with_both_origins() {
    let mut builder = TransportRegistry::builder();
    builder.register(request("acme").origin("acme@1.0.0")).unwrap();
    let error = builder.register(request("acme").origin("other@2.0.0")).unwrap_err();
    assert_eq!(error.detail(), Some(&Detail::AlreadyRegistered));
    let text = error.to_string();
    assert!(text.contains("acme@1.0.0") && text.contains("other@2.0.0") && text.contains("replace()"), "{text}");
    // The same id on another plane is another thing.
    builder.register(TransportRegistration::made_in_code("acme", PlaneType::Response)).unwrap();
}

#[test]
fn a_replacement_wins_before_and_after() {
    let old = request("acme").origin("acme@1.0.0");
    let new = request("acme").origin("other@2.0.0");
    let mut before = TransportRegistry::builder();
    before.replace(new).unwrap().register(old).unwrap();
    let mut after = TransportRegistry::builder();
    after.register(old).unwrap().replace(new).unwrap();
    for mut builder in [before, after] {
        assert_eq!(builder.build().unwrap().registrations().first().unwrap().origin, "other@2.0.0");
    }
    let mut twice = TransportRegistry::builder();
    assert!(twice.replace(new).unwrap().replace(old).is_err(), "who replaces whom?");
}

#[test]
fn nothing_is_registered_after_the_freeze() {
    let mut builder = TransportRegistry::builder();
    let registry = builder.register(request("acme")).unwrap().build().unwrap();
    let error = builder.register(request("late")).unwrap_err();
    assert_eq!(error.detail(), Some(&Detail::AlreadyFrozen));
    assert!(error.to_string().contains("late") && error.to_string().contains("no lock"), "{error}");
    assert!(builder.build().is_err());
    assert_eq!(registry.list_transports(REQUEST), ["acme"]);
}

#[test]
fn an_implementation_must_fit_its_plane() {
    let registration = TransportRegistration::made_in_code("acme", PlaneType::Response);
    let error = TransportRegistry::builder().register_connection(registration, Arc::new(Dummy)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("response transport") && error.to_string().contains("connection"), "{error}");
}

#[test]
fn a_ready_instance_is_the_one_that_comes_back() {
    let (client, server): (Arc<dyn RequestPlaneClient>, Arc<dyn RequestPlaneServer>) =
        (Arc::new(Dummy), Arc::new(Dummy));
    let response: Arc<dyn ResponsePlane> = Arc::new(Dummy);
    let transport: Arc<dyn Transport> = Arc::new(Dummy);
    let ready = |plane| TransportRegistration::made_in_code("acme", plane);
    let registry = TransportRegistry::builder()
        .register_request_transport(ready(REQUEST), client.clone(), server.clone())
        .unwrap()
        .register_response_transport(ready(PlaneType::Response), response.clone())
        .unwrap()
        .register_connection(ready(PlaneType::Connection), transport.clone())
        .unwrap()
        .build()
        .unwrap();
    let id = "acme".into();
    // Unbound and bound alike.
    for registry in [registry.clone(), registry.bind(context(1))] {
        assert!(Arc::ptr_eq(&registry.get_request_client(&id).unwrap(), &client));
        assert!(Arc::ptr_eq(&registry.get_request_server(&id).unwrap(), &server));
        assert!(Arc::ptr_eq(&registry.get_response_client(&id).unwrap(), &response));
        assert!(Arc::ptr_eq(&registry.get_transport(&id).unwrap(), &transport));
    }
}

#[test]
fn two_runtimes_share_registrations_and_nothing_that_was_made() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let registration = TransportRegistration::made_in_code("acme", PlaneType::Response);
    let registry = TransportRegistry::builder()
        .register_with(registration, move |context| {
            count.fetch_add(1, Ordering::Relaxed);
            assert!(matches!(context.instance_id(), 1 | 2));
            Ok(Arc::new(Dummy) as Arc<dyn ResponsePlane>)
        })
        .unwrap()
        .build()
        .unwrap();
    let (one, two) = (registry.bind(context(1)), registry.bind(context(2)));
    assert_eq!(made.load(Ordering::Relaxed), 0, "nothing is made before it is asked for");
    assert_eq!(one.live().count(), 0);

    let id = "acme".into();
    let first = one.get_response_client(&id).unwrap();
    assert!(Arc::ptr_eq(&first, &one.get_response_client(&id).unwrap()));
    assert!(Arc::ptr_eq(&first, &one.clone().get_response_client(&id).unwrap()));
    assert!(!Arc::ptr_eq(&first, &two.get_response_client(&id).unwrap()));
    assert_eq!(made.load(Ordering::Relaxed), 2, "once for each runtime");
    assert_eq!((one.live().count(), registry.live().count()), (1, 0));

    let error = registry.get_response_client(&id).err().unwrap();
    assert!(error.to_string().contains("bind()"), "{error}");
}

#[test]
fn a_factory_that_fails_fails_the_same_way_each_time() {
    let broken = TransportRegistration::response("acme", |context| {
        Err(Error::config(format!("instance {} has no certificate", context.instance_id())).with_hint("set ACME_CERT"))
    });
    let registry = TransportRegistry::builder().register(broken).unwrap().build().unwrap().bind(context(7));
    for _ in 0..2 {
        let error = registry.get_response_client(&"acme".into()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        assert!(text.contains("`acme`") && text.contains("instance 7") && text.contains("ACME_CERT"), "{text}");
    }
}

#[test]
fn an_unknown_id_lists_what_is_there() {
    let registry = TransportRegistry::builder()
        .register_all(&[request("http"), request("nats")])
        .unwrap()
        .build()
        .unwrap()
        .bind(context(1));
    let error = registry.get_request_client(&"nast".into()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NoTransport);
    let text = error.to_string();
    for part in ["http, nats", "did you mean `nats`?", "use biplane_nast as _;"] {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}

#[test]
fn a_reply_to_nobody_has_is_refused_and_safe_to_repeat() {
    let registry = TransportRegistry::builder()
        .register(TransportRegistration::made_in_code("tcp", PlaneType::Response))
        .unwrap()
        .build()
        .unwrap()
        .bind(context(1));
    let error = registry.response_plane(&"warp".into()).err().unwrap();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Refused, Retry::Safe));
    assert!(error.to_string().contains("registered: tcp"), "{error}");
}

#[test]
fn selection_by_capability_takes_the_first_that_claims_enough() {
    let streaming = TransportCapabilities { exchange: Exchange::Streaming, ..TransportCapabilities::UNARY };
    let small = TransportCapabilities { max_message_size: Some(1 << 20), ..streaming };
    let registry = TransportRegistry::builder()
        .register_all(&[
            request("unary").priority(10),
            request("small").priority(20).capabilities(small),
            request("large").priority(30).capabilities(streaming),
        ])
        .unwrap()
        .build()
        .unwrap();
    let pick = |needs: &Requirements| registry.select_transport(REQUEST, needs);
    assert_eq!(pick(&Requirements::NONE).unwrap(), "unary");
    assert_eq!(pick(&Requirements::from(&streaming)).unwrap(), "small");
    assert_eq!(pick(&Requirements::parse("streaming,max_message_size=2MiB").unwrap()).unwrap(), "large");
    let error = pick(&Requirements::parse("duplex").unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoTransport);
    for id in ["unary", "small", "large"] {
        assert!(error.to_string().contains(id), "{error}");
    }
    assert_eq!(registry.candidates(REQUEST, &Requirements::NONE).len(), 3);
}

#[test]
fn the_runtime_itself_registers_without_conflict() {
    let registry = TransportRegistry::builder().collected().unwrap().build().unwrap();
    let mut seen = std::collections::HashSet::new();
    for registration in registry.registrations() {
        assert!(seen.insert((registration.plane(), registration.transport_id)));
        assert!(registration.origin.contains('@'), "{} is not stamped", registration.transport_id);
    }
}

fn any_registration() -> impl Strategy<Value = TransportRegistration> {
    let ids = prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    let schemes = prop::sample::select(vec![&[][..], &["x"][..], &["y"][..], &["x", "y"][..]]);
    let exchange = prop::sample::select(vec![Exchange::Unary, Exchange::Streaming, Exchange::Duplex]);
    (ids, schemes, exchange, 0_u16..4, any::<bool>()).prop_map(|(id, schemes, exchange, priority, inline)| {
        let rendezvous = if inline { Rendezvous::INLINE } else { Rendezvous::NONE };
        let capabilities = TransportCapabilities { exchange, rendezvous, ..TransportCapabilities::UNARY };
        request(id).schemes(schemes).priority(priority).capabilities(capabilities)
    })
}

proptest! {
    /// Whatever is registered and asked: the outcome ignores the order of registration, every registration has exactly one
    /// verdict, and the winner is able, wanted and first.
    #[test]
    fn selection_is_a_function_of_the_set(
        mut registrations in prop::collection::vec(any_registration(), 0..6),
        turn in 0_usize..6,
        scheme in prop::option::of(prop::sample::select(vec!["x", "y", "z"])),
        configured in prop::collection::vec(prop::sample::select(vec!["a", "c", "e", "q"]), 0..3),
        only in any::<bool>(),
        exchange in prop::sample::select(vec![Exchange::Unary, Exchange::Streaming]),
    ) {
        registrations.sort_by_key(|registration| registration.transport_id);
        registrations.dedup_by_key(|registration| registration.transport_id);
        let configured: Vec<TransportId> = configured.into_iter().map(TransportId::from_static).collect();
        let question = Question {
            needs: Requirements { exchange, ..Requirements::NONE },
            preference: if only { Preference::Only(&configured) } else { Preference::First(&configured) },
            scheme,
            ..Question::new(REQUEST)
        };
        let selection = select(&registrations, &question);
        let mut turned = registrations.clone();
        let by = turn.min(turned.len());
        turned.rotate_left(by);
        prop_assert_eq!(&selection, &select(&turned, &question));

        prop_assert_eq!(selection.candidates.len(), registrations.len());
        prop_assert_eq!(selection.able().next().map(|first| &first.id), selection.chosen.as_ref());
        prop_assert_eq!(selection.require().is_ok(), selection.chosen.is_some());
        let chosen = registrations.iter().find(|one| selection.chosen.as_ref().is_some_and(|id| id == one.transport_id));
        let able = |one: &&TransportRegistration| {
            one.capabilities.exchange >= exchange
                && scheme.is_none_or(|scheme| one.schemes.contains(&scheme))
                && (!only || configured.iter().any(|id| id == one.transport_id))
        };
        let place = |one: &TransportRegistration| {
            let at = configured.iter().position(|id| id == one.transport_id).unwrap_or(usize::MAX);
            (at, one.priority, one.transport_id)
        };
        let expected = registrations.iter().filter(able).min_by_key(|one| place(one));
        prop_assert_eq!(chosen.map(|one| one.transport_id), expected.map(|one| one.transport_id));
    }
}

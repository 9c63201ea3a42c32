// SPDX-License-Identifier: Apache-2.0

use std::time::SystemTime;

use super::*;
use crate::discovery::samples::{instance, name};
use crate::error::ErrorKind;

const LEASE: Duration = Duration::from_secs(10);

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::new(home.path()));
    (home, store)
}

fn weight(published: &Published) -> u8 {
    record::decode(&store::read(&published.path).unwrap()).unwrap().0.weight
}

fn set_modified(published: &Published, to: SystemTime) {
    fs::File::options().write(true).open(&published.path).unwrap().set_modified(to).unwrap();
}

fn modified(published: &Published) -> SystemTime {
    fs::metadata(&published.path).unwrap().modified().unwrap()
}

#[test]
fn a_record_is_one_private_file_that_goes_with_its_guard() {
    use std::os::unix::fs::PermissionsExt;
    let (_home, store) = store();
    let published = publish(store.clone(), &instance("demo.llm.words", 0xabc, 100), LEASE).unwrap();
    assert_eq!(published.path.file_name().unwrap(), "demo.llm.words-0000000000000abc.json");
    assert_eq!(fs::metadata(&published.path).unwrap().permissions().mode() & 0o777, 0o600);
    let (read, holder) = record::decode(&store::read(&published.path).unwrap()).unwrap();
    assert_eq!(read, instance("demo.llm.words", 0xabc, 100));
    assert_eq!(holder.unwrap(), Holder { lease_ms: 10_000, process: process::current() });
    drop(published);
    let left: Vec<_> = fs::read_dir(store.instances()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [".lock"]);
}

#[test]
fn a_weight_set_by_another_survives_renewals_and_the_loss_of_the_file() {
    let (home, store) = store();
    let published = publish(store, &instance("words", 1, 100), LEASE).unwrap();
    // Another process: a store of its own on the same directory.
    let other = Store::new(home.path());
    let long_ago = SystemTime::now() - LEASE / 2;
    set_modified(&published, long_ago);
    assert!(set_weight(&other, &name("words"), 1, 25).unwrap());
    assert_eq!(weight(&published), 25);
    assert_eq!(modified(&published), long_ago, "changing a weight is no sign of life of the holder");
    published.renew().unwrap();
    assert_eq!(weight(&published), 25);
    assert!(modified(&published) > long_ago);

    fs::remove_dir_all(home.path().join("biplane")).unwrap();
    published.renew().unwrap();
    assert_eq!(weight(&published), 25, "written again as it was");
}

#[test]
fn a_weight_finds_records_under_any_file_name_and_only_its_own() {
    let (home, store) = store();
    let store = &*store;
    assert!(!set_weight(store, &name("words"), 1, 5).unwrap(), "no directory, no record");
    assert!(!home.path().join("biplane").exists());
    store.create().unwrap();
    let text = |service| instance(service, 1, 100).to_json().unwrap().replace("}}}", r#"}, "later": {"n": 1}}}"#);
    fs::write(store.instances().join("by-hand"), text("words")).unwrap();
    fs::write(store.instances().join("other"), text("lines")).unwrap();
    fs::write(store.instances().join("garbage"), "}{").unwrap();
    assert!(set_weight(store, &name("words"), 1, 5).unwrap());
    assert!(!set_weight(store, &name("words"), 2, 5).unwrap());
    assert_eq!(set_weight(store, &name("words"), 1, 101).unwrap_err().kind(), ErrorKind::Config);
    let weight = |file: &str| {
        let text = store::read(&store.instances().join(file)).unwrap();
        (record::decode(&text).unwrap().0.weight, String::from_utf8(text).unwrap().contains("later"))
    };
    assert_eq!((weight("by-hand"), weight("other")), ((5, true), (100, true)));
}

#[test]
fn a_withdrawn_record_is_not_brought_back_by_a_late_renewal() {
    let (_home, store) = store();
    let published = publish(store, &instance("words", 1, 100), LEASE).unwrap();
    published.withdraw();
    published.renew().unwrap();
    assert!(!published.path.exists());
    published.withdraw();
}

#[test]
fn a_withdrawal_does_not_wait_for_a_lock_that_is_never_given_back() {
    let (_home, store) = store();
    let published = publish(store.clone(), &instance("words", 1, 100), LEASE).unwrap();
    let _lock = store.lock(Duration::ZERO).unwrap().unwrap();
    published.withdraw();
    assert!(!published.path.exists());
    assert_eq!(publish(store, &instance("words", 2, 100), LEASE).unwrap_err().kind(), ErrorKind::Overloaded);
}

#[test]
fn a_live_record_is_not_overwritten_a_dead_one_is() {
    let (home, store) = store();
    let published = publish(store.clone(), &instance("words", 1, 100), LEASE).unwrap();
    let other = Arc::new(Store::new(home.path()));
    let error = publish(other.clone(), &instance("words", 1, 7), LEASE).unwrap_err();
    assert!(error.to_string().contains("instance 1 of words is already published"), "{error}");
    assert_eq!(weight(&published), 100);
    set_modified(&published, SystemTime::now() - LEASE * 2);
    let _second = publish(other, &instance("words", 1, 7), LEASE).unwrap();
    assert_eq!(weight(&published), 7);
}

#[test]
fn any_service_name_has_a_file_name() {
    let long = |last: char| format!("{}.{}", "n".repeat(200), "e".repeat(53) + &last.to_string());
    let names = [name("words"), name(&long('a')), name(&long('b'))];
    let files: std::collections::HashSet<String> = names.iter().map(|name| file_name(name, u64::MAX)).collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|file| file.len() <= 255), "{files:?}");
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8, "the published test vector");
    let (_home, store) = store();
    publish(store, &instance(&long('a'), u64::MAX, 1), LEASE).unwrap();
}

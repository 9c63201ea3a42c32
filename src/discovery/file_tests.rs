// SPDX-License-Identifier: Apache-2.0

use std::fs;
use std::path::Path;

use super::*;
use crate::discovery::record::{self, Holder};
use crate::discovery::samples::{ids, instance, name};

const LEASE: Duration = Duration::from_secs(10);

/// One process's view of the directory.
fn store(home: &Path) -> FileDiscovery {
    with_lease(home, LEASE)
}

fn with_lease(home: &Path, lease: Duration) -> FileDiscovery {
    let backend = crate::target::TransportId::from_static("file");
    FileDiscovery::new(&DiscoveryConfig { backend, file_kv: home.to_owned(), lease })
}

async fn until(watch: &mut Watch, expected: &[u64]) {
    let seen = watch.wait_for(|instances| ids(instances) == expected);
    tokio::time::timeout(Duration::from_secs(30), seen).await.expect("seen in time").expect("the store lives");
}

fn record_files(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home.join("biplane/instances")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[tokio::test]
async fn processes_see_each_others_instances_come_and_go() {
    let home = tempfile::tempdir().unwrap();
    let (worker, caller) = (store(home.path()), store(home.path()));
    let words = name("words");
    let mut watch = caller.watch(&words).await.unwrap();
    assert!(watch.borrow_and_update().is_empty());

    let first = worker.put(instance("words", 2, 100)).await.unwrap();
    until(&mut watch, &[2]).await;
    let _second = caller.put(instance("words", u64::MAX, 100)).await.unwrap();
    let _other = worker.put(instance("demo.llm.words", 3, 100)).await.unwrap();
    until(&mut watch, &[2, u64::MAX]).await;
    assert_eq!(ids(&worker.list().await.unwrap()), [2, u64::MAX, 3], "ordered by name, then id");

    assert!(caller.set_weight(&words, 2, 0).await.unwrap());
    watch.wait_for(|instances| instances[0].weight == 0).await.unwrap();
    assert!(!caller.set_weight(&words, 9, 0).await.unwrap());

    drop(first);
    until(&mut watch, &[u64::MAX]).await;
}

#[tokio::test]
async fn a_refresh_sees_what_no_poll_has_seen_yet() {
    let home = tempfile::tempdir().unwrap();
    let (worker, caller) = (store(home.path()), store(home.path()));
    let words = name("words");
    assert!(caller.refresh(&words).await.unwrap().is_empty());
    assert!(!home.path().join("biplane").exists(), "looking makes nothing");
    let guard = worker.put(instance("words", 1, 100)).await.unwrap();
    assert_eq!(ids(&caller.refresh(&words).await.unwrap()), [1]);
    drop(guard);
    assert!(caller.refresh(&words).await.unwrap().is_empty());
    assert!(caller.0.views().poller.is_none(), "nobody watches");
}

#[tokio::test]
async fn refreshes_at_once_share_scans() {
    let home = tempfile::tempdir().unwrap();
    let caller = Arc::new(store(home.path()));
    let all: Vec<_> = (0..200)
        .map(|_| {
            let caller = caller.clone();
            tokio::spawn(async move { caller.refresh(&name("words")).await.unwrap() })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    // One under way and one for all who came meanwhile; a few more if scans end between the tasks' first polls.
    let scans = caller.0.started.load(Ordering::Relaxed);
    assert!(scans < 100, "{scans} scans for 200 calls");
}

#[tokio::test]
async fn a_first_value_is_there_at_once_and_one_poller_serves_all() {
    let home = tempfile::tempdir().unwrap();
    let (worker, caller) = (store(home.path()), store(home.path()));
    let _guard = worker.put(instance("words", 1, 100)).await.unwrap();
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut watches = Vec::new();
    for service in ["words", "words", "lines", "tokens"] {
        watches.push(caller.watch(&name(service)).await.unwrap());
    }
    assert_eq!(ids(&watches[0].borrow()), [1]);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks + 1);

    watches.truncate(1);
    caller.0.changed.notify_one();
    until_tasks(tasks + 1).await;
    watches.clear();
    caller.0.changed.notify_one();
    until_tasks(tasks).await;
    assert!(caller.0.views().watched.is_empty());

    // And again.
    let mut watch = caller.watch(&name("words")).await.unwrap();
    until(&mut watch, &[1]).await;
}

async fn until_tasks(expected: usize) {
    for _ in 0..3000 {
        if tokio::runtime::Handle::current().metrics().num_alive_tasks() == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} tasks", tokio::runtime::Handle::current().metrics().num_alive_tasks());
}

#[tokio::test]
async fn renewals_keep_a_record_alive_beyond_its_lease_and_stop_with_the_guard() {
    let home = tempfile::tempdir().unwrap();
    let worker = with_lease(home.path(), Duration::from_millis(60));
    let guard = worker.put(instance("words", 1, 100)).await.unwrap();
    let path = home.path().join("biplane/instances").join(&record_files(home.path())[0]);
    let modified = || fs::metadata(&path).and_then(|metadata| metadata.modified());
    let mut last = modified().unwrap();
    for _ in 0..5 {
        while modified().unwrap() == last {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        last = modified().unwrap();
    }
    drop(guard);
    assert!(record_files(home.path()).is_empty());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(record_files(home.path()).is_empty(), "no renewal brings it back");
}

#[tokio::test]
async fn a_record_whose_holder_stopped_renewing_is_dropped() {
    let home = tempfile::tempdir().unwrap();
    let caller = store(home.path());
    let words = name("words");
    // The holder is one that cannot be looked up, so the lease alone decides.
    let text = instance("words", 1, 100).to_json().unwrap();
    fs::create_dir_all(home.path().join("biplane/instances")).unwrap();
    let path = home.path().join("biplane/instances/by-hand");
    fs::write(&path, text).unwrap();
    let mut watch = caller.watch(&words).await.unwrap();
    assert_eq!(ids(&watch.borrow_and_update()), [1]);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - LEASE * 2).unwrap();
    until(&mut watch, &[]).await;
    file.set_modified(SystemTime::now()).unwrap();
    until(&mut watch, &[1]).await;
}

#[tokio::test]
async fn a_killed_holder_is_noticed_long_before_its_lease_ends() {
    if process::current().is_none() {
        return;
    }
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let home = tempfile::tempdir().unwrap();
    let caller = store(home.path());
    caller.0.store.create().unwrap();
    let holder = Holder { lease_ms: 3_600_000, process: process::named(&child.id().to_string()) };
    let text = record::encode(&instance("words", 1, 100), Some(holder)).unwrap();
    caller.0.store.write(&home.path().join("biplane/instances/1"), text.as_bytes(), None).unwrap();
    let mut watch = caller.watch(&name("words")).await.unwrap();
    assert_eq!(ids(&watch.borrow_and_update()), [1]);
    child.kill().unwrap();
    until(&mut watch, &[]).await;
    assert!(record_files(home.path()).is_empty());
    child.wait().unwrap();
}

#[tokio::test]
async fn watchers_keep_what_they_saw_while_the_directory_cannot_be_read() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    let (worker, caller) = (store(&root), store(&root));
    let _guard = worker.put(instance("words", 1, 100)).await.unwrap();
    let watch = caller.watch(&name("words")).await.unwrap();
    fs::rename(&root, home.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(home.path().join("moved"), &root).unwrap();
    let error = caller.refresh(&name("words")).await.unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert!(worker.put(instance("words", 2, 100)).await.is_err());
    assert_eq!(ids(&watch.borrow()), [1]);
}

#[tokio::test]
async fn a_put_that_is_given_up_leaves_no_record() {
    let home = tempfile::tempdir().unwrap();
    let worker = store(home.path());
    worker.0.store.create().unwrap();
    // Polled once and dropped.
    tokio::select! {
        biased;
        put = worker.put(instance("words", 1, 100)) => drop(put),
        () = std::future::ready(()) => {}
    }
    // The record may appear for a moment; in the end another one of the same instance can be put.
    for _ in 0..3000 {
        if worker.put(instance("words", 1, 100)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the record of a cancelled put stayed");
}

#[test]
fn a_store_outlives_a_runtime() {
    let home = tempfile::tempdir().unwrap();
    let (worker, caller) = (store(home.path()), store(home.path()));
    let run = |work| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    let first: Result<Watch> = run(caller.watch(&name("words")));
    let _first = first.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut watch = caller.watch(&name("words")).await.unwrap();
        let _guard = worker.put(instance("words", 1, 100)).await.unwrap();
        until(&mut watch, &[1]).await;
    });
}

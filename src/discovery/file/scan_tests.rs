// SPDX-License-Identifier: Apache-2.0

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span;

use super::*;
use crate::discovery::record::Process;
use crate::discovery::samples::{ids, instance, name};

const LEASE: Duration = Duration::from_secs(10);

struct Bench {
    _home: tempfile::TempDir,
    store: Arc<Store>,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::new(home.path()));
        store.create().unwrap();
        Self { _home: home, store }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.store.instances().join(file)
    }

    fn write(&self, file: &str, text: &[u8]) {
        self.store.write(&self.path(file), text, None).unwrap();
    }

    fn scanner(&self) -> Scanner {
        Scanner::new(self.store.clone(), LEASE)
    }
}

fn record(id: u64, process: Option<Process>) -> Vec<u8> {
    let holder = Holder { lease_ms: LEASE.as_millis() as u64, process };
    record::encode(&instance("words", id, 100), Some(holder)).unwrap().into_bytes()
}

fn alive(scanner: &mut Scanner, now: SystemTime) -> Vec<u64> {
    scanner.scan(now).unwrap().get(&name("words")).map(|instances| ids(instances)).unwrap_or_default()
}

#[test]
fn an_absent_directory_is_an_empty_one() {
    let home = tempfile::tempdir().unwrap();
    let mut scanner = Scanner::new(Arc::new(Store::new(&home.path().join("not/yet"))), LEASE);
    assert!(scanner.scan(SystemTime::now()).unwrap().is_empty());
}

#[test]
fn a_record_lives_as_long_as_it_is_renewed() {
    let bench = Bench::new();
    bench.write("a", &record(1, None));
    let mut scanner = bench.scanner();
    let written = fs::metadata(bench.path("a")).unwrap().modified().unwrap();
    let second = Duration::from_secs(1);
    assert_eq!(alive(&mut scanner, written + LEASE), [1]);
    assert!(alive(&mut scanner, written + LEASE + second).is_empty());
    assert!(bench.path("a").exists(), "its holder may come back");

    let file = fs::File::options().write(true).open(bench.path("a")).unwrap();
    file.set_modified(written + LEASE).unwrap();
    assert_eq!(alive(&mut scanner, written + LEASE + second), [1], "renewed");

    assert!(alive(&mut scanner, written - LEASE).is_empty(), "a time far ahead is no proof of life");
    assert!(alive(&mut scanner, written + LEASE * 12).is_empty());
    assert!(!bench.path("a").exists(), "cleared away");
}

#[test]
fn the_lease_is_the_holders_not_the_readers_but_not_for_ever() {
    let bench = Bench::new();
    let written = |lease_ms| {
        let holder = Holder { lease_ms, process: None };
        bench.write("a", record::encode(&instance("words", 1, 100), Some(holder)).unwrap().as_bytes());
        fs::metadata(bench.path("a")).unwrap().modified().unwrap()
    };
    let mut scanner = bench.scanner();
    let at = written(60_000);
    assert_eq!(alive(&mut scanner, at + LEASE * 5), [1]);
    let at = written(u64::MAX);
    assert!(alive(&mut scanner, at + MAX_LEASE * 2).is_empty());
    bench.write("a", instance("words", 1, 100).to_json().unwrap().as_bytes());
    let at = fs::metadata(bench.path("a")).unwrap().modified().unwrap();
    assert_eq!(alive(&mut scanner, at + LEASE), [1], "without a word of its own, the reader's");
    assert!(alive(&mut scanner, at + LEASE * 2).is_empty());
}

#[test]
fn a_record_dies_at_once_with_its_process() {
    let Some(me) = process::current() else { return };
    let bench = Bench::new();
    bench.write("mine", &record(1, Some(me.clone())));
    bench.write("dead", &record(2, Some(Process { start: me.start + 1, ..me.clone() })));
    bench.write("elsewhere", &record(3, Some(Process { host: "another".into(), start: 0, ..me })));
    assert_eq!(alive(&mut bench.scanner(), SystemTime::now()), [1, 3]);
    assert!(!bench.path("dead").exists());
    assert!(bench.path("mine").exists() && bench.path("elsewhere").exists());
}

#[test]
fn nothing_is_cleared_away_while_somebody_writes() {
    let Some(me) = process::current() else { return };
    let bench = Bench::new();
    bench.write("dead", &record(2, Some(Process { start: me.start + 1, ..me })));
    let lock = bench.store.lock(Duration::ZERO).unwrap();
    let mut scanner = bench.scanner();
    assert!(alive(&mut scanner, SystemTime::now()).is_empty());
    assert!(bench.path("dead").exists());
    drop(lock);
    alive(&mut scanner, SystemTime::now());
    assert!(!bench.path("dead").exists());
}

#[test]
fn a_record_that_was_replaced_since_it_was_judged_stays() {
    let bench = Bench::new();
    bench.write("a", &record(1, None));
    let judged = Stamp::of(&fs::metadata(bench.path("a")).unwrap());
    bench.write("b", &record(2, None));
    fs::rename(bench.path("b"), bench.path("a")).unwrap();
    bench.scanner().clear_away(&[(bench.path("a"), judged)]);
    assert!(bench.path("a").exists());
}

#[test]
fn garbage_among_good_records_costs_one_warning_per_file() {
    let bench = Bench::new();
    bench.write("good", &record(1, None));
    bench.write("text", b"not a record");
    bench.write("empty", b"");
    bench.write("binary", &[0xff; 300]);
    bench.write("huge", &vec![b' '; 1 << 20]);
    bench.write("pigeon", br#"{"endpoint": "words", "instance_id": 4, "transport": {"carrier_pigeon": "loft"}}"#);
    fs::create_dir(bench.path("directory")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", bench.path("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, bench.path("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    bench.write("good-too", &record(2, None));

    let warnings = Warnings::default();
    let mut scanner = bench.scanner();
    let now = SystemTime::now();
    tracing::subscriber::with_default(warnings.clone(), || {
        for round in 0..3 {
            assert_eq!(alive(&mut scanner, now), [1, 2]);
            // Touched, or replaced by other garbage: the same file, so no second word about it.
            bench.write("text", format!("still none, {round}").as_bytes());
        }
        let files = warnings.files();
        let expected = ["binary", "directory", "empty", "huge", "link", "pigeon", "pipe", "text"];
        assert_eq!(files, expected, "each once");

        fs::remove_file(bench.path("text")).unwrap();
        alive(&mut scanner, now);
        bench.write("text", b"garbage again");
        alive(&mut scanner, now);
        assert_eq!(warnings.files().len(), expected.len() + 1, "a new file under an old name");
        assert!(scanner.warned.len() <= expected.len());

        bench.write("text", &record(3, None));
        assert_eq!(alive(&mut scanner, now), [1, 2, 3], "repaired");
    });
    assert!(bench.path("pigeon").exists(), "what nobody understands is nobody's to remove");
}

#[test]
fn of_two_records_of_one_instance_the_same_one_counts_always() {
    let bench = Bench::new();
    for (file, weight) in [("b", 2), ("a", 1), ("c", 3)] {
        bench.write(file, instance("words", 1, weight).to_json().unwrap().as_bytes());
    }
    let listing = bench.scanner().scan(SystemTime::now()).unwrap();
    let weights: Vec<u8> = listing[&name("words")].iter().map(|instance| instance.weight).collect();
    assert_eq!(weights, [1]);
}

#[test]
fn a_flood_of_files_is_looked_at_up_to_a_limit() {
    let bench = Bench::new();
    for number in 0..=MAX_FILES {
        fs::write(bench.path(&number.to_string()), "").unwrap();
    }
    let mut scanner = bench.scanner();
    scanner.scan(SystemTime::now()).unwrap();
    assert_eq!(scanner.known.len(), MAX_FILES);
}

#[test]
fn litter_is_swept_and_unfinished_records_are_not_read() {
    let bench = Bench::new();
    bench.write(".tmp-old", &record(1, None));
    bench.write(".tmp-new", &record(2, None));
    let now = SystemTime::now();
    let file = fs::File::options().write(true).open(bench.path(".tmp-old")).unwrap();
    file.set_modified(now - LITTER * 2).unwrap();
    assert!(alive(&mut bench.scanner(), now).is_empty());
    assert!(!bench.path(".tmp-old").exists() && bench.path(".tmp-new").exists());
}

#[test]
fn what_others_keep_beside_our_directory_is_not_touched() {
    let bench = Bench::new();
    let theirs = bench.store.instances().ancestors().nth(2).unwrap().join("v1/instances");
    fs::create_dir_all(&theirs).unwrap();
    fs::write(theirs.join("record"), record(1, None)).unwrap();
    assert!(alive(&mut bench.scanner(), SystemTime::now()).is_empty());
    assert!(theirs.join("record").exists());
}

/// The files that warnings were about.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn files(&self) -> Vec<String> {
        let mut files = self.0.lock().clone();
        files.sort();
        files
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "biplane::discovery" && *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut FileField(self));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct FileField<'a>(&'a Warnings);

impl Visit for FileField<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "file" {
            let path = format!("{value:?}");
            self.0.0.lock().push(path.rsplit('/').next().unwrap_or_default().to_owned());
        }
    }
}

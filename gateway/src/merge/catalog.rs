// SPDX-License-Identifier: Apache-2.0
//! What each upstream has listed, so that a name or a URI finds its upstream. It is a memory, not a source: what it has
//! forgotten, or what another replica saw, is asked for again.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::merge::kind::Kind;
use crate::merge::template::Template;

/// A list is believed for this long; servers that say when theirs changes are believed until they do.
const FRESH: Duration = Duration::from_secs(60);
/// A list in which something was missing is asked for again after this.
const RECENT: Duration = Duration::from_secs(1);
/// Entries remembered of one list.
pub(crate) const MAX_ENTRIES: usize = 10_000;
/// Templates remembered of one upstream.
const MAX_TEMPLATES: usize = 256;
/// Shortened names whose originals are remembered.
const MAX_ORIGINALS: usize = 1024;

/// The memory of one merged server.
#[derive(Debug, Default)]
pub(crate) struct Catalogs {
    /// Keyed, so that no server can choose names that are taken for another's.
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lists: HashMap<(Kind, usize), Catalog>,
    originals: HashMap<(Kind, String), String>,
}

/// Names as hashes: eight bytes each, since a session has one of these for every upstream.
#[derive(Debug, Default)]
struct Catalog {
    names: HashSet<u64>,
    templates: Vec<Template>,
    complete_at: Option<Instant>,
}

impl Catalogs {
    /// Remembers a part of a list. Complete, it takes the place of what was known.
    pub(crate) fn learn(&self, kind: Kind, part: usize, names: &[String], is_complete: bool) {
        let mut state = self.state();
        let catalog = state.lists.entry((kind, part)).or_default();
        if is_complete {
            *catalog = Catalog { complete_at: Some(Instant::now()), ..Catalog::default() };
        }
        for name in names {
            if catalog.names.len() < MAX_ENTRIES {
                catalog.names.insert(self.hasher.hash_one(name));
            }
            if kind == Kind::Templates && catalog.templates.len() < MAX_TEMPLATES {
                let template = Template::parse(name);
                if !catalog.templates.contains(&template) {
                    catalog.templates.push(template);
                }
            }
        }
    }

    /// Whether `part` has listed `name`.
    pub(crate) fn knows(&self, kind: Kind, part: usize, name: &str) -> bool {
        let hash = self.hasher.hash_one(name);
        self.state().lists.get(&(kind, part)).is_some_and(|catalog| catalog.names.contains(&hash))
    }

    /// Whether a template that `part` has listed makes `uri`.
    pub(crate) fn makes(&self, part: usize, uri: &str) -> bool {
        let state = self.state();
        let templates = state.lists.get(&(Kind::Templates, part)).map(|catalog| &catalog.templates);
        templates.is_some_and(|templates| templates.iter().any(|template| template.makes(uri)))
    }

    /// Whether all of the list is known, and not too old to say that something is not in it.
    pub(crate) fn is_fresh(&self, kind: Kind, part: usize) -> bool {
        self.is_within(kind, part, FRESH)
    }

    /// Whether the list was read a moment ago.
    pub(crate) fn is_recent(&self, kind: Kind, part: usize) -> bool {
        self.is_within(kind, part, RECENT)
    }

    fn is_within(&self, kind: Kind, part: usize, age: Duration) -> bool {
        let state = self.state();
        let read = state.lists.get(&(kind, part)).and_then(|catalog| catalog.complete_at);
        read.is_some_and(|at| at.elapsed() < age)
    }

    /// The list has changed. What was in it still tells where to ask first.
    pub(crate) fn expire(&self, kind: Kind, part: usize) {
        if let Some(catalog) = self.state().lists.get_mut(&(kind, part)) {
            catalog.complete_at = None;
        }
    }

    /// What a shortened name was.
    pub(crate) fn original(&self, kind: Kind, short: &str) -> Option<String> {
        self.state().originals.get(&(kind, short.to_owned())).cloned()
    }

    /// Remembers what a shortened name was.
    pub(crate) fn learn_original(&self, kind: Kind, short: &str, original: &str) {
        let originals = &mut self.state().originals;
        if originals.len() < MAX_ORIGINALS {
            originals.insert((kind, short.to_owned()), original.to_owned());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_complete_list_replaces_and_a_page_adds() {
        let catalogs = Catalogs::default();
        catalogs.learn(Kind::Tools, 0, &names(&["a"]), false);
        assert!(catalogs.knows(Kind::Tools, 0, "a") && !catalogs.is_fresh(Kind::Tools, 0));
        catalogs.learn(Kind::Tools, 0, &names(&["b"]), true);
        assert!(!catalogs.knows(Kind::Tools, 0, "a") && catalogs.knows(Kind::Tools, 0, "b"));
        assert!(catalogs.is_fresh(Kind::Tools, 0) && !catalogs.is_fresh(Kind::Prompts, 0));
        assert!(!catalogs.knows(Kind::Tools, 1, "b") && !catalogs.knows(Kind::Prompts, 0, "b"));
        catalogs.expire(Kind::Tools, 0);
        assert!(!catalogs.is_fresh(Kind::Tools, 0) && catalogs.knows(Kind::Tools, 0, "b"));
    }

    #[test]
    fn memory_is_bounded() {
        let catalogs = Catalogs::default();
        let many: Vec<String> = (0..MAX_ENTRIES + 5).map(|number| format!("t{number}/{{x}}")).collect();
        catalogs.learn(Kind::Templates, 0, &many, true);
        let state = catalogs.state();
        let catalog = &state.lists[&(Kind::Templates, 0)];
        assert_eq!((catalog.names.len(), catalog.templates.len()), (MAX_ENTRIES, MAX_TEMPLATES));
    }
}

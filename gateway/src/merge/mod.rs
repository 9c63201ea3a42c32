// SPDX-License-Identifier: Apache-2.0
//! Several upstreams as one server, in either era.
//!
//! - Tools and prompts are named `upstream_name`, or as they are ([`Naming`]). Names stay within 128 characters: a longer
//!   one ends in a digest, and the upstream's list tells what it was. Nothing has to be remembered for that, so replicas of
//!   the gateway agree.
//! - URIs of resources stay as they are, so `ui://` survives. Two upstreams that list the same URI: the first one has it,
//!   the other's is listed with `#biplane-upstream=NAME` at its end, which is a URI of the same scheme; what is read from
//!   it bears the upstream's own URI. That is seen as far as the lists have been: of two long lists, whose pages nobody has
//!   read, the same URI may be listed twice, and reading it asks the first.
//! - A request for a resource goes to the upstream that listed it, else to one whose template makes it, else to all in
//!   order, until one does not say that it has no such resource.
//! - An upstream that is down is missing in the lists, which say so in `_meta["dev.biplane/upstreams"]`; a call to one of its
//!   tools is an error that names it, with a code of Biplane's own. Only if all are down the list itself is an error.
//! - With plain names a tool of an upstream that is down keeps its name, as long as this process knows that it had it.

use std::sync::Arc;

use crate::merge::connection::Merged;
use crate::merge::group::Group;
use crate::view::{Era, Facts, View};

mod catalog;
mod connection;
mod cursor;
mod discover;
mod facts;
mod filter;
mod group;
mod inbox;
mod kind;
mod list;
mod listen;
mod names;
mod naming;
mod page;
mod part;
mod resources;
mod template;
#[cfg(test)]
mod tests;

pub use filter::ToolFilter;
pub use naming::{Naming, check_name};
pub use part::{Part, State};

/// One server of several, all of which speak `era`.
///
/// A single part that is there, is not filtered, and whose names stay as they are is handed through: its own connection and
/// its own facts, and what becomes of it later is its own matter. Where a part is not there, its place is kept: it joins when it comes up, and clients are told that the
/// lists have changed.
pub fn merged(era: Era, parts: Vec<Part>, naming: Naming) -> View {
    if let [only] = parts.as_slice()
        && only.naming.unwrap_or(naming) == Naming::Plain
        && only.filter.is_open()
        && let Ok(view) = only.view()
    {
        return view;
    }
    let views: Vec<_> = parts.iter().map(Part::view).collect();
    let present: Vec<(&str, &Facts)> =
        parts.iter().zip(&views).filter_map(|(part, view)| Some((&*part.name, &*view.as_ref().ok()?.facts))).collect();
    let is_complete = present.len() == parts.len();
    let facts = facts::merge(era, &present, is_complete, parts.iter().any(Part::is_live));
    View { facts: Arc::new(facts), connection: Arc::new(Merged::new(Group::new(era, naming, parts.clone()))) }
}

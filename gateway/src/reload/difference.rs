// SPDX-License-Identifier: Apache-2.0
//! What differs between two configurations, by whom it concerns.

use std::fmt;

use crate::config::{GatewayConfig, UpstreamConfig, Url};
use crate::session_id::SessionKey;

/// What a new configuration changes. What is not named here goes on untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// To be opened, before those that go are closed: a listener that fails then changes nothing.
    pub listeners_added: Vec<Url>,
    /// Take no new clients any more; their sessions drain.
    pub listeners_removed: Vec<Url>,
    /// Names of new upstreams: every session's lists change.
    pub upstreams_added: Vec<String>,
    /// Names of upstreams that go: every session's lists change, and what is under way with them drains.
    pub upstreams_removed: Vec<String>,
    /// Upstreams that stay and are otherwise than before.
    pub upstreams_changed: Vec<UpstreamChange>,
    /// The order of those that stay, or how their names are made: with plain names another upstream may have a name now.
    pub names_changed: bool,
    /// Hold for what comes next; what is over a new limit already goes on.
    pub limits_changed: bool,
    /// Origins, hosts or tokens: hold for the next request.
    pub admission_changed: bool,
    /// Whose tokens went or were replaced: their sessions end.
    pub principals_removed: Vec<String>,
    /// The key of session ids: names that were made with the old one hold as long as their sessions are here.
    pub session_key_changed: bool,
    /// How long a stop takes.
    pub drain_grace_changed: bool,
}

/// An upstream that stays and is otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamChange {
    /// Its name.
    pub name: String,
    /// What the change asks for.
    pub effect: Effect,
}

/// What a change of an upstream asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Deadlines and counts: hold for what comes next.
    Limits,
    /// Names and filters: the same connections, and clients are told that the lists have changed.
    Lists,
    /// Address, environment, credentials or sharing: sessions with it are made anew.
    Reconnect,
}

impl Change {
    /// Whether nothing differs.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a client's list of tools, prompts or resources may be another one now.
    pub fn lists_change(&self) -> bool {
        let moved = !self.upstreams_added.is_empty() || !self.upstreams_removed.is_empty() || self.names_changed;
        moved || self.upstreams_changed.iter().any(|change| change.effect >= Effect::Lists)
    }
}

/// Compares two configurations.
pub fn difference(old: &GatewayConfig, new: &GatewayConfig) -> Change {
    let missing =
        |from: &[Url], of: &[Url]| -> Vec<Url> { of.iter().filter(|url| !from.contains(url)).cloned().collect() };
    let find = |name: &str, all: &'_ GatewayConfig| all.upstreams.iter().position(|upstream| upstream.name == name);
    let names = |of: &GatewayConfig, without: &GatewayConfig| -> Vec<String> {
        let names = of.upstreams.iter().map(|upstream| upstream.name.clone());
        names.filter(|name| find(name, without).is_none()).collect()
    };
    let stay = || {
        old.upstreams.iter().filter_map(|was| {
            let is = new.upstreams.iter().find(|upstream| upstream.name == was.name)?;
            Some((was, is))
        })
    };
    let changed =
        stay().filter_map(|(was, is)| Some(UpstreamChange { name: is.name.clone(), effect: effect(was, is)? }));
    let order: Vec<usize> = stay().filter_map(|(_, is)| find(&is.name, new)).collect();
    let gone = old.admission.tokens.iter().filter(|token| !new.admission.tokens.contains(token));

    Change {
        listeners_added: missing(&old.listeners, &new.listeners),
        listeners_removed: missing(&new.listeners, &old.listeners),
        upstreams_added: names(new, old),
        upstreams_removed: names(old, new),
        upstreams_changed: changed.collect(),
        names_changed: old.naming != new.naming || !order.is_sorted(),
        limits_changed: old.limits != new.limits,
        admission_changed: old.admission != new.admission,
        principals_removed: gone.map(|(name, _)| name.clone()).collect(),
        session_key_changed: !is_same(old.session_key.as_ref(), new.session_key.as_ref()),
        drain_grace_changed: old.drain_grace != new.drain_grace,
    }
}

fn effect(was: &UpstreamConfig, is: &UpstreamConfig) -> Option<Effect> {
    if was == is {
        return None;
    }
    let is_there = was.url == is.url && was.env == is.env && was.cwd == is.cwd;
    if !is_there || was.headers != is.headers || was.sessions != is.sessions {
        return Some(Effect::Reconnect);
    }
    let is_named = was.naming == is.naming && was.tools == is.tools;
    Some(if is_named { Effect::Limits } else { Effect::Lists })
}

fn is_same(old: Option<&SessionKey>, new: Option<&SessionKey>) -> bool {
    match (old, new) {
        (None, None) => true,
        (Some(old), Some(new)) => old.is_same(new),
        _ => false,
    }
}

impl fmt::Display for Change {
    /// One line for a log, with names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls = |urls: &[Url]| urls.iter().map(|url| format!("{url:?}")).collect::<Vec<_>>().join(" ");
        let upstreams: Vec<_> =
            self.upstreams_changed.iter().map(|change| format!("{} ({:?})", change.name, change.effect)).collect();
        let parts = [
            ("listeners added", urls(&self.listeners_added)),
            ("listeners removed", urls(&self.listeners_removed)),
            ("upstreams added", self.upstreams_added.join(" ")),
            ("upstreams removed", self.upstreams_removed.join(" ")),
            ("upstreams changed", upstreams.join(" ")),
            ("tokens gone", self.principals_removed.join(" ")),
        ];
        let mut told: Vec<String> = parts
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(what, text)| format!("{what}: {text}"))
            .collect();
        let flags = [
            ("names", self.names_changed),
            ("limits", self.limits_changed),
            ("admission", self.admission_changed),
            ("session key", self.session_key_changed),
            ("drain grace", self.drain_grace_changed),
        ];
        told.extend(flags.into_iter().filter(|(_, is_on)| *is_on).map(|(what, _)| what.to_owned()));
        f.write_str(if told.is_empty() { "nothing changed" } else { "" })?;
        f.write_str(&told.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, load};

    const BASE: &str = "
        [gateway]
        listen = ['http://127.0.0.1:1/mcp', 'ws://127.0.0.1:2']
        [[gateway.upstream]]
        name = 'a'
        url = 'stdio:a'
        [[gateway.upstream]]
        name = 'b'
        url = 'http://b/mcp'
        [[gateway.admission.token]]
        name = 'alice'
        sha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'
    ";

    fn config(text: &str) -> GatewayConfig {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("g.toml");
        std::fs::write(&file, text).unwrap();
        load(&Inputs { file: Some(file), ..Inputs::default() }).unwrap()
    }

    /// What `from` becoming `to` in the text changes.
    fn change(from: &str, to: &str) -> Change {
        assert!(BASE.contains(from), "{from}");
        difference(&config(BASE), &config(&BASE.replace(from, to)))
    }

    #[test]
    fn only_what_differs_is_named() {
        let none = difference(&config(BASE), &config(BASE));
        assert!(none.is_none() && none.to_string() == "nothing changed");

        let listeners = change("'ws://127.0.0.1:2'", "'ws://127.0.0.1:3'");
        assert_eq!(listeners.listeners_added.iter().map(Url::as_str).collect::<Vec<_>>(), ["ws://127.0.0.1:3"]);
        assert_eq!(listeners.listeners_removed.iter().map(Url::as_str).collect::<Vec<_>>(), ["ws://127.0.0.1:2"]);
        assert!(!listeners.lists_change());

        let renamed = change("name = 'b'", "name = 'c'");
        assert_eq!((renamed.upstreams_added, renamed.upstreams_removed), (vec!["c".to_owned()], vec!["b".to_owned()]));

        let limits = change("[gateway]", "[gateway.limits]\nmax_sessions = 5\n[gateway]\ndrain_grace = '1s'");
        let expected = Change { limits_changed: true, drain_grace_changed: true, ..Change::default() };
        assert_eq!(limits, expected);
        assert_eq!(limits.to_string(), "limits; drain grace");
    }

    #[test]
    fn upstreams_are_touched_no_more_than_it_takes() {
        for (to, effect) in [
            ("name = 'a'\nrequest_timeout = '1s'", Effect::Limits),
            ("name = 'a'\nmax_children = 2", Effect::Limits),
            ("name = 'a'\nallow = ['x']", Effect::Lists),
            ("name = 'a'\nnaming = 'plain'", Effect::Lists),
            ("name = 'a'\nenv = { A = '1' }", Effect::Reconnect),
            ("name = 'a'\nsessions = 'dedicated'", Effect::Reconnect),
        ] {
            let change = change("name = 'a'", to);
            assert_eq!(change.upstreams_changed, [UpstreamChange { name: "a".to_owned(), effect }], "{to}");
            assert_eq!(change.lists_change(), effect >= Effect::Lists);
        }
    }

    #[test]
    fn order_counts_where_names_do() {
        let swapped = BASE.replace("'a'", "'x'").replace("'b'", "'a'").replace("'x'", "'b'");
        let swapped = swapped.replace("stdio:a", "?").replace("http://b/mcp", "stdio:a").replace('?', "http://b/mcp");
        let change = difference(&config(BASE), &config(&swapped));
        assert_eq!(change, Change { names_changed: true, ..Change::default() });
    }

    #[test]
    fn whose_token_went_is_named() {
        let replaced = change("9f86d081", "00000000");
        assert!(replaced.admission_changed);
        assert_eq!(replaced.principals_removed, ["alice"]);
        let added =
            change("[[gateway.admission.token]]", "[gateway.admission]\nhosts = ['h']\n[[gateway.admission.token]]");
        assert!(added.admission_changed && added.principals_removed.is_empty());
    }

    #[test]
    fn keys_are_compared_without_being_seen() {
        let (mut old, mut new) = (config(BASE), config(BASE));
        let key = |byte| Some(SessionKey::new(&[byte; 32]).unwrap());
        new.session_key = key(7);
        assert!(difference(&old, &new).session_key_changed);
        old.session_key = key(7);
        assert!(difference(&old, &new).is_none());
        old.session_key = key(8);
        assert!(difference(&old, &new).session_key_changed);
    }
}

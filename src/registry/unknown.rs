// SPDX-License-Identifier: Apache-2.0
//! Errors for what is not registered: they list what is, name the nearest, and say the line that links a plugin.

use crate::error::{Error, Phase};
use crate::plane::PlaneType;

/// Transports of this crate itself, each behind a cargo feature of its own name.
const BUILT_IN: &[&str] = &["mem", "tcp", "http"];

/// Nothing on `plane` is named `id`. `known` is what is registered there, `elsewhere` the planes that do have the id.
pub(super) fn unknown_id(plane: PlaneType, id: &str, known: &[&str], elsewhere: &[PlaneType]) -> Error {
    let also = match elsewhere {
        [] => String::new(),
        planes => {
            let planes: Vec<_> = planes.iter().map(|plane| plane.as_str()).collect();
            format!(" (that id serves as: {})", planes.join(", "))
        }
    };
    let error = Error::no_transport(format!(
        "no {} is registered as `{id}`{also}; registered: {}",
        noun(plane),
        super::verdict::list(known)
    ));
    // An id that is there for another plane is linked: the advice about linking would mislead.
    let link = elsewhere.is_empty().then(|| linking(id));
    with_advice(error, nearest(id, known), link)
}

/// Nothing on `plane` serves `scheme`. `known` are the registered ids with their schemes.
pub(super) fn unknown_scheme(plane: PlaneType, scheme: &str, known: &[(&str, &[&str])]) -> Error {
    let served: Vec<&str> = known.iter().flat_map(|(_, schemes)| schemes.iter().copied()).collect();
    let table: Vec<String> = known
        .iter()
        .filter(|(_, schemes)| !schemes.is_empty())
        .map(|(id, schemes)| format!("{id} ({})", super::verdict::list(schemes)))
        .collect();
    let error = Error::no_transport(format!(
        "no {} serves the scheme `{scheme}`; registered: {}",
        noun(plane),
        super::verdict::list(&table)
    ));
    with_advice(error, nearest(scheme, &served), Some(linking(scheme)))
}

/// What a registration of `plane` is called in a sentence.
pub(super) const fn noun(plane: PlaneType) -> &'static str {
    match plane {
        PlaneType::Connection => "connection transport",
        PlaneType::Request => "request transport",
        PlaneType::Response => "response transport",
        PlaneType::Discovery => "discovery backend",
    }
}

fn with_advice(error: Error, nearest: Option<&str>, link: Option<String>) -> Error {
    let nearest = nearest.map(|nearest| format!("did you mean `{nearest}`?"));
    let advice: Vec<String> = nearest.into_iter().chain(link).collect();
    let error = error.with_phase(Phase::Select);
    if advice.is_empty() { error } else { error.with_hint(advice.join(" ")) }
}

/// The linker drops a crate that no code names, silently; so the advice is the line of code.
fn linking(name: &str) -> String {
    if BUILT_IN.contains(&name) {
        return format!("`{name}` is built in: enable the cargo feature `{name}` of biplane");
    }
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("the linker drops a plugin crate that no code names: write `use biplane_{name} as _;`")
}

/// The nearest of `known`, if it is near enough to be a slip: one edit in a short name, two in a longer one.
fn nearest<'a>(asked: &str, known: &[&'a str]) -> Option<&'a str> {
    let slips = if asked.len() < 6 { 1 } else { 2 };
    known
        .iter()
        .map(|name| (strsim::osa_distance(asked, name), *name))
        .filter(|(distance, _)| *distance <= slips)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["http", "nats", "tcp"];
        assert_eq!(nearest("htpp", &known), Some("http"));
        assert_eq!(nearest("nat", &known), Some("nats"));
        assert_eq!(nearest("quic", &known), None);
    }

    #[test]
    fn advice_fits_the_case() {
        let stranger = unknown_id(PlaneType::Request, "acme.rdma", &["tcp"], &[]).to_string();
        assert!(stranger.contains("use biplane_acme_rdma as _;"), "{stranger}");
        let feature = unknown_id(PlaneType::Request, "http", &["tcp"], &[]).to_string();
        assert!(feature.contains("cargo feature `http`"), "{feature}");
        let misplaced = unknown_id(PlaneType::Request, "file", &["tcp"], &[PlaneType::Discovery]).to_string();
        assert!(misplaced.contains("discovery") && !misplaced.contains("linker"), "{misplaced}");
    }
}

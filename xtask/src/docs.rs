// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask docs`: documents that are made from tables in the code.
//!
//! Making them takes the library and every plugin of the tree, the other chores take nothing: so it is behind the feature
//! `docs`, and without the feature the program runs itself again with it.

use crate::Outcome;

/// Writes the documents, or with `check` says which one is not up to date.
#[cfg(not(feature = "docs"))]
pub(crate) fn run(check: bool) -> Outcome {
    let mut again = crate::suite::cargo(&["run", "--quiet", "--package", "xtask", "--features", "docs", "--", "docs"]);
    if check {
        again.arg("--check");
    }
    crate::steps::run(again)
}

/// Writes the documents, or with `check` says which one is not up to date.
#[cfg(feature = "docs")]
pub(crate) fn run(check: bool) -> Outcome {
    made::each(|path, text| if check { compare(path, text) } else { write(path, text) })
}

#[cfg(feature = "docs")]
fn write(path: &str, text: &str) -> Outcome {
    let file = crate::root().join(path);
    let folder = file.parent().unwrap_or(crate::root());
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&file, text))
        .map_err(|error| format!("{path} cannot be written: {error}"))?;
    println!("  {path} is written");
    Ok(())
}

#[cfg(feature = "docs")]
fn compare(path: &str, text: &str) -> Outcome {
    let found = std::fs::read_to_string(crate::root().join(path)).unwrap_or_default();
    let Some(line) = first_difference(&found, text) else {
        println!("  {path} is up to date");
        return Ok(());
    };
    Err(format!("{path} is not what the code says, from line {line} on; write it with: cargo xtask docs"))
}

/// The number of the first line that differs.
#[cfg(any(feature = "docs", test))]
fn first_difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return None;
    }
    let same = one.lines().zip(other.lines()).take_while(|(one, other)| one == other).count();
    Some(same + 1)
}

/// What is made, with every transport of the tree linked.
#[cfg(feature = "docs")]
mod made {
    use biplane::registry::TransportRegistry;
    use biplane_nats as _;
    use biplane_uds as _;

    use crate::Outcome;

    pub(super) fn each(take: impl Fn(&str, &str) -> Outcome) -> Outcome {
        let registry = TransportRegistry::builder()
            .collected()
            .and_then(|builder| builder.build())
            .map_err(|error| error.to_string())?;
        take("docs/configuration.md", &biplane::config::document(registry.registrations()))
    }
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_difference_is_named_by_its_line() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("a\n", "a"), Some(2), "a missing end of line counts");
    }
}

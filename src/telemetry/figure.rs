// SPDX-License-Identifier: Apache-2.0
//! Figures that somebody else keeps and that are read when the page is asked for.

use std::fmt::Write;

use super::names::Kind;

/// One line of the page.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The exact name.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// One sentence for whoever reads the page.
    pub help: &'static str,
    /// Names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The value now.
    pub value: f64,
}

/// What gives figures; `None` once it has none to give any more.
pub(super) type Read = Box<dyn Fn() -> Option<Vec<Figure>> + Send + Sync>;

/// Appends `figures`, those of a name together, as the text format wants them.
pub(super) fn write(text: &mut String, mut figures: Vec<Figure>) {
    figures.sort_by_key(|figure| figure.name);
    let mut last = "";
    for figure in &figures {
        // Writing to a string does not fail.
        if figure.name != last {
            last = figure.name;
            let kind = if figure.kind == Kind::Counter { "counter" } else { "gauge" };
            let _ = write!(text, "# HELP {last} {}\n# TYPE {last} {kind}\n", figure.help);
        }
        text.push_str(figure.name);
        for (at, (name, value)) in figure.labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(text, "{open}{name}=\"{value}\"");
        }
        let close = if figure.labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{close} {}", figure.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_name_stand_together_under_one_head() {
        let figure = |name, label: &str, value| Figure {
            name,
            kind: Kind::Gauge,
            help: "How many.",
            labels: if label.is_empty() { Vec::new() } else { vec![("of", label.to_owned())] },
            value,
        };
        let mut text = String::new();
        write(&mut text, vec![figure("b", "x\"y", 1.0), figure("a", "", 2.5), figure("b", "z", 0.0)]);
        assert_eq!(
            text,
            "# HELP a How many.\n# TYPE a gauge\na 2.5\n# HELP b How many.\n# TYPE b gauge\nb{of=\"x\\\"y\"} 1\nb{of=\"z\"} 0\n"
        );
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Reads a page of metrics as strictly as the format's text permits, for tests. Scrapers forgive what this does not.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of a page by `name{labels}`, labels in the order of the page. `Err` names the offending line.
pub(crate) fn parse(page: &str) -> Result<BTreeMap<String, f64>, String> {
    if !page.ends_with('\n') {
        return Err("the last line does not end with a line feed".to_owned());
    }
    let mut reader = Reader::default();
    for line in page.lines().filter(|line| !line.is_empty()) {
        reader.line(line).map_err(|problem| format!("{problem}: {line:?}"))?;
    }
    reader.finish_family()?;
    Ok(reader.samples)
}

#[derive(Default)]
struct Reader {
    samples: BTreeMap<String, f64>,
    families: BTreeSet<String>,
    family: String,
    kind: Option<String>,
    /// Of the current family, if it is a histogram: by labels without `le`.
    histograms: BTreeMap<String, Histogram>,
}

#[derive(Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

type Labels = Vec<(String, String)>;

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, _) = rest.split_once(' ').ok_or("a HELP line without a text")?;
            self.finish_family().map_err(|_| "the family before this is incomplete")?;
            self.family = name.to_owned();
            return self.families.insert(name.to_owned()).then_some(()).ok_or("a family that comes twice");
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("a TYPE line without a type")?;
            let fits = name == self.family && self.kind.is_none() && ["counter", "gauge", "histogram"].contains(&kind);
            self.kind = Some(kind.to_owned());
            return fits.then_some(()).ok_or("a TYPE line that does not follow its HELP, or of an unknown type");
        }
        let (name, rest) = line.split_at(line.find(['{', ' ']).ok_or("neither a comment nor a sample")?);
        let (labels, value) = if rest.starts_with('{') { labels(rest)? } else { (Labels::new(), rest) };
        let value = value.strip_prefix(' ').and_then(|text| text.parse().ok()).ok_or("no number after one space")?;
        self.sample(name, labels, value)
    }

    fn sample(&mut self, name: &str, mut labels: Labels, value: f64) -> Result<(), &'static str> {
        let kind = self.kind.as_deref().ok_or("a sample before its TYPE")?;
        if self.samples.insert(format!("{name}{}", show(&labels)), value).is_some() {
            return Err("a sample that comes twice");
        }
        if kind != "histogram" {
            return (name == self.family && value >= 0.0).then_some(()).ok_or("a sample outside its family");
        }
        let part = name.strip_prefix(self.family.as_str()).ok_or("a sample outside its family")?;
        let bound = if part == "_bucket" {
            labels.pop().filter(|(name, _)| name == "le").map(|(_, value)| value)
        } else {
            None
        };
        let histogram = self.histograms.entry(show(&labels)).or_default();
        match (part, bound) {
            ("_bucket", Some(bound)) => {
                histogram.buckets.push((bound.parse().map_err(|_| "a bound that is no number")?, value));
            }
            ("_sum", None) => histogram.sum = Some(value),
            ("_count", None) => histogram.count = Some(value),
            _ => return Err("no part of a histogram"),
        }
        Ok(())
    }

    fn finish_family(&mut self) -> Result<(), String> {
        let family = std::mem::take(&mut self.family);
        let kind = self.kind.take();
        let histograms = std::mem::take(&mut self.histograms);
        if kind.as_deref() == Some("histogram") && histograms.is_empty() {
            return Err(format!("{family} has a head and no samples"));
        }
        for (labels, histogram) in histograms {
            let complete = histogram.buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1)
                && histogram.sum.is_some_and(|sum| sum >= 0.0)
                && histogram.buckets.last().is_some_and(|last| last.0.is_infinite() && Some(last.1) == histogram.count);
            if !complete {
                return Err(format!("{family}{labels} is no histogram"));
            }
        }
        Ok(())
    }
}

fn show(labels: &Labels) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(","))
}

/// Reads `{a="b",…}` and returns what follows it.
fn labels(text: &str) -> Result<(Labels, &str), &'static str> {
    let mut rest = text.strip_prefix('{').ok_or("no labels")?;
    let mut labels = Labels::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return Err("a bad label name");
        }
        let (value, after) = quoted(after)?;
        labels.push((name.to_owned(), value));
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok((labels, after.strip_prefix('}').ok_or("labels without an end")?)),
        }
    }
}

fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        value.push(match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => '\n',
                Some(c @ ('\\' | '"')) => c,
                _ => return Err("an unknown escape"),
            },
            c => c,
        });
    }
    Err("a label's value without an end")
}

#[cfg(test)]
mod tests {
    use super::parse;

    const GOOD: &str = "# HELP a A.\n# TYPE a histogram\na_bucket{x=\"\\\"\",le=\"1\"} 1\na_bucket{x=\"\\\"\",le=\"+Inf\"} 2\n\
                        a_sum{x=\"\\\"\"} 0.5\na_count{x=\"\\\"\"} 2\n";

    #[test]
    fn the_checker_sees_what_is_wrong() {
        parse(GOOD).unwrap();
        for (from, to) in [
            ("# HELP a A.\n", ""),
            ("# TYPE a histogram\n", ""),
            ("le=\"1\"} 1", "le=\"1\"} 3"),
            ("a_count{x=\"\\\"\"} 2", "a_count{x=\"\\\"\"} 3"),
            ("a_sum{x=\"\\\"\"} 0.5\n", ""),
            ("a_bucket{x=\"\\\"\",le=\"+Inf\"} 2\n", ""),
            ("le=\"1\"", "le=\"2\",le=\"3\""),
            ("\\\"", "\\x"),
            (" 0.5", " much"),
            ("a_count", "b_count"),
        ] {
            assert!(parse(&GOOD.replace(from, to)).is_err(), "{from:?} -> {to:?}");
        }
        assert!(parse(GOOD.trim_end()).is_err());
        assert!(parse(&format!("{GOOD}{GOOD}")).is_err());
    }
}

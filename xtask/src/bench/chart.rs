// SPDX-License-Identifier: Apache-2.0
//! The chart: a panel for each cell, a bar for each contender, as long as the logarithm of its distance to the floor.

use super::FLOOR;
use super::results::{Results, median};
use super::table::title;

const WIDTH: f64 = 900.0;
const NAMES: f64 = 190.0;
const FIGURES: f64 = 150.0;
const LINE: f64 = 20.0;
const PANEL: f64 = 46.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#222}.t{font-weight:600;font-size:15px}.n{text-anchor:end}\
                     .floor{fill:#555}.ours{fill:#1769aa}.other{fill:#c9a227}.axis{stroke:#bbb;stroke-width:1}";

pub(super) fn of(results: &Results, cells: &[String]) -> String {
    let mut body = String::new();
    let mut y = 34.0;
    body.push_str(&format!(
        "<text class=\"t\" x=\"12\" y=\"22\">{}</text>\n",
        escaped("CPU for each request, client and server together, as a multiple of the floor (logarithmic)")
    ));
    for cell in cells {
        let mut bars: Vec<(&str, bool, f64, f64)> = results
            .of_cell(cell)
            .filter_map(|row| {
                let cpu = median(row.runs.iter().map(|run| run.cpu_us))?;
                Some((row.contender.as_str(), row.ours, cpu, median(row.ratios.iter().copied())?))
            })
            .collect();
        // The floor is not in every cell.
        if bars.is_empty() {
            continue;
        }
        bars.sort_by(|a, b| a.3.total_cmp(&b.3));
        // A bar of the shortest length is there to be seen, too.
        let low = bars.iter().map(|bar| bar.3).fold(1.0, f64::min) / 1.2;
        let high = bars.iter().map(|bar| bar.3).fold(2.0, f64::max);
        let length = |ratio: f64| (ratio / low).ln() / (high / low).ln() * (WIDTH - NAMES - FIGURES);
        y += PANEL;
        body.push_str(&format!("<text class=\"t\" x=\"12\" y=\"{:.0}\">{}</text>\n", y - 14.0, escaped(&title(cell))));
        let top = y - 4.0;
        for (name, ours, cpu, ratio) in &bars {
            let class = if *name == FLOOR {
                "floor"
            } else if *ours {
                "ours"
            } else {
                "other"
            };
            let (text, long) = (y + 13.0, length(*ratio));
            body.push_str(&format!(
                "<text class=\"n\" x=\"{:.0}\" y=\"{text:.0}\">{}</text>\
                 <rect class=\"{class}\" x=\"{NAMES}\" y=\"{:.0}\" width=\"{long:.1}\" height=\"14\" rx=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{text:.0}\">{ratio:.2}x, {cpu:.2} us</text>\n",
                NAMES - 8.0,
                escaped(name),
                y + 2.0,
                NAMES + long + 6.0,
            ));
            y += LINE;
        }
        let one = NAMES + length(1.0);
        body.push_str(&format!(
            "<line class=\"axis\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{top:.0}\" y2=\"{:.0}\"/>\n",
            y + 2.0
        ));
    }
    let height = y + 16.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\">\n<style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

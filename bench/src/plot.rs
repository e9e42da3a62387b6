//! A bar chart as SVG: for each case the contenders' CPU time per request, as a share of Envoy's.

use std::fmt::Write as _;

/// One group of bars.
pub(crate) struct Group {
    pub(crate) label: String,
    /// What it is beside, such as `203 us`.
    pub(crate) base: String,
    pub(crate) bars: Vec<Bar>,
    /// Where the bar of ours is to end at most.
    pub(crate) limit: Option<f64>,
}

/// One bar.
pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) color: &'static str,
    /// 1: as much as Envoy.
    pub(crate) share: f64,
}

/// Draws the groups one below the other.
pub(crate) fn svg(title: &str, groups: &[Group]) -> String {
    let rows: usize = groups.iter().map(|group| group.bars.len()).sum();
    let height = TOP + rows * ROW + groups.len() * GAP + 20;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    let end = at(1.0);
    let _ =
        writeln!(svg, "<line x1=\"{end:.0}\" y1=\"{TOP}\" x2=\"{end:.0}\" y2=\"{}\" stroke=\"#999\"/>", height - 10);
    let _ = writeln!(svg, "<text x=\"{end:.0}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">Envoy</text>", TOP - 6);
    let mut y = TOP + GAP / 2;
    for group in groups {
        let middle = y + group.bars.len() * ROW / 2;
        let _ = writeln!(svg, "<text x=\"10\" y=\"{middle}\">{}</text>", escaped(&group.label));
        let _ = writeln!(svg, "<text x=\"10\" y=\"{}\" fill=\"#666\">{}</text>", middle + 14, escaped(&group.base));
        if let Some(limit) = group.limit {
            let (x, below) = (at(limit), y + group.bars.len() * ROW);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.0}\" y1=\"{y}\" x2=\"{x:.0}\" y2=\"{below}\" stroke=\"#c00\" stroke-dasharray=\"3 2\"/>"
            );
        }
        for Bar { name, color, share } in &group.bars {
            let width = at(share.min(MOST)) - at(0.0);
            let (bar, text) = (y + 2, y + ROW - 5);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{bar}\" width=\"{width:.1}\" height=\"{}\" fill=\"{color}\"/>\n\
                 <text x=\"{:.0}\" y=\"{text}\" font-size=\"11\">{share:.2} {name}</text>",
                ROW - 4,
                at(share.min(MOST)) + 4.0,
            );
            y += ROW;
        }
        y += GAP;
    }
    svg.push_str("</svg>\n");
    svg
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn at(share: f64) -> f64 {
    LEFT as f64 + share * UNIT
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const WIDTH: usize = 960;
const LEFT: usize = 390;
/// Pixels for as much as Envoy takes.
const UNIT: f64 = 330.0;
/// A bar that would be longer is cut here.
const MOST: f64 = 1.35;
const TOP: usize = 52;
const ROW: usize = 18;
const GAP: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let bars =
            vec![Bar { name: "half", color: "#000", share: 0.5 }, Bar { name: "much", color: "#111", share: 9.0 }];
        let group = Group { label: "a < b".to_owned(), base: "1 us".to_owned(), bars, limit: Some(0.25) };

        let drawn = svg("t", &[group]);

        assert!(drawn.contains("width=\"165.0\""), "{drawn}");
        assert!(drawn.contains(&format!("width=\"{:.1}\"", UNIT * MOST)), "{drawn}");
        assert!(drawn.contains("a &lt; b") && drawn.contains("9.00 much"), "{drawn}");
    }
}

//! Charts as SVG: bars, for each case the contenders' CPU time per request as a share of Envoy's; and curves of growth.

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
    let mut svg = start(title, height);
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

/// One curve: what it shows, and its value at each number.
pub(crate) struct Curve {
    pub(crate) label: &'static str,
    pub(crate) values: Vec<f64>,
}

/// Draws curves side by side, two in a row; the numbers below them stand as far apart as their logarithms.
#[expect(clippy::cast_precision_loss, reason = "pixels")]
pub(crate) fn curves(title: &str, numbers: &[usize], curves: &[Curve]) -> String {
    let height = TOP + curves.len().div_ceil(2) * PANEL;
    let mut svg = start(title, height);
    let (least, most) = (log(numbers.iter().min()), log(numbers.iter().max()));
    for (place, Curve { label, values }) in curves.iter().enumerate() {
        let (left, top) = ((60 + place % 2 * (WIDTH / 2)) as f64, (TOP + place / 2 * PANEL) as f64);
        let (width, depth) = ((WIDTH / 2 - 120) as f64, (PANEL - 60) as f64);
        let highest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let points: Vec<(f64, f64, f64, usize)> = numbers
            .iter()
            .zip(values)
            .map(|(number, value)| {
                let across = (log(Some(number)) - least) / (most - least).max(f64::MIN_POSITIVE);
                (left + across * width, top + depth * (1.0 - value / highest), *value, *number)
            })
            .collect();
        let line: Vec<String> = points.iter().map(|(x, y, ..)| format!("{x:.0},{y:.0}")).collect();
        let _ = writeln!(
            svg,
            "<text x=\"{left:.0}\" y=\"{:.0}\">{}</text>\n\
             <path d=\"M{left:.0} {top:.0}v{depth:.0}h{width:.0}\" fill=\"none\" stroke=\"#999\"/>\n\
             <polyline points=\"{}\" fill=\"none\" stroke=\"#0a7\" stroke-width=\"2\"/>",
            top - 14.0,
            escaped(label),
            line.join(" "),
        );
        for (x, y, value, number) in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.0}\" cy=\"{y:.0}\" r=\"3\" fill=\"#0a7\"/>\n\
                 <text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\" font-size=\"11\">{value:.2}</text>\n\
                 <text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\" font-size=\"11\" fill=\"#666\">{number}</text>",
                y - 7.0,
                top + depth + 16.0,
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn start(title: &str, height: usize) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">{}</text>\n",
        escaped(title)
    )
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn log(number: Option<&usize>) -> f64 {
    number.map_or(0.0, |number| (*number as f64).max(1.0).ln())
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
/// Height of a curve with its numbers.
const PANEL: usize = 240;

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

    #[test]
    fn a_curve_rises_from_its_least_to_its_highest() {
        let drawn = curves("growth", &[100, 1000, 10_000], &[Curve { label: "MiB", values: vec![0.0, 5.0, 10.0] }]);

        // As far apart as the logarithms; the highest value at the top.
        assert!(drawn.contains("points=\"60,232 240,142 420,52\""), "{drawn}");
        assert!(drawn.contains(">10.00<") && drawn.contains(">10000<"), "{drawn}");
    }
}

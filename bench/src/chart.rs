//! The bar chart of the comparison as SVG: two bars a composition, in colours that are readable on light and on dark
//! ground.

use std::fmt::Write as _;

/// Bars of a composition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bars {
    /// Its name.
    pub(crate) name: String,
    /// Ratio of the wall clock.
    pub(crate) wall: f64,
    /// Ratio of the processor time.
    pub(crate) cpu: f64,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 140.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 56.0;
const ROW: f64 = 40.0;
const BAR: f64 = 14.0;
const WALL: &str = "#3b82c4";
const CPU: &str = "#d9822b";
const INK: &str = "#7d8590";

/// Draws the chart as an SVG file.
pub(crate) fn draw(pairs: &[Bars]) -> String {
    let most =
        pairs.iter().flat_map(|pair| [pair.wall, pair.cpu]).filter(|ratio| ratio.is_finite()).fold(1.0, f64::max);
    let top = most.ceil();
    let across = (WIDTH - LEFT - RIGHT) / top;
    let height = TOP + ROW * pairs.len() as f64 + 28.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\" \
         fill=\"{INK}\">\n<title>How many times quicker, and with how many times less processor time, than the published CLI</title>\n"
    );
    for (at, (colour, what)) in [(WALL, "wall clock"), (CPU, "processor time")].into_iter().enumerate() {
        let x = LEFT + at as f64 * 130.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"23\">{what}</text>",
            x + 18.0
        );
    }
    let _ = writeln!(svg, "<text x=\"{}\" y=\"23\">theirs over ours, longer is better</text>", LEFT + 280.0);
    let step = (top / 10.0).ceil().max(1.0);
    let mut mark = 0.0;
    while mark <= top {
        let x = LEFT + mark * across;
        // The line at ratio 1, where both sides are equal, is thicker.
        let (width, dash) = if mark == 1.0 { (1.5, "") } else { (0.5, " stroke-dasharray=\"2 3\"") };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"{INK}\" stroke-width=\"{width}\"{dash}/><text x=\"{x:.1}\" \
             y=\"{}\" text-anchor=\"middle\">{mark}</text>",
            TOP - 10.0,
            height - 22.0,
            height - 6.0
        );
        // Ratio 1 always has a mark.
        mark = if mark == 0.0 {
            1.0_f64.min(step)
        } else if mark == 1.0 && step > 1.0 {
            step
        } else {
            mark + step
        };
    }
    for (at, pair) in pairs.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            y + 18.0,
            escape(&pair.name)
        );
        for (at, (colour, ratio)) in [(WALL, pair.wall), (CPU, pair.cpu)].into_iter().enumerate() {
            let y = y + at as f64 * (BAR + 1.0);
            let length = if ratio.is_finite() { ratio * across } else { 0.0 };
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{}\" \
                 font-size=\"11\">{ratio:.2}</text>",
                LEFT + length + 5.0,
                y + 11.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_composition_has_its_two_bars() {
        let pair = |name: &str, wall, cpu| Bars { name: name.to_owned(), wall, cpu };
        let svg = draw(&[pair("light & small", 3.25, 2.0), pair("heavy", 13.0, f64::NAN)]);
        assert_eq!(svg.matches(&format!("height=\"{BAR}\" fill")).count(), 4);
        assert!(svg.contains("light &amp; small") && svg.contains(">3.25<"));
        assert!(!svg.contains("width=\"NaN\""), "{svg}");
    }
}

//! Bars of ratios as an SVG picture.

use std::fmt::Write as _;

pub struct Bar {
    pub label: String,
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
}

const ROW: f64 = 18.0;
const LABELS: f64 = 240.0;
const WIDTH: f64 = 420.0;
/// The ratio at the right edge.
const MOST: f64 = 1.6;

/// One chart below the other; the line is the routed veth, 1.
pub fn svg(charts: &[(&str, Vec<Bar>)]) -> String {
    let rows: usize = charts.iter().map(|(_, bars)| bars.len() + 3).sum();
    let (width, height) = (LABELS + WIDTH + 60.0, rows as f64 * ROW + 20.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n"
    );
    let x = |ratio: f64| LABELS + (ratio.min(MOST) / MOST) * WIDTH;
    let mut y = 20.0;
    for (title, bars) in charts {
        let _ =
            writeln!(text, "<text x=\"4\" y=\"{y}\" font-weight=\"bold\">{title}, ratio to routed</text>");
        y += ROW / 2.0;
        let bottom = y + bars.len() as f64 * ROW;
        for bar in bars {
            let colour = if bar.label.starts_with("keelson") { "#2b6cb0" } else { "#a0aec0" };
            let (top, middle) = (y + 3.0, y + ROW - 5.0);
            let _ = writeln!(text, "<text x=\"4\" y=\"{middle}\">{}</text>", bar.label);
            let _ = writeln!(
                text,
                "<rect x=\"{LABELS}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>",
                x(bar.ratio) - LABELS,
                ROW - 6.0
            );
            let line = y + ROW / 2.0;
            let _ = writeln!(
                text,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{line}\" y2=\"{line}\" stroke=\"#1a202c\"/>",
                x(bar.low),
                x(bar.high)
            );
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{middle}\">{:.3}</text>",
                x(bar.high.max(bar.ratio)) + 4.0,
                bar.ratio
            );
            y += ROW;
        }
        let one = x(1.0);
        let top = bottom - bars.len() as f64 * ROW;
        let _ = writeln!(
            text,
            "<line x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{top}\" y2=\"{bottom}\" stroke=\"#c53030\" stroke-dasharray=\"3\"/>"
        );
        y += ROW * 2.0;
    }
    text.push_str("</svg>\n");
    text
}

//! [`Canvas`]: a picture of a benchmark, as SVG.

#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of it")]

use std::fmt::Write as _;

/// The elements of the picture, in layers.
#[derive(Debug, Default)]
pub struct Canvas {
    shapes: String,
    /// On top of all shapes.
    texts: String,
}

impl Canvas {
    pub fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        // Writing to a string cannot fail, here and below.
        _ = writeln!(
            self.texts,
            r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{text}</text>"#
        );
    }

    /// Writes a text right-aligned at `x`.
    pub fn label(&mut self, x: f64, y: f64, text: &str) {
        _ = writeln!(
            self.texts,
            r#"<text x="{x:.1}" y="{y:.1}" class="value" text-anchor="end">{text}</text>"#
        );
    }

    pub fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, color: &str) {
        _ = writeln!(
            self.shapes,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{color}"/>"#
        );
    }

    pub fn line(&mut self, (from_x, from_y): (f64, f64), (to_x, to_y): (f64, f64), class: &str) {
        _ = writeln!(
            self.shapes,
            r#"<line x1="{from_x:.1}" y1="{from_y:.1}" x2="{to_x:.1}" y2="{to_y:.1}" class="{class}"/>"#
        );
    }

    /// Draws lines from point to point.
    pub fn path(&mut self, points: &[(f64, f64)], color: &str, dashes: &str) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        _ = writeln!(
            self.shapes,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="1.5" stroke-dasharray="{dashes}"/>"#,
            points.join(" ")
        );
    }

    pub fn finish(self, width: f64, height: f64) -> String {
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}">
<style>
text {{ font-family: "DejaVu Sans", Verdana, sans-serif; fill: #222222; }}
.title {{ font-size: 18px; font-weight: bold; }}
.note {{ font-size: 11px; fill: #555555; }}
.panel {{ font-size: 12px; font-weight: bold; }}
.kind {{ font-size: 11px; font-weight: bold; }}
.value {{ font-size: 9px; paint-order: stroke; stroke: white; stroke-width: 2; }}
.grid {{ stroke: #000000; stroke-opacity: 0.10; }}
.one {{ stroke: #000000; stroke-opacity: 0.75; }}
.target {{ stroke: #c02020; stroke-width: 2; }}
.spread {{ stroke: #222222; stroke-width: 1.2; }}
</style>
<rect width="100%" height="100%" fill="white"/>
{}{}</svg>
"#,
            self.shapes, self.texts
        )
    }
}

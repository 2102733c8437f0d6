//! Draws a run as SVG: each peer's throughput relative to the kernel, processor time a packet and added latency.

use crate::canvas::Canvas;
use crate::report::{Results, Spread};
use crate::targets;
use crate::traffic::Kind;
use crate::variants::Peer;

/// Draws `results`; `machine` describes where they were measured.
pub(crate) fn draw(results: &Results, machine: &str) -> String {
    let kinds = results.kinds();
    let flows: Vec<Kind> = kinds
        .iter()
        .copied()
        .filter(|it| !it.has_delays())
        .collect();
    let mut canvas = Canvas::default();
    canvas.text(MARGIN, 28.0, "title", "The live gateway beside its peers");
    let rounds = results.rounds();
    let subtitle = format!(
        "Medians of {rounds} interleaved rounds; thin lines: three fifths of them; red: what offramp is to reach. {machine}"
    );
    canvas.text(MARGIN, 48.0, "note", &subtitle);

    let panels = [
        Panel {
            title: "Throughput, the kernel's forwarding = 1 (more is better)",
            left: LABELS,
            width: 380.0,
            end: 1.5,
            step: 0.25,
        },
        Panel {
            title: "Processor time a packet, the kernel's = 1 (less is better)",
            left: LABELS + 380.0 + GAP,
            width: 380.0,
            end: 3.0,
            step: 0.5,
        },
    ];
    let top = 92.0;
    let mut y = top + 8.0;
    for kind in &flows {
        canvas.text(MARGIN, y + 11.0, "kind", kind.title());
        let mut line = y + 2.0;
        for variant in results.variants(*kind) {
            let values = [
                results.throughput(*kind, variant),
                results.cost(*kind, variant),
            ];
            canvas.label(LABELS - 8.0, line + 8.5, variant.name());
            for (panel, value) in panels.iter().zip(values) {
                if let Some(value) = value {
                    panel.bar(&mut canvas, line, variant.peer, value, "");
                }
            }
            line += ROW;
        }
        if let Some(target) = targets::least(*kind) {
            let x = panels[0].x(target);
            canvas.line((x, y), (x, line), "target");
        }
        y = line + 16.0;
    }
    for panel in &panels {
        panel.frame(&mut canvas, top, y);
    }

    if kinds.contains(&Kind::Latency) {
        let top = y + 64.0;
        let mut line = top + 8.0;
        let longest = results
            .variants(Kind::Latency)
            .into_iter()
            .filter_map(|variant| results.delays_added(Kind::Latency, variant))
            .map(|(median, p99)| median.median.max(p99.median))
            .fold(100.0, f64::max);
        let panel = |title, left| Panel {
            title,
            left,
            width: 380.0,
            end: (longest * 1.15 / 50.0).ceil() * 50.0,
            step: ((longest / 300.0).ceil() * 50.0).max(50.0),
        };
        let panels = [
            panel("Added to a request and its reply, median, µs", LABELS),
            panel("Added, 99th percentile, µs", LABELS + 380.0 + GAP),
        ];
        canvas.text(MARGIN, line + 9.0, "kind", Kind::Latency.title());
        for variant in results.variants(Kind::Latency) {
            let Some((median, p99)) = results.delays_added(Kind::Latency, variant) else {
                continue;
            };
            canvas.label(LABELS - 8.0, line + 8.5, variant.name());
            for (panel, value) in panels.iter().zip([median, p99]) {
                panel.bar(&mut canvas, line, variant.peer, value, " µs");
            }
            line += ROW;
        }
        y = line + 8.0;
        for panel in &panels {
            panel.frame(&mut canvas, top, y);
        }
    }
    canvas.finish(LABELS + 2.0 * 380.0 + GAP + 60.0, y + 40.0)
}

/// A panel of the picture with an axis of its own.
#[derive(Debug, Clone, Copy)]
struct Panel {
    title: &'static str,
    left: f64,
    width: f64,
    /// The value at its right edge.
    end: f64,
    /// The distance between two lines of the axis.
    step: f64,
}

impl Panel {
    fn x(&self, value: f64) -> f64 {
        self.left + (value / self.end).clamp(0.0, 1.0) * self.width
    }

    fn bar(&self, canvas: &mut Canvas, y: f64, peer: Peer, value: Spread, unit: &str) {
        let (left, right) = (self.x(0.0), self.x(value.median));
        canvas.rectangle(left, y, right - left, ROW - 3.0, color(peer));
        let middle = y + (ROW - 3.0) / 2.0;
        let (low, high) = (self.x(value.low), self.x(value.high));
        canvas.line((low, middle), (high, middle), "spread");
        let beyond = if value.median > self.end { "→ " } else { "" };
        let text = if unit.is_empty() {
            format!("{beyond}{:.2}", value.median)
        } else {
            // Adding zero removes the sign of values that round to it.
            format!("{beyond}{:.0}{unit}", value.median.round() + 0.0)
        };
        canvas.text(right.max(high) + 4.0, y + 8.5, "value", &text);
    }

    fn frame(&self, canvas: &mut Canvas, top: f64, bottom: f64) {
        canvas.text(self.left, top - 8.0, "panel", self.title);
        let steps = (self.end / self.step).round() as u32;
        for step in 0..=steps {
            let value = f64::from(step) * self.step;
            let x = self.x(value);
            let class = if value == 1.0 { "one" } else { "grid" };
            canvas.line((x, top), (x, bottom), class);
            let text = if self.end > 20.0 {
                format!("{value:.0}")
            } else {
                format!("{value:.2}")
            };
            canvas.label(x + 3.0 * text.len() as f64, bottom + 14.0, &text);
        }
    }
}

fn color(peer: Peer) -> &'static str {
    match peer {
        Peer::Kernel => "#888888",
        Peer::Nftables => "#7f9fc9",
        Peer::Ebpf => "#7fbfb5",
        Peer::TunTokio => "#e0a55a",
        Peer::All => "#c9a0c9",
        Peer::Offramp => "#7a3f8f",
        Peer::Programs => "#4f1f66",
        Peer::Cleared => "#b0569c",
        Peer::ClearedByMarks => "#6b4fa0",
        Peer::AllByPrograms => "#2c1038",
    }
}

const MARGIN: f64 = 16.0;
/// The right edge of the bars' labels.
const LABELS: f64 = 370.0;
/// The gap between two panels.
const GAP: f64 = 60.0;
/// The distance between two bars.
const ROW: f64 = 13.0;

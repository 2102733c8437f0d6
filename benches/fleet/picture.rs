//! Draws a run as SVG: the share of gateways that have a release, over time, and the looks while a store is away and after it.

use std::time::Duration;

use crate::canvas::Canvas;
use crate::stores::Kind;
use crate::{Course, Rest, Sizes};

/// Draws the courses of releases, and the looks around the time without a store; `machine` says where it was measured.
pub(crate) fn draw(courses: &[Course], rests: &[Rest], sizes: &Sizes, machine: &str) -> String {
    let mut canvas = Canvas::default();
    let title = format!("A release on its way to {} gateways", sizes.gateways);
    canvas.text(MARGIN, 28.0, "title", &title);
    let note = format!("Stores and gateways share all of it: {machine}");
    canvas.text(MARGIN, 48.0, "note", &note);

    let longest = courses.iter().filter_map(|it| it.in_file.last()).max();
    let course = Panel {
        title: "Gateways, in percent, by seconds from the move of the channel; dashed: received, solid: checked and in the policy file",
        top: 90.0,
        across: longest.map_or(1.0, Duration::as_secs_f64),
        up: 100.0,
    };
    course.frame(&mut canvas);
    for (place, of) in courses.iter().enumerate() {
        let (color, is_small) = (color(of.store), sizes.policies.first() == Some(&of.bytes.0));
        let color = if is_small { color.0 } else { color.1 };
        for (times, dashes) in [(&of.received, "4 3"), (&of.in_file, "")] {
            let share = |at: usize| 100.0 * (at + 1) as f64 / times.len() as f64;
            let points = times.iter().enumerate();
            let points = points.map(|(at, time)| course.point(time.as_secs_f64(), share(at)));
            canvas.path(&points.collect::<Vec<_>>(), color, dashes);
        }
        let legend = format!("{}, {} kB", of.store.name(), of.bytes.0 / 1000);
        legend_line(&mut canvas, course.top, place, color, &legend);
    }

    let by_store: Vec<Vec<usize>> = rests.iter().map(|it| by_second(&it.looks)).collect();
    let seconds = by_store.iter().map(Vec::len).max().unwrap_or(1);
    let most = by_store.iter().flatten().max().copied().unwrap_or(1);
    let storm = Panel {
        title: "Looks at the store in each second since it was killed; grey: the store was back",
        top: course.top + HEIGHT + 80.0,
        across: seconds as f64,
        up: (most as f64 / 50.0).ceil() * 50.0,
    };
    storm.frame(&mut canvas);
    for (place, (rest, looks)) in rests.iter().zip(&by_store).enumerate() {
        let (x, _) = storm.point(rest.away.as_secs_f64(), 0.0);
        canvas.line((x, storm.top), (x, storm.top + HEIGHT), "one");
        let points = looks.iter().enumerate();
        let points = points.map(|(at, looks)| storm.point(at as f64 + 0.5, *looks as f64));
        let (_, color) = color(rest.store);
        canvas.path(&points.collect::<Vec<_>>(), color, "");
        legend_line(&mut canvas, storm.top, place, color, rest.store.name());
    }
    canvas.finish(LEFT + WIDTH + 180.0, storm.top + HEIGHT + 50.0)
}

/// The number of looks in each second.
pub(crate) fn by_second(looks: &[Duration]) -> Vec<usize> {
    let seconds = looks.iter().map(|it| it.as_secs() as usize + 1).max();
    let mut counts = vec![0; seconds.unwrap_or(0)];
    for look in looks {
        counts[look.as_secs() as usize] += 1;
    }
    counts
}

/// A part of the picture with axes of its own, which begin at zero.
struct Panel {
    title: &'static str,
    top: f64,
    /// The values at its right and its upper edge.
    across: f64,
    up: f64,
}

impl Panel {
    fn point(&self, x: f64, y: f64) -> (f64, f64) {
        let right = LEFT + WIDTH * (x / self.across).clamp(0.0, 1.0);
        (
            right,
            self.top + HEIGHT - HEIGHT * (y / self.up).clamp(0.0, 1.0),
        )
    }

    fn frame(&self, canvas: &mut Canvas) {
        canvas.text(LEFT, self.top - 10.0, "panel", self.title);
        for step in 0..=STEPS {
            let share = f64::from(step) / f64::from(STEPS);
            let (x, y) = self.point(share * self.across, share * self.up);
            canvas.line((x, self.top), (x, self.top + HEIGHT), "grid");
            canvas.line((LEFT, y), (LEFT + WIDTH, y), "grid");
            canvas.label(
                x + 8.0,
                self.top + HEIGHT + 14.0,
                &format!("{:.1}", share * self.across),
            );
            canvas.label(LEFT - 6.0, y + 3.0, &format!("{:.0}", share * self.up));
        }
    }
}

fn legend_line(canvas: &mut Canvas, top: f64, place: usize, color: &str, text: &str) {
    let (x, y) = (LEFT + WIDTH + 20.0, top + 10.0 + 16.0 * place as f64);
    canvas.rectangle(x, y, 14.0, 4.0, color);
    canvas.text(x + 20.0, y + 6.0, "kind", text);
}

/// The colors of a store: for the smaller policy, and for the larger one.
const fn color(store: Kind) -> (&'static str, &'static str) {
    match store {
        Kind::Etcd => ("#c39bd3", "#7a3f8f"),
        Kind::Nginx => ("#a9cbb7", "#2e7d5b"),
    }
}

const MARGIN: f64 = 16.0;
/// The left edge of the panels.
const LEFT: f64 = 60.0;
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 240.0;
/// Parts of an axis.
const STEPS: u32 = 8;

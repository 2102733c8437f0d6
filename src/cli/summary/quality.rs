//! The quality of RTP streams: a sentence about calls, and a table by client pool and peer.

use std::time::Duration;

use super::{MAX_OTHERS, Text, add, count, table, whole, wrap};
use crate::audit::quality::{CallReport, Direction, Quality, QualityReport};
use crate::packet::media::quality::ClockBasis;
use crate::policy::MediaMatch;

impl Text {
    pub(super) fn quality(&mut self, report: &QualityReport) {
        if report.streams.is_empty() {
            return;
        }
        self.title("Quality of calls, by their RTP streams");
        if let Some(calls) = &report.calls {
            self.sentence(&sentence(calls));
        }
        let shown = &report.groups[..report.groups.len().min(MAX_OTHERS)];
        let head = [
            "Clients", "Peer", "Streams", "Loss", "p95", "Jitter", "Longest",
        ];
        let mut table = table(&head, 2, self.options.width);
        for group in shown {
            let pool = group.pool.map(|pool| pool.to_string());
            let clients = match (group.direction, pool) {
                (Direction::FromClient, Some(pool)) => format!("from {pool}"),
                (Direction::ToClient, Some(pool)) => format!("to {pool}"),
                (Direction::Neither, _) | (_, None) => "none".to_owned(),
            };
            add(
                &mut table,
                2,
                [
                    clients,
                    group.peer.word().to_owned(),
                    whole(group.streams),
                    percent(group.median_loss),
                    percent(group.p95_loss),
                    group
                        .median_jitter
                        .map_or_else(|| "?".to_owned(), milliseconds),
                    clock_time(group.longest),
                ],
            );
        }
        for line in self.table(&mut table, 0) {
            self.line(&line);
        }
        let left = report.groups.len() - shown.len();
        if left > 0 {
            self.line(&format!("  and {} more", count(left as u64, "line")));
        }
        for note in notes(report) {
            self.sentence(&note);
        }
    }

    fn sentence(&mut self, sentence: &str) {
        let width = usize::from(self.options.width).saturating_sub(2);
        for line in wrap(sentence, width) {
            self.line(&format!("  {line}"));
        }
    }
}

/// Describes the calls to somebody who does not know what a stream is.
fn sentence(calls: &CallReport) -> String {
    let jitter = calls.median_jitter.map(milliseconds);
    let jitter = jitter.map(|it| format!(", median jitter {it}"));
    let remain = |number| match (number, calls.count) {
        (0, 1) => "it would not".to_owned(),
        (_, 1) => "it would".to_owned(),
        (0, _) => "none would".to_owned(),
        (some, all) if some == all => "all of them would".to_owned(),
        (some, _) => format!("{} would", whole(some)),
    };
    let with_policy = remain(calls.tunnel);
    let with_ice = match calls.r#match {
        MediaMatch::Ice => String::new(),
        MediaMatch::Ports | MediaMatch::IceMicrosoft | MediaMatch::Media => {
            format!(", with match = \"ice\" {}", remain(calls.tunnel_with_ice))
        }
    };
    format!(
        "{} went through the tunnel in {}: median loss {}{}. With this policy (match = \"{}\") {with_policy}{with_ice}.",
        count(calls.count, "call"),
        spoken_time(calls.time),
        percent(calls.median_loss),
        jitter.unwrap_or_default(),
        calls.r#match.word(),
    )
}

fn notes(report: &QualityReport) -> Vec<String> {
    let clocks = || report.streams.iter().map(|it| it.clock);
    let estimated = clocks()
        .flatten()
        .filter(|it| it.basis == ClockBasis::Estimated)
        .count();
    let unknown = clocks().filter(Option::is_none).count();
    let mut notes = vec![
        "Loss and jitter are those of the median stream; p95: 95 % of the streams lost no more. What comes from clients has passed \
         the tunnel, what goes to them has not."
            .to_owned(),
    ];
    if estimated > 0 {
        notes.push(format!(
            "The clock of {} was estimated: its payload type has none by itself.",
            count(estimated as u64, "stream")
        ));
    }
    if unknown > 0 {
        notes.push(format!(
            "The jitter of {} is not known: too short, or of an unusual clock.",
            count(unknown as u64, "stream")
        ));
    }
    if report.evicted > 0 {
        notes.push(format!(
            "{} ended early: more than {} took place at a time.",
            count(report.evicted, "stream"),
            whole(Quality::MAX_CONCURRENT as u64)
        ));
    }
    if report.unlisted > 0 {
        notes.push(format!(
            "{} beyond the first {} are not in these numbers.",
            count(report.unlisted, "stream"),
            whole(Quality::MAX_STREAMS as u64)
        ));
    }
    notes
}

/// `1.8 %`; `0 %` only where nothing was lost.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if share == 0.0 {
        "0 %".to_owned()
    } else if percent < 0.1 {
        "<0.1 %".to_owned()
    } else {
        format!("{percent:.1} %")
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

/// `1:02:03`, `2:03`, `0:03`.
fn clock_time(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// `7 seconds`, `59 minutes`, `1.5 hours`.
fn spoken_time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 119.5 {
        count(seconds.ceil().max(1.0) as u64, "second")
    } else if seconds < 119.5 * 60.0 {
        count((seconds / 60.0).round() as u64, "minute")
    } else {
        format!("{:.1} hours", seconds / 3_600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares_are_said_as_people_say_them() {
        let spoken = |seconds| spoken_time(Duration::from_secs(seconds));
        let all = [0, 1, 59, 119, 120, 3_600, 7_200, 9_000].map(spoken);
        assert_eq!(
            all,
            [
                "1 second",
                "1 second",
                "59 seconds",
                "119 seconds",
                "2 minutes",
                "60 minutes",
                "2.0 hours",
                "2.5 hours"
            ]
        );
        let clock = [3, 123, 3_723].map(|seconds| clock_time(Duration::from_secs(seconds)));
        assert_eq!(clock, ["0:03", "2:03", "1:02:03"]);
        let shares = [0.0, 0.0001, 0.018, 1.0].map(percent);
        assert_eq!(shares, ["0 %", "<0.1 %", "1.8 %", "100.0 %"]);
    }
}

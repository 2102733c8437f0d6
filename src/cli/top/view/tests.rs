//! Pictures of terminals of two sizes.

use std::time::{Duration, SystemTime};

use insta::assert_snapshot;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::News;
use super::super::picture::Restart;
use super::*;
use crate::cli::testing::status;
use crate::gateway::report::status::FindingStatus;

const PLAIN: Theme = Theme { has_colors: false };

/// Returns a picture of a gateway that has been looked at for a minute, and drops more and more.
fn watched(change: impl Fn(&mut Status)) -> Picture {
    let mut picture = Picture::new(false, Duration::from_secs(1));
    let mut status = status();
    change(&mut status);
    for second in 0..60_u64 {
        status.verdicts[0].packets += second;
        status.verdicts[0].bytes += 150 * second;
        status.rules[0].packets += second;
        status.verdicts[4].packets += 800 + 37 * (second % 7);
        status.verdicts[4].bytes += 900_000;
        if let Some(media) = &mut status.media {
            media.evidence[0].packets += second;
        }
        if let Some(table) = &mut status.drop_table {
            table.packets += second;
            table.samples += second;
            table.destinations[0].service.packets += second;
            table.services[0].packets += second;
            table.clients[0].packets += second;
        }
        let at = Duration::from_secs(second);
        let news = News::Answer(Box::new(status.clone()));
        picture.take(news, at, SystemTime::UNIX_EPOCH + at);
    }
    picture
}

/// Draws `picture` in a terminal of this size.
fn draw_in(width: u16, height: u16, picture: &Picture) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    let drawn = terminal.draw(|frame| draw(frame, picture, &PLAIN));
    drawn.expect("memory");
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(width.into()).map(|row| {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        row.trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn page(page: Page) -> Picture {
    let mut picture = watched(|_| {});
    picture.page = page;
    picture
}

#[test]
fn a_small_terminal_shows_reasons_with_rates_totals_and_history() {
    assert_snapshot!(draw_in(80, 24, &page(Page::Reasons)));
}

#[test]
fn a_large_terminal_shows_more_of_the_same() {
    assert_snapshot!(draw_in(120, 40, &page(Page::Destinations)));
}

#[test]
fn every_page_fits_a_small_terminal() {
    for it in [
        Page::Rules,
        Page::Destinations,
        Page::Services,
        Page::Media,
        Page::Clients,
        Page::Events,
        Page::Health,
    ] {
        assert_snapshot!(it.title(), draw_in(80, 24, &page(it)));
    }
}

#[test]
fn conditions_are_named_as_far_as_there_is_room_and_counted_beyond() {
    let hindered = |status: &mut Status| {
        status.diversion.bypassed = true;
        status.enforcement.gap = Some("the policy is not enforced".to_owned());
        let finding = |number| FindingStatus {
            severity: "warning".to_owned(),
            what: format!("condition {number}"),
            remedy: format!("remedy {number}"),
        };
        status.health = (1..=9).map(finding).collect();
    };
    let mut picture = watched(hindered);
    let small = draw_in(80, 24, &picture);
    assert!(small.contains("ERROR: bypass is on"), "{small}");
    assert!(
        small.contains("and 9 more conditions, on page 8"),
        "{small}"
    );
    let large = draw_in(120, 40, &picture);
    assert!(large.contains("WARNING: condition 6"), "{large}");
    assert!(large.contains("and 4 more conditions"), "{large}");
    picture.page = Page::Health;
    let all = draw_in(80, 40, &picture);
    assert!(all.contains("remedy 9"), "{all}");
}

#[test]
fn silence_a_restart_and_a_pause_are_said() {
    let mut picture = watched(|_| {});
    picture.paused = true;
    picture.restart = Some(Restart {
        at: Duration::from_secs(59),
        text: "the gateway has restarted before 08:00:00 UTC".to_owned(),
    });
    let news = News::Silence("no gateway listens on /run/offramp/control.sock".to_owned());
    let at = Duration::from_secs(70);
    picture.take(news, at, SystemTime::UNIX_EPOCH + at);
    let shown = draw_in(80, 24, &picture);
    for part in [
        "PAUSED",
        "offramp does not answer since 00:00:59 UTC, tries again: no gateway listens",
        "the gateway has restarted before 08:00:00 UTC",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn addresses_of_clients_are_shown_where_the_gateway_tells_them() {
    let mut picture = watched(|status| {
        if let Some(table) = &mut status.drop_table {
            table.addresses = true;
            table.clients[0].client = "172.16.1.10".parse().ok();
        }
    });
    picture.page = Page::Clients;
    let shown = draw_in(80, 24, &picture);
    assert!(shown.contains("172.16.1.10"), "{shown}");
    assert!(!shown.contains("--addresses"), "{shown}");
    let hidden = draw_in(80, 24, &page(Page::Clients));
    assert!(
        hidden.contains("client 1") && hidden.contains("--addresses"),
        "{hidden}"
    );
}

#[test]
fn a_gateway_that_samples_nothing_says_so_on_each_page_of_samples() {
    let mut picture = watched(|status| status.drop_table = None);
    for it in [Page::Destinations, Page::Services, Page::Clients] {
        picture.page = it;
        let shown = draw_in(80, 24, &picture);
        assert!(shown.contains("does not sample what it drops"), "{shown}");
    }
}

#[test]
fn a_terminal_that_is_too_small_is_told_what_it_takes() {
    let shown = draw_in(40, 10, &page(Page::Reasons));
    assert!(shown.contains("has 40 columns and 10"), "{shown}");
}

#[test]
fn help_fits_a_small_terminal() {
    let mut picture = watched(|_| {});
    picture.help = true;
    assert_snapshot!(draw_in(80, 24, &picture));
}

#[test]
fn bars_are_scaled_by_the_highest_and_the_newest_are_shown() {
    assert_eq!(bars(&[0.0, 1.0, 4.0, 8.0], 4), " ▁▄█");
    assert_eq!(bars(&[1.0, 2.0, 2.0], 2), "██");
    assert_eq!(bars(&[0.0, 0.0], 8), "  ");
}

//! [`Picture`]: what is shown: the last status, rates and their history, and what the keys have chosen.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use super::News;
use crate::cli::rates::{Amount, Compared, Counter, Rates};
use crate::gateway::report::status::Status;

/// A table of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Reasons,
    Rules,
    Destinations,
    Services,
    Media,
    Clients,
    Events,
    Health,
}

impl Page {
    pub(super) const ALL: [Self; 8] = [
        Self::Reasons,
        Self::Rules,
        Self::Destinations,
        Self::Services,
        Self::Media,
        Self::Clients,
        Self::Events,
        Self::Health,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Reasons => "Reasons",
            Self::Rules => "Rules",
            Self::Destinations => "Destinations",
            Self::Services => "Services",
            Self::Media => "Media",
            Self::Clients => "Clients",
            Self::Events => "Events",
            Self::Health => "Health",
        }
    }
}

/// The order of the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Rate,
    Total,
}

/// The gateway's silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Silence {
    /// The time of its last answer, UTC.
    pub(super) since: String,
    /// The error of the last try; `None` if it just does not answer.
    pub(super) why: Option<String>,
}

/// A restart of the gateway, noticed at a moment since the begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Restart {
    pub(super) at: Duration,
    pub(super) text: String,
}

/// Content of the screen.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) page: Page,
    pub(super) order: Order,
    pub(super) scrolled: usize,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) with_addresses: bool,
    pub(super) interval: Duration,
    pub(super) silence: Option<Silence>,
    /// The last restart of the gateway that was noticed, for a minute.
    pub(super) restart: Option<Restart>,
    status: Option<Status>,
    rates: Option<Rates>,
    history: BTreeMap<Counter, VecDeque<f64>>,
    /// The moment of the status that is shown.
    answered_at: Duration,
    /// The moment of the last answer, and its time.
    heard_at: Duration,
    heard_time: String,
}

impl Picture {
    /// Creates one that has no status yet.
    pub(super) fn new(with_addresses: bool, interval: Duration) -> Self {
        Self {
            page: Page::Reasons,
            order: Order::Rate,
            scrolled: 0,
            paused: false,
            help: false,
            with_addresses,
            interval,
            silence: None,
            restart: None,
            status: None,
            rates: None,
            history: BTreeMap::new(),
            answered_at: Duration::ZERO,
            heard_at: Duration::ZERO,
            heard_time: String::new(),
        }
    }

    /// Takes note of an answer of the gateway, or of its silence, at `at` since the begin, which is the time `now`.
    pub(super) fn take(&mut self, news: News, at: Duration, now: SystemTime) {
        let status = match news {
            News::Answer(status) => *status,
            News::Silence(why) => {
                let since = self.heard_time.clone();
                self.silence = Some(Silence {
                    since,
                    why: Some(why),
                });
                return;
            }
        };
        self.silence = None;
        // While paused, the picture stays; the rates afterwards are of the whole time.
        self.heard_at = at;
        self.heard_time = clock(now);
        if self.paused {
            return;
        }
        if let Some(before) = &self.status {
            match Rates::between(before, &status, at.saturating_sub(self.answered_at)) {
                Compared::Grown(rates) => self.remember(rates),
                Compared::Restarted => {
                    self.rates = None;
                    self.history.clear();
                    self.restart = Some(Restart {
                        at,
                        text: format!(
                            "the gateway has restarted before {} UTC: its totals begin at 0",
                            clock(now)
                        ),
                    });
                }
            }
        }
        self.status = Some(status);
        self.answered_at = at;
    }

    /// Takes note of the time: a gateway that is silent for long does not answer.
    pub(super) fn note_time(&mut self, at: Duration) {
        self.restart
            .take_if(|restart| at.saturating_sub(restart.at) > RESTART_SHOWN);
        let is_late = at.saturating_sub(self.heard_at) > self.interval + PATIENCE;
        if is_late && self.silence.is_none() {
            self.silence = Some(Silence {
                since: self.heard_time.clone(),
                why: None,
            });
        }
    }

    fn remember(&mut self, rates: Rates) {
        for (counter, amount) in rates.iter() {
            let known = self.history.entry(counter.clone()).or_default();
            known.push_back(amount.packets);
        }
        for (counter, known) in &mut self.history {
            if !rates.has(counter) {
                known.push_back(0.0);
            }
            while known.len() > HISTORY {
                known.pop_front();
            }
        }
        self.history
            .retain(|_, known| known.iter().any(|it| *it > 0.0));
        self.rates = Some(rates);
    }

    /// The last status.
    pub(super) fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// The rate of `counter`; `None` before there are two statuses of one process.
    pub(super) fn rate(&self, counter: &Counter) -> Option<Amount> {
        Some(self.rates.as_ref()?.of(counter))
    }

    /// The rates of `counter` in packets, the newest last; those before it was seen are missing.
    pub(super) fn history(&self, counter: &Counter) -> Vec<f64> {
        let known = self.history.get(counter);
        known.into_iter().flatten().copied().collect()
    }

    /// Turns to the page `by` pages on.
    pub(super) fn turn(&mut self, by: isize) {
        let at = Page::ALL.iter().position(|it| *it == self.page);
        let count = Page::ALL.len() as isize;
        let at = (at.unwrap_or(0) as isize + by).rem_euclid(count);
        self.page = Page::ALL[at.unsigned_abs()];
        self.scrolled = 0;
    }

    /// Turns to the page of this number.
    pub(super) fn turn_to(&mut self, digit: char) {
        let at = digit.to_digit(10).and_then(|it| it.checked_sub(1));
        if let Some(page) = at.and_then(|at| Page::ALL.get(at as usize)) {
            self.page = *page;
            self.scrolled = 0;
        }
    }

    pub(super) fn sort_otherwise(&mut self) {
        self.order = match self.order {
            Order::Rate => Order::Total,
            Order::Total => Order::Rate,
        };
    }

    pub(super) fn scroll(&mut self, by: isize) {
        self.scrolled = self.scrolled.saturating_add_signed(by);
    }
}

/// The time of day, UTC.
fn clock(now: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(now.max(SystemTime::UNIX_EPOCH)).to_string();
    text.get(11..19).unwrap_or(&text).to_owned()
}

/// Rates of a counter that are kept: two minutes, at one a second.
pub(super) const HISTORY: usize = 120;
/// The time for which a restart is said.
const RESTART_SHOWN: Duration = Duration::from_secs(60);
/// The time beyond the interval after which an answer is missing.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::status;

    const SECOND: Duration = Duration::from_secs(1);

    fn answer(status: &Status) -> News {
        News::Answer(Box::new(status.clone()))
    }

    fn at(seconds: u64) -> (Duration, SystemTime) {
        let since = Duration::from_secs(seconds);
        (since, SystemTime::UNIX_EPOCH + since)
    }

    fn take(picture: &mut Picture, news: News, seconds: u64) {
        let (at, now) = at(seconds);
        picture.take(news, at, now);
    }

    fn dropped() -> Counter {
        Counter::Action("drop".to_owned())
    }

    #[test]
    fn rates_come_with_the_second_status_and_are_remembered() {
        let mut picture = Picture::new(false, SECOND);
        let mut status = status();
        take(&mut picture, answer(&status), 0);
        assert_eq!(picture.rate(&dropped()), None);
        for second in 1..=200 {
            status.verdicts[0].packets += 10;
            take(&mut picture, answer(&status), second);
        }
        let rate = picture.rate(&dropped()).expect("there are two");
        assert_eq!(rate.packets, 10.0);
        assert_eq!(picture.history(&dropped()), [10.0; HISTORY]);
    }

    #[test]
    fn a_restart_is_said_and_rates_begin_anew() {
        let mut picture = Picture::new(false, SECOND);
        let mut status = status();
        take(&mut picture, answer(&status), 0);
        take(&mut picture, answer(&status), 1);
        status.pid += 1;
        status.uptime_seconds = 0;
        status.verdicts[0].packets = 3;
        take(&mut picture, answer(&status), 2);
        let said = picture.restart.clone().expect("it is said").text;
        assert!(said.contains("restarted before 00:00:02 UTC"), "{said}");
        assert_eq!(picture.rate(&dropped()), None);
        assert_eq!(picture.status().map(|it| it.verdicts[0].packets), Some(3));
        picture.note_time(at(63).0);
        assert_eq!(picture.restart, None);
    }

    #[test]
    fn a_silent_gateway_is_told_with_the_time_of_its_last_answer_until_it_answers() {
        let mut picture = Picture::new(false, SECOND);
        take(&mut picture, answer(&status()), 5);
        picture.note_time(at(7).0);
        assert_eq!(picture.silence, None);
        picture.note_time(at(9).0);
        let silence = picture.silence.clone().expect("it is late");
        assert_eq!((&*silence.since, silence.why), ("00:00:05", None));
        take(
            &mut picture,
            News::Silence("no gateway listens".to_owned()),
            9,
        );
        let silence = picture.silence.clone().expect("it does not answer");
        assert_eq!(silence.since, "00:00:05");
        assert_eq!(silence.why.as_deref(), Some("no gateway listens"));
        take(&mut picture, answer(&status()), 10);
        assert_eq!(picture.silence, None);
    }

    #[test]
    fn a_pause_keeps_the_picture_and_the_rate_afterwards_is_of_the_whole_time() {
        let mut picture = Picture::new(false, SECOND);
        let mut status = status();
        let before = status.verdicts[0].packets;
        take(&mut picture, answer(&status), 0);
        picture.paused = true;
        for second in 1..=9 {
            status.verdicts[0].packets += 10;
            take(&mut picture, answer(&status), second);
        }
        let shown = picture.status().map(|it| it.verdicts[0].packets);
        assert_eq!(shown, Some(before));
        picture.note_time(at(10).0);
        assert_eq!(picture.silence, None, "it answers");
        picture.paused = false;
        status.verdicts[0].packets += 10;
        take(&mut picture, answer(&status), 10);
        let rate = picture.rate(&dropped()).expect("there are two");
        assert_eq!(rate.packets, 10.0);
    }

    #[test]
    fn keys_turn_pages_in_a_circle() {
        let mut picture = Picture::new(false, SECOND);
        picture.turn(-1);
        assert_eq!(picture.page, Page::Health);
        picture.turn(1);
        assert_eq!(picture.page, Page::Reasons);
        picture.turn_to('3');
        assert_eq!(picture.page, Page::Destinations);
        picture.turn_to('9');
        assert_eq!(picture.page, Page::Destinations);
        picture.scroll(-5);
        assert_eq!(picture.scrolled, 0);
    }
}

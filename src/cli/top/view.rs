//! [`draw`]: the picture in a terminal.
//!
//! ```text
//!  the gateway, its policy
//!  rates in all
//!  conditions
//!  dropped ▁▂▃  forwarded ▅▆▇
//!  tables: one of them
//!  keys
//! ```

use std::io;

use anstream::ColorChoice;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table, TableState, Wrap};

use super::conditions::{Condition, conditions};
use super::picture::{Order, Page, Picture};
use super::table::{PageTable, end, port_name};
use crate::cli::number;
use crate::cli::rates::Counter;
use crate::cli::status::duration;
use crate::gateway::record::drops::LastDropStatus;
use crate::gateway::report::status::Status;

/// Use of colors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    has_colors: bool,
}

impl Theme {
    /// The theme for standard output, as --color and the environment have it.
    pub(super) fn of_terminal() -> Self {
        let choice = anstream::AutoStream::choice(&io::stdout());
        Self {
            has_colors: choice != ColorChoice::Never,
        }
    }

    fn color(self, color: Color) -> Style {
        match self.has_colors {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }

    fn drop(self) -> Style {
        self.color(Color::Red)
    }

    fn forward(self) -> Style {
        self.color(Color::Green)
    }

    fn warning(self) -> Style {
        self.color(Color::Yellow)
    }
}

/// Draws `picture`.
pub(super) fn draw(frame: &mut Frame<'_>, picture: &Picture, theme: &Theme) {
    let area = frame.area();
    if area.width < WIDTH || area.height < HEIGHT {
        let text = format!(
            "This terminal has {} columns and {} lines; offramp top needs {WIDTH} and {HEIGHT}. q ends it.",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let Some(status) = picture.status() else {
        return;
    };
    if picture.help {
        frame.render_widget(help(picture), area);
        return;
    }
    let conditions = conditions(status);
    let health = health(picture, &conditions, area, *theme);
    let graph = if area.height >= TALL { 6 } else { 4 };
    let [head, health_area, graphs, tabs, page, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(u16::try_from(health.height()).unwrap_or(1)),
        Constraint::Length(graph),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(heading(picture, status, *theme), head);
    frame.render_widget(health, health_area);
    draw_graphs(frame, graphs, picture, *theme);
    frame.render_widget(titles(picture), tabs);
    match PageTable::of(picture.page, picture, status) {
        Some(table) => draw_table(frame, page, picture, &table, *theme),
        None => {
            let lines = match picture.page {
                Page::Health => health_lines(&conditions, *theme),
                _ => events(status, *theme),
            };
            let scrolled = u16::try_from(picture.scrolled.min(lines.len().saturating_sub(1)));
            let text = Paragraph::new(lines).wrap(Wrap { trim: false });
            frame.render_widget(text.scroll((scrolled.unwrap_or(0), 0)), page);
        }
    }
    let order = match picture.order {
        Order::Rate => "rate",
        Order::Total => "total",
    };
    let text = format!(" q end  Tab/arrows tables  s sort (by {order})  p pause  ? help");
    frame.render_widget(Line::from(text).style(DIM), keys);
}

fn heading(picture: &Picture, status: &Status, theme: Theme) -> Text<'static> {
    let mut first = Vec::new();
    if picture.paused {
        first.push(Span::styled("PAUSED (p goes on)  ", BOLD));
    }
    first.push(Span::styled(format!("offramp {}", status.version), BOLD));
    first.push(Span::raw(format!(
        "  {}  generation {}  up {}  {}",
        status.policy,
        status.generation,
        duration(status.uptime_seconds),
        status.diversion.kind
    )));
    let mut second = Vec::new();
    for (action, style) in [("drop", theme.drop()), ("forward", theme.forward())] {
        let counter = Counter::Action(action.to_owned());
        let (packets, bytes) = match picture.rate(&counter) {
            Some(rate) => (
                number::rate(rate.packets),
                number::bytes(rate.bytes.round() as u64),
            ),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let verb = match action {
            "drop" => "dropped",
            _ => "forwarded",
        };
        second.push(Span::styled(format!("{verb} "), style));
        second.push(Span::raw(format!("{packets} packets/s, {bytes}/s    ")));
    }
    Text::from(vec![Line::from(first), Line::from(second)])
}

/// Conditions that hinder the gateway, in a few lines.
fn health(picture: &Picture, conditions: &[Condition], area: Rect, theme: Theme) -> Text<'static> {
    let most = if area.height >= TALL { 8 } else { 3 };
    let mut lines = Vec::new();
    if let Some(silence) = &picture.silence {
        let why = silence
            .why
            .as_deref()
            .unwrap_or("it is busy, stopped or hangs");
        lines.push(Line::styled(
            format!(
                "offramp does not answer since {} UTC, tries again: {why}",
                silence.since
            ),
            theme.drop().patch(BOLD),
        ));
    }
    if let Some(restart) = &picture.restart {
        lines.push(Line::styled(
            restart.text.clone(),
            theme.warning().patch(BOLD),
        ));
    }
    if conditions.is_empty() && lines.is_empty() {
        lines.push(Line::styled("no condition hinders it", theme.forward()));
    }
    let room = most - lines.len().min(most);
    let shown = match conditions.len() {
        all if all <= room => all,
        _ => room.saturating_sub(1),
    };
    for condition in &conditions[..shown] {
        let (word, style) = word_of(condition, theme);
        lines.push(Line::styled(format!("{word}: {}", condition.what), style));
    }
    if shown < conditions.len() {
        let more = conditions.len() - shown;
        lines.push(Line::styled(
            format!("and {more} more conditions, on page {}", Page::ALL.len()),
            theme.warning(),
        ));
    }
    Text::from(lines)
}

fn word_of(condition: &Condition, theme: Theme) -> (&'static str, Style) {
    match condition.is_error {
        true => ("ERROR", theme.drop().patch(BOLD)),
        false => ("WARNING", theme.warning()),
    }
}

fn health_lines(conditions: &[Condition], theme: Theme) -> Vec<Line<'static>> {
    if conditions.is_empty() {
        return vec![Line::from(
            "No condition hinders the gateway. It asks the host again every few seconds.",
        )];
    }
    let lines = conditions.iter().flat_map(|it| {
        let (word, style) = word_of(it, theme);
        [
            Line::styled(format!("{word}: {}", it.what), style),
            Line::from(format!("  {}", it.remedy)),
        ]
    });
    lines.collect()
}

fn draw_graphs(frame: &mut Frame<'_>, area: Rect, picture: &Picture, theme: Theme) {
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(2)
        .areas::<2>(area);
    let kinds = [
        ("drop", "Dropped", theme.drop()),
        ("forward", "Forwarded", theme.forward()),
    ];
    for (area, (action, title, style)) in halves.into_iter().zip(kinds) {
        let history = picture.history(&Counter::Action(action.to_owned()));
        let width = usize::from(area.width);
        let shown = &history[history.len().saturating_sub(width)..];
        let highest = shown.iter().copied().fold(0.0, f64::max);
        let title = format!("{title}, packets/s, highest {} ", number::rate(highest));
        let block = Block::new().borders(Borders::TOP).title(title);
        // Tenths, so that a rate below one is seen.
        let data: Vec<u64> = shown.iter().map(|it| (it * 10.0).ceil() as u64).collect();
        let graph = Sparkline::default().data(&data).style(style).block(block);
        frame.render_widget(graph, area);
    }
}

fn titles(picture: &Picture) -> Line<'static> {
    let mut spans = Vec::new();
    for (at, page) in Page::ALL.into_iter().enumerate() {
        let style = match page == picture.page {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        spans.push(Span::styled(format!("{} {}", at + 1, page.title()), style));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

fn draw_table(
    frame: &mut Frame<'_>,
    area: Rect,
    picture: &Picture,
    table: &PageTable,
    theme: Theme,
) {
    let note_lines = match table.note.len() {
        0 => 0,
        long if long > usize::from(area.width) => 2,
        _ => 1,
    };
    let [rows_area, note_area] =
        Layout::vertical([Constraint::Min(2), Constraint::Length(note_lines)]).areas(area);
    let note = Paragraph::new(table.note.clone()).style(DIM);
    frame.render_widget(note.wrap(Wrap { trim: true }), note_area);
    if table.rows.is_empty() {
        let otherwise = Paragraph::new(table.otherwise).wrap(Wrap { trim: true });
        frame.render_widget(otherwise, rows_area);
        return;
    }
    let words = table.words.iter().map(|(head, _)| Cell::from(*head));
    let numbers = ["Packets/s", "Packets"].map(|head| Cell::from(right(head)));
    let head = words.chain(numbers).chain([Cell::from("History")]);
    let head = Row::new(head).style(BOLD);
    let widths = table.words.iter().enumerate().map(|(at, (_, least))| {
        // The last words take what is left.
        match at + 1 == table.words.len() {
            true => Constraint::Min(*least),
            false => Constraint::Length(wide_enough(table, at, *least)),
        }
    });
    // Words come first.
    let history_width = match table.words.len() {
        0..=2 => area.width / 5,
        _ => area.width / 8,
    };
    let widths = widths.chain([
        Constraint::Length(9),
        Constraint::Length(11),
        Constraint::Length(history_width),
    ]);
    let rows = table.rows.iter().map(|row| {
        let style = match row.is_drop {
            true => theme.drop(),
            false => theme.forward(),
        };
        let rate = row.rate.map_or("-".to_owned(), number::rate);
        let words = row.words.iter().map(|word| Cell::from(word.clone()));
        let numbers = [rate, number::packets(row.total)].map(|it| Cell::from(right(&it)));
        let bars = bars(&row.history, history_width.into());
        let bars = Cell::from(Span::styled(bars, style));
        Row::new(words.chain(numbers).chain([bars]))
    });
    let room = usize::from(rows_area.height.saturating_sub(1));
    let last = table.rows.len().saturating_sub(room);
    let mut state = TableState::new().with_offset(picture.scrolled.min(last));
    let shown = Table::new(rows, widths).header(head).column_spacing(1);
    frame.render_stateful_widget(shown, rows_area, &mut state);
}

/// The columns that the words at this place take, within bounds.
fn wide_enough(table: &PageTable, at: usize, least: u16) -> u16 {
    let words = table.rows.iter().filter_map(|row| row.words.get(at));
    let longest = words.map(|word| word.chars().count()).max().unwrap_or(0);
    u16::try_from(longest)
        .unwrap_or(least)
        .clamp(least, MAX_WORDS)
}

fn right(text: &str) -> Line<'static> {
    Line::from(text.to_owned()).right_aligned()
}

/// The newest values as bars of one line, the highest a whole block.
fn bars(values: &[f64], width: usize) -> String {
    let shown = &values[values.len().saturating_sub(width)..];
    let highest = shown.iter().copied().fold(0.0, f64::max);
    let bar = |value: f64| match highest {
        none if none <= 0.0 => ' ',
        // What is more than nothing is seen.
        _ if value > 0.0 => {
            let eighths = (value / highest * 8.0).ceil().clamp(1.0, 8.0);
            BARS[eighths as usize - 1]
        }
        _ => ' ',
    };
    shown.iter().copied().map(bar).collect()
}

/// The last reloads and drops, the newest first.
fn events(status: &Status, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled("Policy", BOLD)];
    let reloads = &status.reloads;
    lines.push(Line::from(format!(
        "  {} reloads taken, {} refused since the start",
        number::whole(reloads.taken),
        number::whole(reloads.refused)
    )));
    lines.extend(reloads.recent.iter().map(|it| match &it.error {
        None => Line::from(format!(
            "  {}  generation {} came into force",
            moment(&it.time),
            it.generation
        )),
        Some(error) => Line::styled(
            format!(
                "  {}  refused, generation {} stayed: {error}",
                moment(&it.time),
                it.generation
            ),
            theme.drop(),
        ),
    }));
    lines.push(Line::styled("Drops, by samples", BOLD));
    match status.drop_table.as_ref().map(|table| &table.last[..]) {
        Some([_, ..]) => {
            let last = status.drop_table.iter().flat_map(|table| &table.last);
            lines.extend(last.map(|it| Line::from(format!("  {}", dropped(it)))));
        }
        Some([]) => lines.push(Line::from("  none yet")),
        None => lines.push(Line::from("  this gateway does not sample them")),
    }
    lines
}

/// `2026-11-29 07:58:00` of RFC 3339.
fn moment(time: &str) -> String {
    time.get(..19).unwrap_or(time).replace('T', " ")
}

fn dropped(last: &LastDropStatus) -> String {
    let client = last
        .client
        .map_or("a client".to_owned(), |it| it.to_string());
    let to = match (last.destination, last.port) {
        (Some(address), port) => end(address, port),
        (None, Some(port)) => format!("another client, port {port}"),
        (None, None) => "another client".to_owned(),
    };
    let protocol = last.protocol.as_deref().unwrap_or("?");
    let service = port_name(protocol, last.port);
    let mut text = format!("{}  {client} to {to} {protocol}", moment(&last.time));
    // Behind port and protocol, which stand there already.
    if let Some((_, name)) = service.split_once(' ').filter(|_| last.port.is_some()) {
        text.push_str(&format!(" ({name})"));
    }
    text.push_str(&format!(": {}", last.reason));
    for detail in [&last.rule, &last.evidence] {
        if let Some(detail) = detail
            .as_ref()
            .filter(|it| **it != last.reason && *it != "media")
        {
            text.push_str(&format!(", {detail}"));
        }
    }
    if !last.enforced {
        text.push_str(", NOT ENFORCED: forwarded");
    }
    text
}

fn help(picture: &Picture) -> Paragraph<'static> {
    let addresses = match picture.with_addresses {
        true => {
            "Addresses of clients are shown, since top was started with --addresses. They identify people."
        }
        false => {
            "Clients have numbers: addresses identify people, so they stay in the gateway unless top is started with --addresses."
        }
    };
    let lines = [
        "Tab, Right, Left, 1 to 8   another table",
        "Up, Down, PageUp, PageDown scroll it",
        "s                          sort by rate, or by total",
        "p                          pause: the picture stays, and the gateway goes on",
        "?                          this help, and back",
        "q, Esc, Ctrl-C             end",
        "",
        "Rates are what a counter has grown by since the last look, in a second. Totals are since the start of the gateway.",
        "Destinations, services, clients and the last drops come from samples: up to 200 dropped packets a second for each reason are \
         read; beyond, packets count for what was sampled just before them.",
        "Each of these tables keeps 128 keys; a new one takes the place of the rarest, and its count is the least it can be.",
        addresses,
        "",
        "`offramp trace CLIENT` shows the verdicts on one client's packets, `offramp explain POLICY --last-drop` explains the last drop.",
    ];
    let lines: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    let block = Block::new()
        .borders(Borders::TOP)
        .title("offramp top: help ");
    Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .block(block)
}

/// The least size of a terminal.
const WIDTH: u16 = 80;
const HEIGHT: u16 = 24;
/// Lines from which there is room for more of everything.
const TALL: u16 = 36;
/// Columns that words in a table take at most.
const MAX_WORDS: u16 = 39;
/// From one eighth to eight (Unicode, Block Elements).
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);

#[cfg(test)]
mod tests;

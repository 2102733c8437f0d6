//! An audit's [`Report`] for people: what would be dropped, what breaks, and what to write to keep it.
//!
//! ```text
//!   one sentence                 how much would be dropped, and why
//!   Verdicts                     packets, bytes and flows by reason
//!   Media recognized             by evidence and host, if the policy asks for evidence
//!   Kept                         services that match = "ports" would drop
//!   Quality                      of calls, and of RTP streams by client pool and peer
//!   Leaks, rules                 what the policy's own entries met
//!   Services, unclear, media     what would be cut off, the hosts below each
//!   RDP Shortpath                session hosts that it would no longer reach
//!   [[allow]] entries            what keeps the services: flush left, to be copied
//!   notes                        what the numbers do not say
//! ```

mod quality;
mod strangers;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style as Ansi};
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, presets};

use super::number::{bytes, flows, hosts, packets, share, whole};
use crate::audit::quality::QualityReport;
use crate::audit::{
    CutService, KeptReport, MediaTraffic, Nature, ReasonTraffic, Report, Role, RuleTraffic, Scope,
    ShortpathHost,
};
use crate::policy::{MediaMatch, Style};
use crate::verdict::{Action, RuleKind};

/// How a summary is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextOptions {
    /// Columns of the terminal.
    pub width: u16,
    /// With colors or without.
    pub style: Style,
}

impl Default for TextOptions {
    /// 80 columns, no colors.
    fn default() -> Self {
        Self {
            width: 80,
            style: Style::Plain,
        }
    }
}

/// Draws `report`, what lives because of `media.match`, and the quality of RTP, as text that ends with a line feed.
pub(super) fn render(
    report: &Report,
    kept: Option<&KeptReport>,
    quality: Option<&QualityReport>,
    options: &TextOptions,
) -> String {
    let mut text = Text {
        out: String::new(),
        options: *options,
    };
    text.headline(report);
    text.verdicts(&report.reasons);
    text.strangers(report);
    text.media(&report.media);
    if let Some(kept) = kept {
        text.kept(kept);
    }
    if let Some(quality) = quality {
        text.quality(quality);
    }
    text.rules(
        "Leaks: meant to be reached outside the tunnel",
        &report.rules,
        &[RuleKind::Public, RuleKind::Feed, RuleKind::Profile],
    );
    text.rules(
        "Servers and allow entries",
        &report.rules,
        &[RuleKind::Server, RuleKind::Allow],
    );
    for (nature, title) in [
        (Nature::Service, "Services that would be cut off"),
        (Nature::Unclear, "Would be cut off: a service or media?"),
        (
            Nature::Media,
            "Media and its signaling, kept off the VPN as intended",
        ),
    ] {
        text.services(title, nature, &report.cut_off);
    }
    text.shortpath(&report.shortpath);
    text.suggestions(report);
    text.notes(report);
    text.out
}

/// Draws the reports of one capture under each value of `media.match`, side by side.
pub(super) fn render_comparison(reports: &[(MediaMatch, Report)], options: &TextOptions) -> String {
    let mut text = Text {
        out: String::new(),
        options: *options,
    };
    let head = [
        "match",
        "Dropped",
        "Share",
        "Flows",
        "As media",
        "Services cut off",
    ];
    let mut table = table(&head, 1, options.width);
    for (recognition, report) in reports {
        let flows = report
            .reasons
            .iter()
            .filter(|row| row.action == Action::Drop);
        let media: u64 = report.media.iter().map(|it| it.traffic.packets).sum();
        let services = report.cut_off.iter();
        let services = services.filter(|it| it.nature == Nature::Service).count();
        add(
            &mut table,
            1,
            [
                recognition.word().to_owned(),
                whole(report.dropped.packets),
                share(report.dropped.packets, report.judged.packets),
                whole(flows.map(|row| row.flows.count).sum()),
                match recognition.profile() {
                    Some(_) => whole(media),
                    None => "by port".to_owned(),
                },
                services.to_string(),
            ],
        );
    }
    text.styled(BOLD, "Packets that would be dropped, by media.match");
    for line in text.table(&mut table, 5) {
        text.line(&line);
    }
    if let Some((_, by_ports)) = reports.iter().find(|(it, _)| it.profile().is_none()) {
        text.services(
            "Services that only match = \"ports\" cuts off",
            Nature::Service,
            &by_ports.cut_off,
        );
    }
    let evidence = reports.iter().max_by_key(|(_, report)| report.media.len());
    if let Some((_, report)) = evidence {
        text.media(&report.media);
    }
    text.out
}

/// A summary in the making.
struct Text {
    out: String,
    options: TextOptions,
}

impl Text {
    fn headline(&mut self, report: &Report) {
        let (judged, dropped) = (report.judged.packets, report.dropped.packets);
        let of_all = format!("{} of {} packets", whole(dropped), whole(judged));
        let sentence = match (judged, dropped) {
            (0, _) => "No IP packet was judged.".to_owned(),
            (1, 0) => "The one packet would pass.".to_owned(),
            (_, 0) => format!("All {} packets would pass.", whole(judged)),
            (_, _) => {
                let drops = report
                    .reasons
                    .iter()
                    .filter(|row| row.action == Action::Drop)
                    .map(|row| format!("{} {}", whole(row.traffic.packets), row.reason));
                let drops = drops.collect::<Vec<_>>().join(", ");
                let share = share(dropped, judged);
                format!("{of_all} ({share}) would be dropped: {drops}.")
            }
        };
        let lines = wrap(&sentence, usize::from(self.options.width));
        lines.iter().for_each(|line| self.styled(BOLD, line));
    }

    fn verdicts(&mut self, reasons: &[ReasonTraffic]) {
        if reasons.is_empty() {
            return;
        }
        self.title("Verdicts");
        let mut table = table(
            &["Action", "Reason", "Packets", "Bytes", "Flows"],
            2,
            self.options.width,
        );
        for row in reasons {
            add(
                &mut table,
                2,
                [
                    row.action.to_string(),
                    row.reason.to_string(),
                    whole(row.traffic.packets),
                    bytes(row.traffic.bytes),
                    flows(row.flows),
                ],
            );
        }
        for (line, row) in self.table(&mut table, 1).iter().zip(reasons) {
            let color = match row.action {
                Action::Drop => RED,
                Action::Forward => Ansi::new(),
            };
            self.styled(color, line);
        }
    }

    fn media(&mut self, media: &[MediaTraffic]) {
        if media.is_empty() {
            return;
        }
        self.title("Media recognized");
        let shown = &media[..media.len().min(MAX_MEDIA)];
        let mut table = table(
            &["Evidence", "To", "Packets", "Bytes"],
            2,
            self.options.width,
        );
        for row in shown {
            let host = row.destination.map_or_else(
                || "other hosts".to_owned(),
                |address| match row.scope {
                    Scope::Corporate => address.to_string(),
                    Scope::Client => format!("{address} (client)"),
                },
            );
            add(
                &mut table,
                2,
                [
                    row.evidence.to_string(),
                    host,
                    whole(row.traffic.packets),
                    bytes(row.traffic.bytes),
                ],
            );
        }
        for line in self.table(&mut table, 1) {
            self.line(&line);
        }
        let left = &media[shown.len()..];
        if !left.is_empty() {
            let packets: u64 = left.iter().map(|row| row.traffic.packets).sum();
            let lines = count(left.len() as u64, "line");
            self.line(&format!(
                "  and {lines} more with {} packets",
                whole(packets)
            ));
        }
    }

    fn kept(&mut self, kept: &KeptReport) {
        if kept.traffic.packets == 0 {
            return;
        }
        self.title("Lives, and would be dropped with match = \"ports\"");
        let flows = flows(kept.flows);
        let sentence = format!("{} in {flows} flows", count(kept.traffic.packets, "packet"));
        self.line(&format!("  {sentence}"));
        self.services("Services among it", Nature::Service, &kept.services);
        if kept.media.packets > 0 {
            let sentence = format!(
                "{} of it are media without connectivity checks: phones or cameras, which have no relay to fall back \
                 to. match = \"media\" drops it, too; leave it unless silence is wanted.",
                count(kept.media.packets, "packet")
            );
            let width = usize::from(self.options.width).saturating_sub(2);
            for line in wrap(&sentence, width) {
                self.line(&format!("  {line}"));
            }
        }
    }

    fn rules(&mut self, title: &str, rules: &[RuleTraffic], kinds: &[RuleKind]) {
        let rules = rules.iter().filter(|rule| kinds.contains(&rule.kind));
        let mut table = table(
            &["Entry", "Name", "Line", "Packets", "Bytes"],
            2,
            self.options.width,
        );
        let mut is_empty = true;
        for rule in rules {
            let line = rule.line.map(|line| line.to_string());
            add(
                &mut table,
                2,
                [
                    rule.kind.section().to_owned(),
                    rule.name.clone(),
                    line.unwrap_or_default(),
                    whole(rule.traffic.packets),
                    bytes(rule.traffic.bytes),
                ],
            );
            is_empty = false;
        }
        if !is_empty {
            self.title(title);
            for line in self.table(&mut table, 1) {
                self.line(&line);
            }
        }
    }

    fn services(&mut self, title: &str, nature: Nature, services: &[CutService]) {
        let services: Vec<_> = services
            .iter()
            .filter(|service| service.nature == nature)
            .collect();
        if services.is_empty() {
            return;
        }
        self.title(title);
        let most = match nature {
            Nature::Service => MAX_SERVICES,
            Nature::Unclear | Nature::Media => MAX_OTHERS,
        };
        let shown = &services[..services.len().min(most)];
        let mut table = table(
            &["Service", "Port", "Packets", "Bytes", "Flows", "Hosts"],
            2,
            self.options.width,
        );
        for service in shown {
            add(
                &mut table,
                2,
                [
                    service.name.unwrap_or("unknown").to_owned(),
                    format!("{}/{}", service.ports, service.protocol),
                    packets(service.traffic.packets),
                    bytes(service.traffic.bytes),
                    flows(service.flows),
                    hosts(service.destinations),
                ],
            );
        }
        for (line, service) in self.table(&mut table, 0).iter().zip(shown) {
            self.line(line);
            let width = usize::from(self.options.width).saturating_sub(4);
            let detail = format!("    {}", detail(service, width));
            self.styled(DIM, &detail);
        }
        let left = &services[shown.len()..];
        if !left.is_empty() {
            let traffic: u64 = left.iter().map(|service| service.traffic.packets).sum();
            self.line(&format!(
                "  and {} more with {} packets",
                whole(left.len() as u64),
                whole(traffic)
            ));
        }
    }

    fn shortpath(&mut self, hosts: &[ShortpathHost]) {
        if hosts.is_empty() {
            return;
        }
        self.title("RDP Shortpath that would fall back to TCP");
        let shown = &hosts[..hosts.len().min(MAX_OTHERS)];
        let mut table = table(&["Session host", "Connections"], 1, self.options.width);
        for host in shown {
            let address = match host.scope {
                Scope::Corporate => host.address.to_string(),
                Scope::Client => format!("{} (client)", host.address),
            };
            add(&mut table, 1, [address, whole(host.connections)]);
        }
        for line in self.table(&mut table, 0) {
            self.line(&line);
        }
        let left = &hosts[shown.len()..];
        if !left.is_empty() {
            let connections = left.iter().map(|host| host.connections).sum();
            self.line(&format!(
                "  and {} more with {}",
                whole(left.len() as u64),
                count(connections, "connection")
            ));
        }
    }

    fn suggestions(&mut self, report: &Report) {
        if report.suggestions.is_empty() {
            return;
        }
        self.title("To keep the services, add what users need to the policy");
        for (index, suggestion) in report.suggestions.iter().enumerate() {
            if index > 0 {
                self.line("");
            }
            for line in suggestion.toml.lines() {
                let style = if line.starts_with('#') { DIM } else { GREEN };
                self.styled(style, line);
            }
        }
    }

    fn notes(&mut self, report: &Report) {
        let mut notes = Vec::new();
        if report.reasons.iter().any(|row| !row.flows.exact)
            || report.cut_off.iter().any(|service| !service.flows.exact)
        {
            notes.push("~ marks an estimate: flows are counted up to a few thousand.".to_owned());
        }
        if report.missed > 0 {
            notes.push(format!(
                "{} came faster than they could be judged and are not counted above.",
                count(report.missed, "frame")
            ));
        }
        if report.skipped > 0 {
            notes.push(format!(
                "{} held no readable IP packet; --verdicts shows what they are.",
                count(report.skipped, "frame")
            ));
        }
        if report.fragments + report.tails > 0 {
            notes.push(format!(
                "{} and {}: a non-first fragment gets the verdict of its first.",
                count(report.fragments, "first fragment"),
                count(report.tails, "non-first fragment"),
            ));
        }
        if report.without_ports.packets > 0 {
            notes.push(format!(
                "{} dropped as media showed no ports.",
                count(report.without_ports.packets, "packet")
            ));
        }
        if report.scattered.packets > 0 {
            notes.push(format!(
                "{} to too many ports to list: probably a port scan.",
                count(report.scattered.packets, "packet")
            ));
        }
        if !notes.is_empty() {
            self.title("Notes");
            for note in notes {
                self.line(&format!("  {note}"));
            }
        }
    }

    /// The lines of `table` behind its header, which is written.
    ///
    /// On a narrow terminal, names are cut and numbers are not.
    fn table(&mut self, table: &mut Table, names: usize) -> Vec<String> {
        for (at, column) in table.column_iter_mut().enumerate() {
            if at != names {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let drawn = table.trim_fmt();
        let mut lines = drawn.lines().map(|line| format!(" {line}"));
        if let Some(header) = lines.next() {
            self.styled(DIM, &header);
        }
        lines.collect()
    }

    fn title(&mut self, title: &str) {
        self.out.push('\n');
        self.styled(BOLD, title);
    }

    fn styled(&mut self, style: Ansi, line: &str) {
        let _ = match self.options.style {
            Style::Plain => writeln!(self.out, "{line}"),
            Style::Colored => writeln!(self.out, "{style}{line}{style:#}"),
        };
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }
}

/// A table with this header whose columns from `numbers` on are numbers.
fn table(header: &[&str], numbers: usize, width: u16) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width.saturating_sub(1));
    table.set_header(cells(header.iter().map(|text| (*text).to_owned()), numbers));
    table
}

fn add<const COLUMNS: usize>(table: &mut Table, numbers: usize, texts: [String; COLUMNS]) {
    table.add_row(cells(texts, numbers));
}

/// A row of one line: what does not fit is cut, as terminals do it.
fn cells(texts: impl IntoIterator<Item = String>, numbers: usize) -> Row {
    let cell = |(column, text): (usize, String)| {
        let alignment = if column < numbers {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        };
        Cell::new(text).set_alignment(alignment)
    };
    let mut row = Row::from(texts.into_iter().enumerate().map(cell).collect::<Vec<_>>());
    row.max_height(1);
    row
}

/// Formats the sources and destinations that are cut off, in `width` columns.
fn detail(service: &CutService, width: usize) -> String {
    let mut out = match (service.role, service.scope) {
        (Role::Request, Scope::Corporate) => "to ",
        (Role::Request, Scope::Client) => "between clients, to ",
        (Role::Reply, Scope::Corporate) => "replies of services on the clients, to ",
        (Role::Reply, Scope::Client) => "replies between clients, to ",
    }
    .to_owned();
    let tail = if service.attempts_only {
        "; only attempts"
    } else {
        ""
    };
    let mut shown = 0;
    for host in &service.top {
        let host = match host.port {
            Some(port) => std::net::SocketAddr::new(host.address, port).to_string(),
            None => host.address.to_string(),
        };
        let room = width.saturating_sub(out.len() + " and 4,096+ more".len() + tail.len());
        if shown > 0 && host.len() + 2 > room {
            break;
        }
        if shown > 0 {
            out.push_str(", ");
        }
        out.push_str(&host);
        shown += 1;
    }
    let mut left = service.destinations;
    left.count -= shown;
    if left.count > 0 || !left.exact {
        let _ = write!(out, " and {} more", hosts(left));
    }
    out + tail
}

/// The words of `text` in lines of at most `width` columns, where words are not wider.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `1 frame`, `2 frames`.
fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", whole(number))
}

/// Services of a table: more are a port scan, not what an operator looks for.
const MAX_SERVICES: usize = 20;

/// Lines of media: more are not read.
const MAX_MEDIA: usize = 12;

/// The same, of what needs no entry in the policy.
const MAX_OTHERS: usize = 8;

const BOLD: Ansi = Ansi::new().bold();
const DIM: Ansi = Ansi::new().dimmed();
const RED: Ansi = AnsiColor::Red.on_default();
const GREEN: Ansi = AnsiColor::Green.on_default();

#[cfg(test)]
mod tests;

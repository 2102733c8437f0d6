//! `offramp status`: what a running gateway tells about itself.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};

use super::error::CliError;
use super::input::load_policy_quietly;
use super::number;
use super::rates::{Amount, Compared, Counter, Rates};
use crate::gateway::push::{PushState, PushStatus};
use crate::gateway::record::RecordStatus;
use crate::gateway::report::control;
use crate::gateway::report::status::{DnsStatus, MediaStatus, QualityStatus, Status, TrialState};
use crate::policy::GatewayOptions;

/// Show what a running gateway has done: packets and bytes by reason and by rule
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp status
  offramp status /etc/offramp/policy.toml
  offramp status --watch
  offramp status --ready                a container's health check: exit code 0 or 3
  offramp status --json | jq .generation")]
pub(super) struct Options {
    #[command(flatten)]
    gateway: Asked,
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
    /// Print the status every second, until interrupted, with packets and bytes in a second beside the totals
    #[arg(long)]
    watch: bool,
    /// Print nothing if the gateway is ready, as its /readyz tells; else the reason, with exit code 3
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    ready: bool,
}

/// The running gateway that is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// The policy that it was started with, where that sets `gateway.control`
    #[arg(value_name = "POLICY", conflicts_with = "control")]
    policy: Option<PathBuf>,
    /// Its control socket, in place of the one that the policy names
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

impl Asked {
    /// The path of its control socket.
    pub(super) fn socket(&self) -> Result<PathBuf, CliError> {
        let named = match (&self.control, &self.policy) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(policy)) => {
                let policy = load_policy_quietly(policy)?;
                let control = policy.policy().gateway.control.as_ref();
                control.map(|it| PathBuf::from(&it.value))
            }
            (None, None) => None,
        };
        Ok(named.unwrap_or_else(|| PathBuf::from(GatewayOptions::CONTROL)))
    }
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let socket = options.gateway.socket()?;
    let clears = options.watch && !options.json && io::stdout().is_terminal();
    let mut before: Option<(Instant, Status)> = None;
    loop {
        let status =
            control::ask(&socket).map_err(|error| CliError::Failed(explained(&socket, &error)))?;
        let at = Instant::now();
        if options.ready {
            return match status.not_ready {
                None => Ok(ExitCode::SUCCESS),
                Some(why) => {
                    super::print(&format!("not ready: {why}\n"))?;
                    Ok(ExitCode::from(3))
                }
            };
        }
        if options.json {
            let line = serde_json::to_string(&status)
                .map_err(|error| CliError::Failed(error.to_string()))?;
            super::print(&format!("{line}\n"))?;
        } else {
            let clear = if clears { CLEAR_SCREEN } else { "" };
            let rates = match &before {
                _ if !options.watch => Watched::NoRates,
                None => Watched::Rates(Rates::default()),
                Some((then, before)) => match Rates::between(before, &status, at - *then) {
                    Compared::Grown(rates) => Watched::Rates(rates),
                    Compared::Restarted => Watched::Restarted,
                },
            };
            super::print(&format!("{clear}{}", report(&status, &rates)))?;
        }
        if !options.watch {
            return Ok(ExitCode::SUCCESS);
        }
        before = Some((at, status));
        thread::sleep(Duration::from_secs(1));
    }
}

pub(super) fn explained(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
            "no gateway listens on {path}: start it with `offramp run`, or name its policy or its socket (--control)"
        ),
        ErrorKind::PermissionDenied => {
            format!("{path} belongs to the user that offramp runs as: ask as root")
        }
        _ => format!("{path}: {error}"),
    }
}

/// Knowledge of rates.
enum Watched {
    /// One status tells none.
    NoRates,
    /// Those since the last status; none at first.
    Rates(Rates),
    /// The gateway counts from nothing.
    Restarted,
}

impl Watched {
    /// The cells of `counter`.
    fn cells(&self, counter: &Counter) -> Vec<String> {
        match self {
            Self::NoRates => Vec::new(),
            Self::Restarted => vec!["-".to_owned(); 2],
            Self::Rates(rates) => {
                let Amount { packets, bytes } = rates.of(counter);
                vec![number::rate(packets), number::bytes(bytes.round() as u64)]
            }
        }
    }

    /// The headings of `cells`.
    fn head(&self) -> &'static [&'static str] {
        match self {
            Self::NoRates => &[],
            Self::Rates(_) | Self::Restarted => &["Packets/s", "Bytes/s"],
        }
    }
}

/// The release of a fleet that is in force.
fn release(status: &Status) -> String {
    let mut text = String::new();
    let Some(fleet) = &status.fleet else {
        return text;
    };
    match &fleet.release {
        Some(it) => {
            _ = write!(
                text,
                "release: {} of the channel {}, sha256 {}",
                it.serial, it.channel, it.sha256
            );
        }
        None => {
            text.push_str("release: none; what the agent of the fleet has written is not in force")
        }
    }
    _ = match fleet.last_contact_seconds {
        Some(seconds) => writeln!(
            text,
            "; the store answered the agent {} ago",
            duration(seconds)
        ),
        None => writeln!(text, "; the store has never answered the agent"),
    };
    text
}

/// The status, for people.
fn report(status: &Status, watched: &Watched) -> String {
    let mut text = format!(
        "offramp {} has judged by {} for {} (process {}, generation {})\n",
        status.version,
        status.policy,
        duration(status.uptime_seconds),
        status.pid,
        status.generation
    );
    for file in &status.files {
        match &file.sha256 {
            Some(digest) => _ = writeln!(text, "  sha256 {digest}  {}", file.path),
            None => _ = writeln!(text, "  not read: {}", file.path),
        }
    }
    if matches!(watched, Watched::Restarted) {
        text.push_str(
            "THE GATEWAY HAS RESTARTED: its counters begin at 0, and rates with the next status\n",
        );
    }
    text.push_str(&release(status));
    let reloads = &status.reloads;
    if reloads.taken + reloads.refused > 0 {
        _ = writeln!(
            text,
            "reloads: {} taken, {} refused",
            reloads.taken, reloads.refused
        );
    }
    if let Some(why) = &reloads.last_error {
        _ = writeln!(text, "the last one was refused:\n{}", why.trim_end());
    }
    if let Some(trial) = &status.enforcement.trial {
        text.push_str(&match (trial.state, trial.seconds_left) {
            (TrialState::Running, left) => format!(
                "ENFORCED FOR A LIMITED TIME: {} left, then it is enforced for nobody, unless you say `offramp keep`\n",
                duration(left.unwrap_or_default())
            ),
            (TrialState::Kept, _) if trial.file_enforces => {
                "enforced beyond its trial: `offramp keep` was said\n".to_owned()
            }
            (TrialState::Kept, _) => {
                "enforced beyond its trial: `offramp keep` was said; the file says `enforce = false`, which counts at the next start\n".to_owned()
            }
            (TrialState::Over, _) => {
                "the trial is over: `offramp keep` enforces the policy until offramp ends, `offramp enforce --for 10m` for a while\n".to_owned()
            }
        });
    }
    if let Some(gap) = &status.enforcement.gap {
        _ = write!(
            text,
            "NOT ENFORCED: {gap}; {} packets would have been dropped, and were forwarded",
            number::whole(status.enforcement.packets)
        );
        if let Some(dns) = &status.dns {
            _ = write!(
                text,
                "; names of {} queries would have been hidden, and were answered",
                number::whole(dns.not_enforced)
            );
        }
        text.push('\n');
    }
    let diversion = &status.diversion;
    let diverted = match diversion.scope.as_str() {
        "all" => "all packets from the VPN".to_owned(),
        _ if diversion.kind == "ebpf" => {
            "packets that the policy does not forward for certain".to_owned()
        }
        _ => format!(
            "packets to {} prefixes",
            number::whole(diversion.prefixes as u64)
        ),
    };
    _ = writeln!(
        text,
        "diverted: {diverted}, into {}{}; on failure {}",
        status.device.name,
        match diversion.kind.as_str() {
            "" => String::new(),
            kind => format!(" (by {kind})"),
        },
        diversion.on_failure
    );
    if diversion.bypassed {
        text.push_str("BYPASS IS ON: everything passes unjudged, until `offramp bypass off`\n");
    }
    if diversion.unread_packets > 0 {
        _ = writeln!(
            text,
            "passed unjudged, since a worker did not read them in time: {} packets",
            number::whole(diversion.unread_packets)
        );
    }
    if let Some(late) = diversion.late.filter(|it| it.interfaces > 0) {
        _ = writeln!(
            text,
            "up before what enters there was judged: {} interfaces, for {} ms at most, {} packets",
            number::whole(late.interfaces),
            late.longest_microseconds / 1_000,
            number::whole(late.packets)
        );
    }
    if let Some(flows) = diversion.flows.filter(|it| it.cleared > 0) {
        _ = writeln!(
            text,
            "cleared, so that their packets pass in the kernel: {} flows",
            number::whole(flows.cleared)
        );
    }
    for failure in diversion.self_test.iter().flat_map(|it| &it.failures) {
        _ = writeln!(text, "THE SELF-TEST FAILED: {failure}");
    }
    for finding in &status.health {
        let severity = finding.severity.to_uppercase();
        _ = writeln!(text, "{severity}: {}; {}", finding.what, finding.remedy);
    }
    if status.traces > 0 {
        _ = writeln!(text, "clients are traced at the moment: {}", status.traces);
    }
    for interface in &diversion.interfaces {
        let present = match &interface.present[..] {
            [] => ": no such interface at the moment, nothing is judged".to_owned(),
            [name] if *name == interface.pattern => String::new(),
            names => format!(": {}", names.join(", ")),
        };
        _ = writeln!(text, "  from {}{present}", interface.pattern);
    }

    let verdicts = status.verdicts.iter().map(|verdict| {
        let counter = Counter::Verdict(verdict.action.clone(), verdict.reason.clone());
        let mut cells = vec![
            verdict.action.clone(),
            verdict.reason.clone(),
            number::packets(verdict.packets),
            number::bytes(verdict.bytes),
        ];
        cells.extend(watched.cells(&counter));
        cells
    });
    let head = [&["Action", "Reason", "Packets", "Bytes"], watched.head()].concat();
    push_table(&mut text, "Verdicts", &head, verdicts.collect());
    let rules = status.rules.iter().map(|rule| {
        let counter = Counter::Rule(rule.kind.clone(), rule.name.clone());
        let mut cells = vec![
            section(&rule.kind),
            rule.name.clone(),
            number::packets(rule.packets),
            number::bytes(rule.bytes),
        ];
        cells.extend(watched.cells(&counter));
        cells
    });
    let head = [&["Entry", "Name", "Packets", "Bytes"], watched.head()].concat();
    push_table(&mut text, "Rules", &head, rules.collect());

    let rejections = &status.rejections;
    if rejections.rst + rejections.unreachable > 0 {
        _ = writeln!(
            text,
            "\nanswered to clients: {} by RST, {} by ICMP port unreachable",
            number::whole(rejections.rst),
            number::whole(rejections.unreachable)
        );
    }
    if let Some(media) = &status.media {
        push_media(&mut text, media, watched);
        push_quality(&mut text, &media.quality);
    }
    if let Some(dns) = &status.dns {
        push_names(&mut text, dns);
    }
    if status.device.overload_drops.is_none() {
        text.push_str(
            "lost because the filter did not keep up: unknown, the kernel does not report it\n",
        );
    }
    let losses = [
        (
            "lost because the filter did not keep up",
            status.device.overload_drops.unwrap_or(0),
        ),
        (
            "refused by the kernel on their way back",
            status.device.failed_writes,
        ),
        (
            "answers to clients suppressed (beyond the rate, or to a source that is not routed to the interface it came from)",
            status.rejections.suppressed,
        ),
        (
            "first fragments evicted for lack of room",
            status.evicted_fragments,
        ),
        (
            "flows evicted for lack of room (their media is recognized again at its next connectivity check)",
            status.media.as_ref().map_or(0, |it| it.evicted_flows),
        ),
        (
            "RTP streams whose measurement ended early for lack of room",
            status
                .media
                .as_ref()
                .map_or(0, |it| it.quality.evicted_streams),
        ),
    ];
    for (what, count) in losses {
        if count > 0 {
            _ = writeln!(text, "{what}: {}", number::whole(count));
        }
    }
    push_pushes(&mut text, &status.pushes);
    for (what, unit, record) in [
        ("drop log", "lines", &status.drop_log),
        ("capture of drops", "packets", &status.drop_capture),
    ] {
        if let Some(record) = record {
            push_record(&mut text, what, unit, record);
        }
    }
    text
}

/// Prints the targets of pushes, and the last push to each.
fn push_pushes(text: &mut String, pushes: &[PushStatus]) {
    for push in pushes {
        let state = match push.state {
            PushState::Unchanged => "nothing to push",
            PushState::Pushed => "pushed",
            PushState::Waiting => "waiting",
            PushState::Held => "HELD BACK",
            PushState::Failed => "FAILED",
        };
        let time = push.time.as_ref().map(|it| format!(", last at {it}"));
        let generation = push.generation.map(|it| format!(", generation {it}"));
        _ = writeln!(
            text,
            "routes to {}: {state}{}{}: {}",
            push.target,
            time.unwrap_or_default(),
            generation.unwrap_or_default(),
            push.result
        );
    }
}

/// Prints what was recognized as media.
fn push_media(text: &mut String, media: &MediaStatus, watched: &Watched) {
    let rows = media.evidence.iter().map(|it| {
        let counter = Counter::Evidence(it.evidence.clone(), it.by.clone());
        let mut cells = vec![
            it.evidence.clone(),
            format!("this {}", it.by).replace("this flow", "earlier packet of the flow"),
            number::packets(it.packets),
            number::bytes(it.bytes),
        ];
        cells.extend(watched.cells(&counter));
        cells
    });
    let rows: Vec<_> = rows.collect();
    let title = format!(
        "Media recognized (match = \"{}\"), {} flows in memory",
        media.r#match,
        number::whole(media.flows)
    );
    match rows.is_empty() {
        true => _ = writeln!(text, "\n{title}: none so far"),
        false => {
            let head = [&["Evidence", "In", "Packets", "Bytes"], watched.head()].concat();
            push_table(text, &title, &head, rows);
        }
    }
}

/// Prints the quality of the RTP streams that take the tunnel.
fn push_quality(text: &mut String, quality: &QualityStatus) {
    let rows = quality.groups.iter().map(|it| {
        let loss = &it.loss_millionths;
        let percent = |millionths: u64| format!("{} %", millionths as f64 / 1e4);
        let highest = loss.buckets.iter().filter_map(|it| it.up_to).max();
        let median = loss.median_up_to().map(percent);
        vec![
            it.pool.clone().unwrap_or_else(|| "other pools".to_owned()),
            it.peer.clone(),
            number::whole(loss.streams()),
            median.unwrap_or_else(|| format!("> {}", percent(highest.unwrap_or(0)))),
        ]
    });
    let title = format!(
        "RTP streams forwarded and ended, {} under way",
        number::whole(quality.streams)
    );
    let head = ["Clients", "Peer", "Streams", "Half lost up to"];
    push_table(text, &title, &head, rows.collect());
}

fn push_record(text: &mut String, what: &str, unit: &str, record: &RecordStatus) {
    let written = number::whole(record.written);
    _ = write!(text, "{what} {}: {written} {unit} written", record.place);
    if record.lost > 0 {
        _ = write!(text, ", {} lost", number::whole(record.lost));
    }
    match &record.error {
        Some(error) => _ = writeln!(text, "; it cannot be written: {error}"),
        None => text.push('\n'),
    }
}

/// Prints the outcomes of DNS queries.
fn push_names(text: &mut String, dns: &DnsStatus) {
    let listen: Vec<_> = dns.listen.iter().map(ToString::to_string).collect();
    let asked = dns.outcomes.iter().filter(|it| it.queries > 0);
    let outcomes: Vec<_> = asked
        .map(|it| format!("{} {}", number::whole(it.queries), it.outcome))
        .collect();
    let outcomes = if outcomes.is_empty() {
        "none so far".to_owned()
    } else {
        outcomes.join(", ")
    };
    _ = write!(text, "\nDNS queries at {}", listen.join(", "));
    if dns.threads > 1 {
        _ = write!(text, ", answered by {} threads", dns.threads);
    }
    _ = writeln!(text, ": {outcomes}");
    let answers: u64 = dns.latency.iter().map(|it| it.answers).sum();
    if let Some(mean) = dns.latency_microseconds.checked_div(answers) {
        _ = writeln!(text, " an answer took {mean} µs on average");
    }
    if dns.crowded_out_connections > 0 {
        let count = number::whole(dns.crowded_out_connections);
        _ = writeln!(text, " {count} connections closed for lack of room");
    }
    if let Some(log) = &dns.query_log {
        push_record(text, "query log", "lines", log);
    }
}

/// The header of a rule's section in the policy file.
pub(super) fn section(kind: &str) -> String {
    format!("[[{kind}]]").replace("[[media]]", "[media]")
}

/// Prints a table whose numbers begin at the third column.
fn push_table(text: &mut String, title: &str, head: &[&str], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.to_vec());
    table.add_rows(rows);
    for column in 2..head.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    _ = writeln!(text, "\n{title}");
    for line in table.lines() {
        _ = writeln!(text, " {}", line.trim_end());
    }
}

/// `3 d 04:05:06`, without the days where there are none.
pub(super) fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        days => format!("{days} d {clock}"),
    }
}

/// Moves to the top of a terminal and clears it (ECMA-48: CUP, ED).
const CLEAR_SCREEN: &str = "\u{1b}[H\u{1b}[2J";

//! `offramp fleet status`: which gateway has which release.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::options::{StoreOptions, failed};
use crate::cli::error::CliError;
use crate::gateway::fleet::publish::{channels, gateways};
use crate::gateway::fleet::report::{GatewayReport, SILENT};

/// Show which gateway has which release, by what the gateways report in the store
///
/// A gateway is listed from its first report on, and for a week after the last. Exit code 3 when one of them lags: it has refused
/// the release of its channel, has another one, is not ready, does not answer its agent, or was not heard of for half an hour.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  offramp fleet status --store etcd://10.0.0.5:2379/contoso")]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    store: StoreOptions,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A gateway, the serial that its channel is at, and the reason why it does not have that.
struct Row {
    report: GatewayReport,
    wanted: Option<u64>,
    lag: Option<String>,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let mut store = options.store.open()?;
    let channels: BTreeMap<String, Option<u64>> =
        channels(&mut *store).map_err(failed)?.into_iter().collect();
    let now = SystemTime::now();
    let rows = gateways(&mut *store)
        .map_err(failed)?
        .into_iter()
        .map(|report| {
            let wanted = channels.get(&report.channel).copied().flatten();
            let lag = match wanted {
                Some(serial) => report.lag(serial, now),
                None => Some(format!("its channel {} has no release", report.channel)),
            };
            Row {
                report,
                wanted,
                lag,
            }
        });
    let rows: Vec<Row> = rows.collect();
    if options.json {
        crate::cli::print_json(&as_json(&channels, &rows))?;
    } else {
        crate::cli::print(&as_text(&channels, &rows, now))?;
    }
    Ok(match rows.iter().any(|row| row.lag.is_some()) {
        true => ExitCode::from(3),
        false => ExitCode::SUCCESS,
    })
}

fn as_text(channels: &BTreeMap<String, Option<u64>>, rows: &[Row], now: SystemTime) -> String {
    let mut text = String::new();
    if channels.is_empty() {
        text.push_str("no channel has a release: offramp fleet publish\n");
    }
    for (name, serial) in channels {
        let serial = serial.map_or("no release".to_owned(), |it| format!("release {it}"));
        _ = writeln!(text, "channel {name}: {serial}");
    }
    if rows.is_empty() {
        text.push_str("no gateway has reported\n");
        return text;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "gateway", "site", "channel", "wanted", "has", "digest", "since", "state", "seen",
    ]);
    for Row { report, wanted, .. } in rows {
        let number = |it: Option<u64>| it.map_or("-".to_owned(), |it| it.to_string());
        let digest = report.sha256.as_deref().unwrap_or("-");
        let age = report.age(now);
        let state = match age.is_none_or(|age| age > SILENT) {
            true => "silent",
            false => report.state.word(),
        };
        let seen = age.map_or("-".to_owned(), |age| {
            let minutes = std::time::Duration::from_secs(age.as_secs() / 60 * 60);
            match minutes.is_zero() {
                true => "now".to_owned(),
                false => format!("{} ago", humantime::format_duration(minutes)),
            }
        });
        table.add_row([
            report.gateway.clone(),
            report.site.clone(),
            report.channel.clone(),
            number(*wanted),
            number(report.has),
            digest.chars().take(8).collect(),
            report.since.clone().unwrap_or_else(|| "-".to_owned()),
            state.to_owned(),
            seen,
        ]);
    }
    text.push('\n');
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let remarks = rows.iter().filter_map(|row| {
        let why = row.lag.as_ref().or(row.report.reason.as_ref())?;
        Some(format!("{}: {why}\n", row.report.gateway))
    });
    let remarks: String = remarks.collect();
    if !remarks.is_empty() {
        text.push('\n');
        text.push_str(&remarks);
    }
    text
}

fn as_json(channels: &BTreeMap<String, Option<u64>>, rows: &[Row]) -> Value {
    let gateways = rows.iter().map(|row| {
        let mut value = json!(row.report);
        value["wanted"] = json!(row.wanted);
        value["lag"] = json!(row.lag);
        value
    });
    json!({ "channels": channels, "gateways": gateways.collect::<Vec<_>>() })
}

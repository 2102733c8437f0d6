//! `offramp reload`: has a running gateway load its policy again, or tells what that would change.

use std::process::ExitCode;

use serde_json::json;

use super::error::CliError;
use super::status::{Asked, explained};
use crate::gateway::report::control;
use crate::gateway::report::reload_report::ReloadReport;

/// Have a running gateway load its policy file again, and show what that changes
///
/// A gateway reloads by itself when the file changes; this waits for it, and says what has become of it. A file with mistakes
/// is refused, and what was in force stays in force. The difference has the keys that the file says differently, and the
/// verdicts, routes and names that change with them. A dry run also has what would be pushed to VPN servers (`routes.push`).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp reload --dry-run
  offramp reload
  offramp reload --dry-run --json | jq .difference.verdicts

Exit code 2 when the file is refused; with --dry-run, 3 when it differs from what is in force.")]
pub(super) struct Options {
    /// Only show what a reload would change, and what it would refuse
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: Asked,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let socket = options.gateway.socket()?;
    let report = match options.dry_run {
        true => control::try_reload(&socket),
        false => control::reload(&socket),
    };
    let report = report.map_err(|error| {
        CliError::Failed(match error.kind() {
            // It sent a status, which is no report.
            std::io::ErrorKind::InvalidData => {
                "the gateway that runs is of an earlier version, and tells no difference; restart it with this one".to_owned()
            }
            _ => explained(&socket, &error),
        })
    })?;
    if options.json {
        super::print_json(&json!(report))?;
    } else {
        super::print(&text(&report, options))?;
    }
    if let Some(why) = &report.refused {
        return Err(CliError::Refused(format!(
            "{} is refused, generation {} stays in force: {}",
            report.policy,
            report.generation,
            why.trim_end()
        )));
    }
    let differs = options.dry_run && !(report.text.is_empty() && report.pushes.is_empty());
    Ok(if differs {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    })
}

fn text(report: &ReloadReport, options: &Options) -> String {
    if report.refused.is_some() {
        return String::new();
    }
    let ReloadReport {
        policy, generation, ..
    } = report;
    let mut text = match (options.dry_run, report.text.is_empty()) {
        (true, true) => {
            format!(
                "{policy} says what is in force (generation {generation}): a reload would change nothing\n"
            )
        }
        (true, false) => {
            format!(
                "A reload of {policy} would change this, compared with generation {generation}:\n"
            )
        }
        (false, true) => {
            format!("{policy} is in force (generation {generation}), and says the same as before\n")
        }
        (false, false) => {
            format!("{policy} is in force (generation {generation}), which has changed this:\n")
        }
    };
    text.push_str(&report.text);
    for push in &report.pushes {
        text.push_str(&format!("push to {push}\n"));
    }
    for key in &report.at_next_start {
        text.push_str(&format!(
            "{key} takes effect at the next start of offramp\n"
        ));
    }
    for warning in &report.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

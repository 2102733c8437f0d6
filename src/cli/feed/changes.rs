//! `offramp feed changes`: what Microsoft announces.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::diff::{bytes, refused};
use crate::cli::error::{CliError, warn};
use crate::feed::changes::{Change, Disposition, parse_changes};

/// Show what a changes document of Microsoft's web service announces, and from when
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  offramp feed changes changes.json      (https://endpoints.office.com/changes/Worldwide/VERSION, saved)

Additions hold from their date, removals at once.")]
pub(in crate::cli) struct Options {
    /// The changes document
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let bytes = bytes(&options.file)?;
    let (changes, notes) = parse_changes(&bytes).map_err(|error| refused(&options.file, &error))?;
    notes.iter().for_each(|note| warn(&note.to_string()));
    if options.json {
        let changes: Vec<_> = changes.iter().map(as_json).collect();
        crate::cli::print_json(&json!({ "changes": changes }))?;
    } else if changes.is_empty() {
        crate::cli::print("no changes\n")?;
    } else {
        crate::cli::print(&changes.iter().map(as_text).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

const fn word(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Add => "add",
        Disposition::Change => "change",
        Disposition::Remove => "remove",
    }
}

fn as_text(change: &Change) -> String {
    let mut text = format!(
        "version {}: {} {}",
        change.version,
        word(change.disposition),
        change.entry
    );
    if !change.impact.is_empty() {
        _ = write!(text, " ({})", change.impact);
    }
    text.push('\n');
    for fact in &change.facts {
        _ = writeln!(text, "  {fact}");
    }
    let from = change
        .effective
        .map_or(String::new(), |date| format!(" from {date}"));
    let added = change
        .added
        .iter()
        .map(ToString::to_string)
        .chain(change.added_urls.iter().cloned());
    for what in added {
        _ = writeln!(text, "  + {what}{from}");
    }
    let removed = change
        .removed
        .iter()
        .map(ToString::to_string)
        .chain(change.removed_urls.iter().cloned());
    for what in removed {
        _ = writeln!(text, "  - {what}");
    }
    text
}

fn as_json(change: &Change) -> serde_json::Value {
    let texts =
        |list: &[ipnet::IpNet]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
    json!({
        "id": change.id,
        "entry": change.entry.to_string(),
        "disposition": word(change.disposition),
        "impact": change.impact,
        "version": change.version,
        "effective": change.effective.map(|date| date.to_string()),
        "added": texts(&change.added),
        "removed": texts(&change.removed),
        "added_urls": change.added_urls,
        "removed_urls": change.removed_urls,
        "facts": change.facts,
    })
}

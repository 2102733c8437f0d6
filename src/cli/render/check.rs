//! `offramp render --check`: a file in place, compared with the policy.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::Loaded;
use crate::address::PrefixSet;
use crate::cli::error::{CliError, warn};
use crate::gateway::host::feeds;
use crate::plan::PlanDifference;
use crate::render::{CompareError, Difference, Kind, LineDifference, Target, compare, left_out};
use crate::verify::against::text_of;

pub(super) fn run(
    target: &'static Target,
    loaded: &Loaded,
    file: &Path,
    json: bool,
) -> Result<ExitCode, CliError> {
    let failed = |error: String| CliError::Failed(format!("{}: {error}", file.display()));
    let bytes = feeds::read(file).map_err(|error| failed(error.to_string()))?;
    let text = text_of(&bytes);
    let difference = compare(target, loaded.source(), &loaded.choices, &text);
    let difference = difference.map_err(|error| match error {
        CompareError::Render(error) => CliError::Refused(error.to_string()),
        CompareError::Read(error) => failed(error.to_string()),
        CompareError::NotRead { .. } => CliError::Usage(error.to_string()),
    })?;
    for (line, entry) in left_out(target, &loaded.choices, &text) {
        warn(&format!(
            "{}:{line}: `{entry}` is for some ports, protocols or names alone, and is left out",
            file.display()
        ));
    }
    if json {
        let mut value = as_json(target.kind(), difference.as_ref());
        value["file"] = json!(file.display().to_string());
        value["target"] = json!(target.name);
        value["equal"] = json!(difference.is_none());
        crate::cli::print_json(&value)?;
    } else {
        let (file, origin) = (file.display().to_string(), &loaded.policy.origin);
        crate::cli::print(&match &difference {
            None => equal(target.kind(), &file, origin),
            Some(Difference::Addresses(it)) => {
                format!("{file} does not match {origin}\n{}", addresses(it))
            }
            Some(Difference::Names(lines)) => {
                format!("{file} does not match {origin}\n{}", names(lines))
            }
            Some(Difference::Settings { missing, surplus }) => {
                format!(
                    "{file} does not match {origin}\n{}",
                    settings(missing, surplus)
                )
            }
            Some(Difference::Lines(it)) => lines(&file, origin, it),
        })?;
    }
    Ok(match difference {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(3),
    })
}

fn equal(kind: Kind, file: &str, origin: &str) -> String {
    match kind {
        Kind::Routes => format!("{file} sends the addresses of {origin} into the tunnel\n"),
        Kind::Names => format!("{file} answers for names as {origin} does\n"),
        Kind::GatewayRules | Kind::ClientRules => format!("{file} has the rules of {origin}\n"),
        Kind::Settings => format!("{file} has the settings of {origin}\n"),
    }
}

fn addresses(difference: &PlanDifference) -> String {
    let mut text = String::new();
    for (set, title) in [
        (&difference.missing, "should enter the tunnel and does not"),
        (&difference.surplus, "enters the tunnel and should not"),
    ] {
        if !set.is_empty() {
            text.push_str(&format!("  {title}\n"));
            for prefix in set.prefixes() {
                text.push_str(&format!("    {prefix}\n"));
            }
        }
    }
    text
}

fn names(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

fn settings(missing: &[String], surplus: &[String]) -> String {
    let mut text = String::new();
    for (list, title) in [
        (missing, "should be there and is not"),
        (surplus, "is there and should not be"),
    ] {
        if !list.is_empty() {
            text.push_str(&format!("  {title}\n"));
            for setting in list {
                text.push_str(&format!("    {setting}\n"));
            }
        }
    }
    text
}

fn lines(file: &str, origin: &str, difference: &LineDifference) -> String {
    let shown = |line: &Option<String>| {
        let text = line.as_deref().unwrap_or("nothing");
        text.chars().take(MAX_SHOWN).collect::<String>()
    };
    let place = difference
        .line
        .map_or("its end".to_owned(), |line| format!("line {line}"));
    format!(
        "{file} does not match {origin}, from {place} on\n  expected  {}\n  found     {}\n",
        shown(&difference.expected),
        shown(&difference.found),
    )
}

fn as_json(kind: Kind, difference: Option<&Difference>) -> Value {
    let prefixes = |set: &PrefixSet| -> Vec<String> {
        set.prefixes().map(|prefix| prefix.to_string()).collect()
    };
    match (kind, difference) {
        (_, Some(Difference::Addresses(it))) => json!({
            "missing": prefixes(&it.missing),
            "surplus": prefixes(&it.surplus),
        }),
        (_, Some(Difference::Names(lines))) => json!({ "differences": lines }),
        (_, Some(Difference::Settings { missing, surplus })) => {
            json!({ "missing": missing, "surplus": surplus })
        }
        (_, Some(Difference::Lines(it))) => json!({
            "line": it.line,
            "expected": it.expected,
            "found": it.found,
        }),
        (Kind::Routes | Kind::Settings, None) => json!({ "missing": [], "surplus": [] }),
        (Kind::Names, None) => json!({ "differences": [] }),
        (Kind::GatewayRules | Kind::ClientRules, None) => {
            json!({ "line": null, "expected": null, "found": null })
        }
    }
}

/// Characters of a line that are shown.
const MAX_SHOWN: usize = 100;

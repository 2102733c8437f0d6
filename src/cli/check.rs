//! `offramp check`: is this policy file in order?

mod annotations;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use self::annotations::Annotation;
use super::error::{CliError, say};
use super::input::{compile, print_diagnostics, read_policy, refused, remarks_on_routes};
use crate::filter::{CompiledPolicy, Generation};
use crate::plan::{EndpointRules, RoutePlan};
use crate::policy::{
    AcceptedWarning, Diagnostic, Diagnostics, Policy, Severity, accept, warn_of_idle_accepts,
};
use crate::verify::{ActualOutcome, BrokenExpectation, broken_expectations};

/// Check a policy file: every mistake at once, with what to write instead
///
/// Exit code 0 when the policy is in order (there may be warnings), 2 when it is refused: it has mistakes, or one of its
/// [[test]] entries does not hold; 3 when there are warnings, with --deny-warnings. Warnings that the policy accepts
/// ([[accept]]) are listed apart, and do not count.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp check config/contoso.toml
  offramp check --deny-warnings --format github site.toml")]
pub(super) struct Options {
    /// The policy file, or several; `-` is standard input
    #[arg(value_name = "POLICY", required = true)]
    policies: Vec<PathBuf>,
    /// Print the result as JSON, short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Exit with 3 when there are warnings
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let format = if options.json {
        Format::Json
    } else {
        options.format
    };
    let mut worst = 0;
    let mut printed = Vec::new();
    for path in &options.policies {
        let (code, output) = check(path, format, options.deny_warnings)?;
        // A refused one weighs more than one with warnings.
        worst = match (worst, code) {
            (2, _) | (_, 2) => 2,
            (worst, code) => worst.max(code),
        };
        printed.extend(output);
    }
    match (format, &mut printed[..]) {
        (Format::Text | Format::Github, _) => {}
        (Format::Json | Format::Sarif, [one]) => super::print_json(one)?,
        (Format::Json, _) => super::print_json(&json!(printed))?,
        (Format::Sarif, [first, rest @ ..]) => {
            let runs = rest.iter().map(|log| log["runs"][0].clone());
            let runs: Vec<_> = [first["runs"][0].clone()].into_iter().chain(runs).collect();
            first["runs"] = json!(runs);
            super::print_json(first)?;
        }
        (Format::Sarif, []) => {}
    }
    Ok(ExitCode::from(worst))
}

/// Checks one policy; returns its exit code, and what is to be printed for programs. What is for people is printed.
fn check(
    path: &Path,
    format: Format,
    denies_warnings: bool,
) -> Result<(u8, Option<Value>), CliError> {
    let (policy, mut warnings) = match read_policy(path)? {
        Ok(taken) => taken,
        Err(errors) if format != Format::Text => {
            return Ok((2, print_as(format, &errors, None, &[])?));
        }
        Err(errors) => {
            print_diagnostics(&errors);
            refused(path, &errors).report();
            return Ok((2, None));
        }
    };
    for remark in remarks_on_routes(&RoutePlan::new(&policy)) {
        warnings.remark(&remark.clone().as_warning());
    }
    let endpoints = EndpointRules::of(&policy);
    endpoints.remarks.iter().for_each(|it| warnings.remark(it));
    accept(&policy, &mut warnings);
    warn_of_idle_accepts(&policy, &mut warnings);
    let compiled = compile(path, policy, Generation(1))?;
    let broken = broken_expectations(&compiled);
    let code = match (broken.is_empty(), warnings.count(Severity::Warning)) {
        (false, _) => 2,
        (true, 1..) if denies_warnings => 3,
        (true, _) => 0,
    };
    if format != Format::Text {
        return Ok((code, print_as(format, &warnings, Some(&compiled), &broken)?));
    }
    print_diagnostics(&warnings);
    if let [_, ..] = broken[..] {
        let failures: String = broken
            .iter()
            .map(|it| failure(compiled.policy(), it))
            .collect();
        say(format_args!("{failures}"));
        let count = match broken.len() {
            1 => "1 test that does not hold".to_owned(),
            count => format!("{count} tests that do not hold"),
        };
        let why = format!("{} is refused for {count}", path.display());
        CliError::Refused(why).report();
        return Ok((code, None));
    }
    super::print(&summary(&compiled, &warnings))?;
    Ok((code, None))
}

/// The result for programs; annotations, which are lines, are printed.
fn print_as(
    format: Format,
    diagnostics: &Diagnostics,
    compiled: Option<&CompiledPolicy>,
    broken: &[BrokenExpectation<'_>],
) -> Result<Option<Value>, CliError> {
    let (origin, found) = (diagnostics.origin(), Annotation::all(diagnostics, broken));
    Ok(match format {
        Format::Text | Format::Json => Some(as_json(diagnostics, compiled, broken)),
        Format::Sarif => Some(annotations::sarif(origin, &found)),
        Format::Github => {
            super::print(&annotations::github(origin, &found))?;
            None
        }
    })
}

/// Describes a failed test: the expected and the actual outcome.
fn failure(policy: &Policy, broken: &BrokenExpectation<'_>) -> String {
    let BrokenExpectation {
        test,
        outcome,
        because,
    } = broken;
    format!(
        "{origin}:{line}: test \"{name}\" does not hold\n  expected  {expected}\n  actual    {outcome}: {because}\n",
        origin = policy.origin,
        line = test.line,
        name = test.name.value,
        expected = test.claim.expected(),
    )
}

fn summary(compiled: &CompiledPolicy, warnings: &Diagnostics) -> String {
    let policy = compiled.policy();
    let mut text = format!("{} is in order", policy.origin);
    match warnings.count(Severity::Warning) {
        0 => text.push('\n'),
        1 => text.push_str("; see the warning above\n"),
        count => _ = writeln!(text, "; see the {count} warnings above"),
    }
    if policy.vpn.interfaces.is_empty() {
        text.push_str(
            "  no vpn.interfaces: it is fit to judge captures; `offramp run` needs them\n",
        );
    }
    let prefixes = |lists: &mut dyn Iterator<Item = usize>| -> usize { lists.sum() };
    let rows = [
        ("clients", None, policy.vpn.client_subnets.len()),
        ("corporate", None, policy.corporate.subnets.len()),
        (
            "servers",
            Some(policy.servers.len()),
            prefixes(&mut policy.servers.iter().map(|it| it.addresses.len())),
        ),
        (
            "allows",
            Some(policy.allows.len()),
            prefixes(&mut policy.allows.iter().map(|it| it.to.len())),
        ),
        (
            "public",
            Some(policy.publics.len()),
            prefixes(&mut policy.publics.iter().map(|it| it.addresses.len())),
        ),
        (
            "feeds",
            Some(policy.feeds.len()),
            prefixes(
                &mut policy
                    .feeds
                    .iter()
                    .map(|it| it.prefixes.iter().flatten().count()),
            ),
        ),
    ];
    // A site without feeds has nothing to read about them.
    let rows = rows
        .into_iter()
        .filter(|(name, entries, _)| *name != "feeds" || *entries != Some(0));
    for (name, entries, prefixes) in rows {
        let entries = entries.map_or(String::new(), |count| {
            plural(count, "entry", "entries") + ", "
        });
        _ = writeln!(
            text,
            "  {name:<10} {entries}{}",
            plural(prefixes, "prefix", "prefixes")
        );
    }
    if !policy.tests.is_empty() {
        _ = writeln!(text, "  {:<10} {} hold", "tests", policy.tests.len());
    }
    _ = writeln!(
        text,
        "  {:<10} {} KiB",
        "tables",
        compiled.memory_bytes().div_ceil(1024)
    );
    for accepted in warnings.accepted() {
        _ = writeln!(
            text,
            "accepted: {code}, line {line}: {message}\n  reason, line {by_line}: {reason}",
            code = accepted.item.code(),
            line = accepted.item.line(),
            message = accepted.item.message(),
            by_line = accepted.by_line,
            reason = accepted.reason,
        );
    }
    text
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn as_json(
    diagnostics: &Diagnostics,
    compiled: Option<&CompiledPolicy>,
    broken: &[BrokenExpectation<'_>],
) -> Value {
    let tests = broken.iter().map(|it| {
        let verdict = match &it.outcome {
            ActualOutcome::Verdict(verdict) => Some(verdict),
            ActualOutcome::Answer(_) | ActualOutcome::Inside(_) => None,
        };
        json!({
            "name": it.test.name.value,
            "line": it.test.line,
            "expected": it.test.claim.expected(),
            "happens": it.outcome.to_string(),
            "because": it.because,
            "verdict": verdict.map(|verdict| verdict.action.to_string()),
            "reason": verdict.map(|verdict| verdict.reason.name()),
        })
    });
    json!({
        "policy": diagnostics.origin(),
        "in_order": compiled.is_some() && broken.is_empty(),
        "diagnostics": diagnostics.iter().map(diagnostic_json).collect::<Vec<_>>(),
        "accepted": diagnostics.accepted().iter().map(accepted_json).collect::<Vec<_>>(),
        "broken_tests": tests.collect::<Vec<_>>(),
        "table_bytes": compiled.map(CompiledPolicy::memory_bytes),
    })
}

fn accepted_json(accepted: &AcceptedWarning) -> serde_json::Value {
    let mut value = diagnostic_json(&accepted.item);
    value["reason"] = json!(accepted.reason);
    value["accepted_in_line"] = json!(accepted.by_line);
    value
}

fn diagnostic_json(diagnostic: &Diagnostic) -> serde_json::Value {
    json!({
        "severity": diagnostic.severity().as_str(),
        "code": diagnostic.code().as_str(),
        "line": diagnostic.line(),
        "column": diagnostic.column(),
        "message": diagnostic.message(),
        "help": diagnostic.help(),
    })
}

//! `offramp render` for rules: the filter's, and those of the clients' own firewall, in the words of other firewalls.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::error::{CliError, warn};
use super::input::{print_diagnostics, read_policy, refused};
use crate::files::atomic;
use crate::gateway::host::feeds;
use crate::plan::EndpointRules;
use crate::policy::Policy;
use crate::render::rules::{RenderedRules, RuleTarget, render_rules};

/// Writes the rules of the policy at `path` for `target`: into the folder `output`, or to standard output.
pub(super) fn run(
    target: RuleTarget,
    path: &Path,
    name: Option<&str>,
    output: Option<&Path>,
    json: bool,
) -> Result<ExitCode, CliError> {
    let (_, rendered) = rendered(target, path, name)?;
    rendered.warnings.iter().for_each(|warning| warn(warning));
    let written = match output {
        None => None,
        Some(folder) => {
            let place = folder.join(target.file_name());
            fs::create_dir_all(folder)
                .and_then(|()| atomic::write(&place, rendered.text.as_bytes(), 0o644))
                .map_err(|error| CliError::file("output", &place, &error))?;
            Some(place.display().to_string())
        }
    };
    if json {
        super::print_json(&json!({
            "target": target.name(),
            "rules": rendered.count,
            "warnings": rendered.warnings,
            "file": written,
            "text": rendered.text,
        }))?;
    } else if let Some(written) = written {
        let (count, bytes) = (rendered.count, rendered.text.len());
        super::print(&format!("{written}: {count} rules, {bytes} bytes\n"))?;
    } else {
        super::print(&rendered.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares the file in place with what would be written, line by line, without comments and indentation.
pub(super) fn check(
    target: RuleTarget,
    path: &Path,
    name: Option<&str>,
    file: &Path,
    json: bool,
) -> Result<ExitCode, CliError> {
    let (policy, rendered) = rendered(target, path, name)?;
    let failed = |error: String| CliError::Failed(format!("{}: {error}", file.display()));
    let bytes = feeds::read(file).map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".to_owned()))?;
    let (expected, found) = (lines(target, &rendered.text), lines(target, &text));
    let common = expected.iter().zip(&found);
    let at = common.take_while(|(left, right)| left.1 == right.1).count();
    let is_equal = expected.len() == found.len() && at == found.len();
    let (wanted, there) = (expected.get(at), found.get(at));
    if json {
        super::print_json(&json!({
            "file": file.display().to_string(),
            "target": target.name(),
            "equal": is_equal,
            "line": there.map(|line| line.0),
            "expected": wanted.map(|line| line.1),
            "found": there.map(|line| line.1),
        }))?;
    } else if is_equal {
        super::print(&format!(
            "{} has the rules of {}\n",
            file.display(),
            policy.origin
        ))?;
    } else {
        let shown = |line: Option<&(usize, &str)>| {
            let text = line.map_or("nothing", |line| line.1);
            text.chars().take(SHOWN).collect::<String>()
        };
        let place = there.map_or("its end".to_owned(), |line| format!("line {}", line.0));
        super::print(&format!(
            "{} is not what {} asks for, from {place} on\n  expected  {}\n  found     {}\n",
            file.display(),
            policy.origin,
            shown(wanted),
            shown(there),
        ))?;
    }
    Ok(if is_equal {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// The rules of the policy at `path`; what there is to say about the policy goes to standard error.
fn rendered(
    target: RuleTarget,
    path: &Path,
    name: Option<&str>,
) -> Result<(Policy, RenderedRules), CliError> {
    let (policy, mut diagnostics) = match read_policy(path)? {
        Ok(taken) => taken,
        Err(errors) => {
            print_diagnostics(&errors);
            return Err(refused(path, &errors));
        }
    };
    if target.is_for_clients() {
        // What the filter on the gateway would do is not the clients' business.
        diagnostics = diagnostics.cleared();
        let rules = EndpointRules::of(&policy);
        rules.remarks.iter().for_each(|it| diagnostics.remark(it));
    }
    print_diagnostics(&diagnostics);
    let rendered = render_rules(target, &policy, name)
        .map_err(|error| CliError::Refused(error.to_string()))?;
    Ok((policy, rendered))
}

/// The lines that say something, with their numbers.
fn lines(target: RuleTarget, text: &str) -> Vec<(usize, &str)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with(target.comment()))
        .collect()
}

/// Characters of a line that are shown.
const SHOWN: usize = 100;

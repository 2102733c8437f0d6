//! `offramp render` for names: the pin-point zones of a policy, in the words of other DNS servers.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::error::{CliError, warn};
use super::input::read_policy_alone;
use crate::files::atomic;
use crate::gateway::host::feeds;
use crate::render::{NameTarget, names_difference, render_names};

/// Writes the names of the policy at `path` for `target`: into the folder `output`, or to standard output.
pub(super) fn run(
    target: NameTarget,
    path: &Path,
    output: Option<&Path>,
    json: bool,
) -> Result<ExitCode, CliError> {
    let policy = read_policy_alone(path)?;
    let file =
        render_names(target, &policy).map_err(|error| CliError::Refused(error.to_string()))?;
    file.warnings.iter().for_each(|warning| warn(warning));
    let written = match output {
        None => None,
        Some(folder) => {
            let place = folder.join(target.file_name());
            fs::create_dir_all(folder)
                .and_then(|()| atomic::write(&place, file.text.as_bytes(), 0o644))
                .map_err(|error| CliError::file("output", &place, &error))?;
            Some(place.display().to_string())
        }
    };
    if json {
        super::print_json(&json!({
            "target": target.name(),
            "warnings": file.warnings,
            "file": written,
            "text": file.text,
        }))?;
    } else if let Some(written) = written {
        super::print(&format!("{written}\n"))?;
    } else {
        super::print(&file.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares the file in place with the names of the policy at `path`.
pub(super) fn check(
    target: NameTarget,
    path: &Path,
    file: &Path,
    json: bool,
) -> Result<ExitCode, CliError> {
    let policy = read_policy_alone(path)?;
    let failed = |error: String| CliError::Failed(format!("{}: {error}", file.display()));
    let bytes = feeds::read(file).map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".to_owned()))?;
    let difference = names_difference(target, &policy, &text).ok_or_else(|| {
        CliError::Usage(format!(
            "--check reads the files of unbound, rpz and dnsmasq-names, and none of {target}"
        ))
    })?;
    let lines = difference.map_err(|error| failed(error.to_string()))?;
    if json {
        super::print_json(&json!({
            "file": file.display().to_string(),
            "target": target.name(),
            "equal": lines.is_empty(),
            "differences": lines,
        }))?;
    } else if lines.is_empty() {
        super::print(&format!(
            "{} says of names what {} says\n",
            file.display(),
            policy.origin
        ))?;
    } else {
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        super::print(&format!(
            "{} is not what {} asks for\n{lines}",
            file.display(),
            policy.origin
        ))?;
    }
    Ok(if lines.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

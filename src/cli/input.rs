//! The files that commands read: policies, captures, and configurations of other programs.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

use anstream::ColorChoice;

use super::error::{CliError, say};
use crate::capture::{CaptureReader, Gunzip, gunzip};
use crate::files::regular;
use crate::filter::{CompileError, CompiledPolicy, Generation};
use crate::gateway::host::source::{self, load_feeds};
use crate::plan::RoutePlan;
use crate::policy::{self, Code, Diagnostics, Policy, Remark, Style, accept};
use crate::verify::against::Files;

/// Reads and compiles the policy file at `path`; the number of its warnings goes to standard error.
pub(super) fn load_policy(path: &Path) -> Result<CompiledPolicy, CliError> {
    load(path, &[], print_count)
}

/// The same for a gateway whose addresses are `own`.
pub(super) fn load_policy_at(path: &Path, own: &[IpAddr]) -> Result<CompiledPolicy, CliError> {
    load(path, own, print_count)
}

/// The same without its warnings.
pub(super) fn load_policy_quietly(path: &Path) -> Result<CompiledPolicy, CliError> {
    load(path, &[], |_| {})
}

fn load(
    path: &Path,
    own: &[IpAddr],
    show: impl Fn(&Diagnostics),
) -> Result<CompiledPolicy, CliError> {
    let (policy, mut warnings) = match read_policy(path)? {
        Ok(taken) => taken,
        Err(errors) => {
            print_diagnostics(&errors);
            return Err(refused(path, &errors));
        }
    };
    accept(&policy, &mut warnings);
    show(&warnings);
    let compiled = CompiledPolicy::at_gateway(policy, Generation(1), own);
    compiled.map_err(|error| too_large(path, error))
}

/// Compiles a policy that was read from `path`.
pub(super) fn compile(
    path: &Path,
    policy: Policy,
    generation: Generation,
) -> Result<CompiledPolicy, CliError> {
    CompiledPolicy::new(policy, generation).map_err(|error| too_large(path, error))
}

fn too_large(path: &Path, error: CompileError) -> CliError {
    CliError::Refused(format!("policy {}: {error}", path.display()))
}

/// The policy at `path` without its feeds; errors go to standard error, and warnings nowhere.
pub(super) fn read_policy_alone(path: &Path) -> Result<Policy, CliError> {
    match parse_policy(path)? {
        Ok((policy, _)) => Ok(policy),
        Err(errors) => {
            print_diagnostics(&errors);
            Err(refused(path, &errors))
        }
    }
}

/// The policy at `path` without its feeds, with its warnings, or its errors.
fn parse_policy(path: &Path) -> Result<source::Read, CliError> {
    if is_standard_input(path) {
        let mut text = Vec::new();
        let read = io::stdin().lock().take(policy::MAX_FILE_SIZE as u64 + 1);
        let read = { read }.read_to_end(&mut text);
        read.map_err(|error| unreadable(path, &error))?;
        return Ok(policy::parse("standard input", &text));
    }
    source::read_alone(path).map_err(|error| unreadable(path, &error))
}

/// Returns `true` for `-`; the feeds of such a policy are looked for in the folder of the process.
fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// The policy at `path`, its feeds loaded, with its warnings, or its errors.
pub(super) fn read_policy(path: &Path) -> Result<source::Read, CliError> {
    Ok(match parse_policy(path)? {
        Ok((policy, diagnostics)) => load_feeds(path, policy, diagnostics),
        Err(errors) => Err(errors),
    })
}

fn unreadable(path: &Path, error: &io::Error) -> CliError {
    CliError::Usage(format!("policy {}: {error}", path.display()))
}

/// A policy with the routes that follow from it.
pub(super) struct Planned {
    pub(super) policy: Policy,
    pub(super) plan: RoutePlan,
}

/// Reads the policy file at `path` and plans its routes; what there is to say about feeds and routes goes to standard
/// error, and what the filter would do is another command's business.
pub(super) fn load_plan(path: &Path) -> Result<Planned, CliError> {
    let taken = match parse_policy(path)? {
        Ok((policy, diagnostics)) => load_feeds(path, policy, diagnostics.cleared()),
        Err(errors) => Err(errors),
    };
    let (policy, mut diagnostics) = match taken {
        Ok(taken) => taken,
        Err(errors) => {
            print_diagnostics(&errors);
            return Err(refused(path, &errors));
        }
    };
    let plan = RoutePlan::new(&policy);
    for remark in remarks_on_routes(&plan) {
        diagnostics.remark(remark);
    }
    accept(&policy, &mut diagnostics);
    print_diagnostics(&diagnostics);
    if let Some(error) = plan.error() {
        return Err(CliError::Refused(format!(
            "no routes follow from {}: {}",
            path.display(),
            error.message()
        )));
    }
    Ok(Planned { policy, plan })
}

/// Prints the remarks on the routes; those on feeds that are not loaded were printed with the feed.
pub(super) fn remarks_on_routes(plan: &RoutePlan) -> impl Iterator<Item = &Remark> {
    let remarks = plan.remarks.iter();
    remarks.filter(|it| it.code() != Code::FeedNotLoaded)
}

/// That the policy at `path` has errors.
pub(super) fn refused(path: &Path, errors: &Diagnostics) -> CliError {
    let count = errors.count(policy::Severity::Error) + errors.omitted();
    let mistakes = if count == 1 {
        "1 mistake".to_owned()
    } else {
        format!("{count} mistakes")
    };
    CliError::Refused(format!("{} is refused for {mistakes}", path.display()))
}

/// Draws `diagnostics` on standard error.
pub(super) fn print_diagnostics(diagnostics: &Diagnostics) {
    if !diagnostics.is_empty() {
        let style = match anstream::AutoStream::choice(&io::stderr()) {
            ColorChoice::Never => Style::Plain,
            ColorChoice::Always | ColorChoice::AlwaysAnsi | ColorChoice::Auto => Style::Colored,
        };
        say(format_args!("{}\n", diagnostics.render(style).trim_end()));
    }
}

/// Says on standard error how many warnings there are: `offramp check` draws them.
pub(super) fn print_count(diagnostics: &Diagnostics) {
    let count = match diagnostics.count(policy::Severity::Warning) {
        0 => return,
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings"),
    };
    let origin = diagnostics.origin();
    say(format_args!(
        "{origin} has {count}: offramp check {origin}\n"
    ));
}

/// A capture file that is being read.
pub(super) struct Capture<R> {
    pub(super) reader: CaptureReader<R>,
    /// Bytes of the file, compressed or not.
    pub(super) size: u64,
}

/// Opens the capture at `path`; `watch` sees its bytes go by, for a progress bar.
pub(super) fn open_capture<W: Read>(
    path: &Path,
    watch: impl FnOnce(File) -> W,
) -> Result<Capture<Gunzip<W>>, CliError> {
    let file = regular::open(path).map_err(|error| CliError::file("capture", path, &error))?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let bytes = gunzip(watch(file)).map_err(|error| CliError::file("capture", path, &error))?;
    let reader = CaptureReader::new(bytes)
        .map_err(|error| CliError::Failed(format!("capture {}: {error}", path.display())))?;
    Ok(Capture { reader, size })
}

/// Files of this host.
pub(super) struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let bytes = regular::read(Path::new(path), MAX_FILE + 1);
        let bytes = bytes.map_err(|error| error.to_string())?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(format!("it is larger than {} MiB", MAX_FILE >> 20));
        }
        Ok(bytes)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
        let mut names: Vec<String> = entries
            .filter_map(|it| it.ok()?.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// Bytes of a file: zones of a million records are smaller.
const MAX_FILE: u64 = 16 << 20;

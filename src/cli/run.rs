//! `offramp run`: the live gateway.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use super::enforce::parse_time;
use super::error::CliError;
use super::input::{load_policy, load_policy_quietly};
use super::log_options::LogOptions;
use crate::filter::CompiledPolicy;
use crate::gateway::host::last_good::LastGood;
use crate::gateway::host::source::{PolicyPath, PolicySource as _, check_tests};
use crate::gateway::record::drops::{CaptureOptions, DropOptions};
use crate::gateway::resolver::QueryLogOptions;
use crate::gateway::run::{self as gateway, Inputs, Rehearsal, RunError};
use crate::policy::Severity;
use crate::verify::Finding;

/// Enforce the policy on the traffic of a VPN, beside its daemon
///
/// Diverts the packets of clients through a filter: nftables marks those that enter from `vpn.interfaces`, routing
/// rules send them to a tun device, and those that the policy lets pass are written back and routed as before. The
/// daemon and its configuration are not changed. SIGTERM and SIGINT (Ctrl-C) end it and remove all of it; SIGHUP, and
/// any change of the policy file, reload the policy: one with mistakes is refused, and the old one stays in force.
/// `gateway.on_failure` says what happens to traffic while offramp is down; `gateway.page` serves a status page for
/// browsers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp run /etc/offramp/policy.toml --dry-run    what a start would change, and what prevents it
  offramp run /etc/offramp/policy.toml
  offramp run /etc/offramp/policy.toml --for 10m    enforced for ten minutes, or until it ends if you say `offramp keep`
  offramp run /etc/offramp/policy.toml --capture-dropped /tmp/dropped.pcapng
  offramp run --cleanup                             after kill -9, where it is not to be started again")]
pub(super) struct Options {
    /// The policy file
    #[arg(value_name = "POLICY", required_unless_present = "cleanup")]
    policy: Option<PathBuf>,
    /// Check this host and print what a start would change, and change nothing
    #[arg(long, conflicts_with = "cleanup")]
    dry_run: bool,
    /// Enforce the policy for this time only (90s, 10m, 1h 30m), and then for nobody, unless `offramp keep` is said before
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time, conflicts_with_all = ["cleanup", "dry_run"])]
    time: Option<Duration>,
    /// Remove what a killed process left in the kernel
    #[arg(long, conflicts_with = "policy")]
    cleanup: bool,
    /// Capture what is dropped to FILE (pcapng, the reason as packet comment), and older files beside it, FILE.1 to FILE.3
    #[arg(long, value_name = "FILE", conflicts_with = "cleanup")]
    capture_dropped: Option<PathBuf>,
    /// Maximum size of all files of that capture together
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..), requires = "capture_dropped")]
    capture_size: u16,
    /// Number of bytes that the capture keeps of each packet, from its beginning; a super-packet is one packet
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u16).range(64..), requires = "capture_dropped")]
    snap_length: u16,
    #[command(flatten)]
    log: LogOptions,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let Some(path) = options.policy.as_deref() else {
        gateway::clean_up().map_err(failed)?;
        super::print("nothing that offramp has added to the kernel is left\n")?;
        return Ok(ExitCode::SUCCESS);
    };
    if path == Path::new("-") {
        let why = "a gateway reads its policy again whenever it changes, so it takes a file, and not standard input";
        return Err(CliError::Usage(why.to_owned()));
    }
    let source = Arc::new(PolicyPath(path.to_owned()));
    // Drawn warnings are for people: a log has `offramp check` for them.
    let policy = if io::stderr().is_terminal() || options.dry_run {
        load_policy(path)
    } else {
        load_policy_quietly(path)
    };
    let policy = policy.and_then(|policy| {
        let tested = check_tests(&policy);
        tested.map_err(|error| CliError::Refused(error.to_string()))?;
        Ok(policy)
    });
    if options.dry_run {
        let files = source
            .files()
            .map_err(|error| CliError::file("policy", path, &error))?;
        return rehearse(&policy?, &files, capture_options(options).as_ref());
    }
    let last_good = LastGood::of_environment(path);
    if last_good.is_none() {
        policy?;
    }
    let log = options.log.start()?;
    let ended = gateway::run(Inputs {
        source,
        last_good,
        capture: capture_options(options),
        trial: options.time,
    });
    // From here on the log is what is written to: standard error may be stuck.
    if let Err(error) = &ended {
        error!("{error}");
    }
    drop(log);
    Ok(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error).exit_code(),
    })
}

fn failed(error: RunError) -> CliError {
    match error {
        RunError::Policy(why) => CliError::Refused(why.to_string()),
        other => CliError::Failed(other.to_string()),
    }
}

fn capture_options(options: &Options) -> Option<CaptureOptions> {
    let file = options.capture_dropped.as_deref()?;
    Some(CaptureOptions {
        // What may be written to is settled by its folder.
        file: std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
        size: u64::from(options.capture_size) << 20,
        snap_length: options.snap_length.into(),
    })
}

fn rehearse(
    policy: &CompiledPolicy,
    files: &[PathBuf],
    capture: Option<&CaptureOptions>,
) -> Result<ExitCode, CliError> {
    let Rehearsal {
        mut findings,
        commands,
    } = gateway::rehearse(policy).map_err(failed)?;
    findings.extend(gateway::as_service(policy.policy(), files));
    let mut text = String::new();
    for finding in &findings {
        let Finding {
            severity,
            what,
            remedy,
            ..
        } = finding;
        text.push_str(&format!("# {severity}: {what}\n#   {remedy}\n"));
    }
    if !findings.is_empty() {
        text.push('\n');
    }
    let mut logs = DropOptions::new(&policy.policy().gateway, capture).to_string();
    if let Some(log) = QueryLogOptions::of(policy.policy()) {
        logs.push_str(&log.to_string());
    }
    if !logs.is_empty() {
        text.push_str(&logs);
        text.push('\n');
    }
    text.push_str(&commands);
    super::print(&text)?;
    let stands_in_the_way = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    Ok(if stands_in_the_way {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

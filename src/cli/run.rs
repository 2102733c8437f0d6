//! `offramp run`: the live gateway.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tracing::error;

use super::error::CliError;
use super::input::{compile, load_policy, load_policy_quietly, peek_policy, read_policy};
use super::log_options::LogOptions;
use crate::filter::{CompiledPolicy, Generation};
use crate::gateway::host::feeds;
use crate::gateway::record::drops::{CaptureOptions, DropOptions};
use crate::gateway::resolver::QueryLogOptions;
use crate::gateway::run::preflight::{Finding, Severity};
use crate::gateway::run::{self as gateway, PolicySource, RunError};
use crate::policy::{Code, Style};
use crate::verify::broken_expectations;

/// Enforce the policy on the traffic of a VPN, beside its daemon
///
/// Leads what clients send through a filter of its own: nftables marks what enters from `vpn.interfaces`, routing rules
/// lead it to a tun device, and what the policy lets pass is written back and routed as before. Nothing of the daemon's is
/// changed. SIGTERM and SIGINT (Ctrl-C) end it and remove all of it; SIGHUP, and any change of the policy file, reload the
/// policy: one with mistakes changes nothing. What happens while it is away is `gateway.on_failure`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp run /etc/offramp/policy.toml --dry-run    what it would do, and what stands in the way
  offramp run /etc/offramp/policy.toml
  offramp run /etc/offramp/policy.toml --capture-dropped /tmp/dropped.pcapng
  offramp run --cleanup                             after kill -9, where it is not to be started again")]
pub(super) struct Options {
    /// The policy file
    #[arg(value_name = "POLICY", required_unless_present = "cleanup")]
    policy: Option<PathBuf>,
    /// Print what would be done, and do nothing
    #[arg(long, conflicts_with = "cleanup")]
    dry_run: bool,
    /// Remove what a killed one left in the kernel
    #[arg(long, conflicts_with = "policy")]
    cleanup: bool,
    /// Capture what is dropped to FILE (pcapng, the reason as packet comment), and older files beside it, FILE.1 to FILE.3
    #[arg(long, value_name = "FILE", conflicts_with = "cleanup")]
    capture_dropped: Option<PathBuf>,
    /// What all files of that capture together may have
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..), requires = "capture_dropped")]
    capture_size: u16,
    /// What that capture keeps of each packet, from its beginning; a super-packet is one packet
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u16).range(64..), requires = "capture_dropped")]
    snap_length: u16,
    #[command(flatten)]
    log: LogOptions,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let Some(path) = options.policy.as_deref() else {
        gateway::clean_up().map_err(failed)?;
        super::print("removed everything that offramp had added to the kernel\n")?;
        return Ok(ExitCode::SUCCESS);
    };
    let source = PolicyPath(path);
    // Drawn warnings are for people: a log has `offramp check` for them.
    let policy = if io::stderr().is_terminal() || options.dry_run {
        load_policy(path)?
    } else {
        load_policy_quietly(path)?
    };
    check_tests(&policy).map_err(CliError::Refused)?;
    if options.dry_run {
        return rehearse(&policy, capture_options(options).as_ref());
    }
    let log = options.log.start()?;
    let ended = gateway::run(&source, capture_options(options));
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
        RunError::Policy(why) => CliError::Refused(why),
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
    capture: Option<&CaptureOptions>,
) -> Result<ExitCode, CliError> {
    let (findings, diversion) = gateway::rehearse(policy.policy()).map_err(failed)?;
    let mut text = String::new();
    for Finding {
        severity,
        what,
        advice,
    } in &findings
    {
        let word = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        text.push_str(&format!("# {word}: {what}\n#   {advice}\n"));
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
    text.push_str(&diversion.to_string());
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

/// A policy file, read anew at each reload.
pub(super) struct PolicyPath<'a>(pub(super) &'a Path);

impl PolicySource for PolicyPath<'_> {
    fn load(&self, generation: Generation) -> Result<CompiledPolicy, String> {
        let policy = match read_policy(self.0).map_err(|error| error.to_string())? {
            // A feed that is not there yet must not keep a gateway from starting; one that has gone keeps what it had.
            Ok((_, warnings))
                if generation > Generation(1)
                    && warnings.iter().any(|it| it.code() == Code::FeedNotLoaded) =>
            {
                return Err(warnings.render(Style::Plain));
            }
            Ok((policy, _)) => policy,
            Err(errors) => return Err(errors.render(Style::Plain)),
        };
        let policy = compile(self.0, policy, generation).map_err(|error| error.to_string())?;
        check_tests(&policy)?;
        Ok(policy)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.0.to_owned()];
        // A policy that cannot be read names none; what it is mended to will.
        if let Some(policy) = peek_policy(self.0) {
            files.extend(policy.feeds.iter().map(|feed| feeds::path(self.0, feed)));
        }
        files
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

/// A policy whose own tests do not hold is not taken.
pub(super) fn check_tests(policy: &CompiledPolicy) -> Result<(), String> {
    let broken = broken_expectations(policy);
    let [first, ..] = &broken[..] else {
        return Ok(());
    };
    Err(format!(
        "{} is refused: test \"{}\" expects {}, and what happens is {}: {}; `offramp check` tells more",
        policy.policy().origin,
        first.test.name.value,
        first.test.claim.expected(),
        first.outcome,
        first.because
    ))
}

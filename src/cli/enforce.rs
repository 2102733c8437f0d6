//! `offramp enforce` and `offramp keep`: have a running gateway enforce its policy for a while, and then go on with it.

use std::process::ExitCode;
use std::time::Duration;

use super::error::CliError;
use super::status::{Asked, explained};
use crate::gateway::report::control::{self, Request};
use crate::gateway::report::status::{Status, TrialState};

/// Have a running gateway enforce its policy for a limited time
///
/// For policies with `enforce = false`: their packets are dropped and their names hidden from now on, for the clients of
/// `gateway.pilot` if there are any. When the time is over the policy is enforced for nobody, unless `offramp keep` is said
/// before: who has cut himself off gets his connection back by waiting.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The time goes on over reloads. After a restart of offramp, the policy file alone counts. To begin with a start: offramp run --for.

Examples:
  offramp enforce --for 10m
  offramp enforce --for 1h /etc/offramp/policy.toml
  offramp enforce --off                             end it at once")]
#[group(skip)]
pub(super) struct Options {
    /// The time: 90s, 10m, 1h 30m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time, required_unless_present = "off")]
    time: Option<Duration>,
    /// Enforce it no longer, before the time is over
    #[arg(long, conflicts_with = "time")]
    off: bool,
    #[command(flatten)]
    gateway: Asked,
}

/// Have a running gateway go on enforcing its policy beyond the time of `offramp enforce` or `offramp run --for`
///
/// It is enforced until offramp ends; then the policy file counts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp keep
  offramp keep --control /run/offramp/second.sock")]
pub(super) struct KeepOptions {
    #[command(flatten)]
    gateway: Asked,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let Some(time) = options.time else {
        return end(&options.gateway);
    };
    let before = ask(&options.gateway, Request::Status)?;
    let enforcement = &before.enforcement;
    if enforcement.trial.is_none() && enforcement.gap.is_none() {
        return Err(CliError::Failed(format!(
            "{} is enforced already, without an end: a trial would end that; to have one, write `enforce = false` under [gateway] first",
            before.policy
        )));
    }
    let after = ask(&options.gateway, Request::Enforce(time))?;
    let is_running = |state| state == TrialState::Running;
    if !after
        .enforcement
        .trial
        .is_some_and(|it| is_running(it.state))
    {
        return Err(too_old(&after));
    }
    super::print(&format!(
        "{} is enforced for {}{}; then it is enforced for nobody, unless you say: offramp keep\n",
        after.policy,
        humantime::format_duration(time),
        match &after.enforcement.gap {
            None => String::new(),
            Some(gap) => format!(" ({gap})"),
        }
    ))?;
    if after.diversion.bypassed {
        super::print("BYPASS IS ON: everything passes all the same, until `offramp bypass off`\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn end(gateway: &Asked) -> Result<ExitCode, CliError> {
    let status = ask(gateway, Request::EndTrial)?;
    match status.enforcement.trial.map(|it| it.state) {
        Some(TrialState::Over) => {
            super::print(&format!("{} is enforced no longer\n", status.policy))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(TrialState::Running | TrialState::Kept) => Err(too_old(&status)),
        None => Err(CliError::Failed(format!(
            "nothing was enforced for a limited time; to enforce {} for nobody, write `enforce = false` under [gateway]",
            status.policy
        ))),
    }
}

pub(super) fn keep(options: &KeepOptions) -> Result<ExitCode, CliError> {
    let status = ask(&options.gateway, Request::Keep)?;
    let Some(trial) = status.enforcement.trial else {
        return Err(CliError::Failed(match &status.enforcement.gap {
            None => format!("{} is enforced already, without an end", status.policy),
            Some(gap) => {
                format!("nothing is to be kept: {gap}; `offramp enforce --for 10m` begins it")
            }
        }));
    };
    if trial.state != TrialState::Kept {
        return Err(too_old(&status));
    }
    let mut text = format!("{} stays enforced until offramp ends\n", status.policy);
    if !trial.file_enforces {
        text.push_str(
            "The file says `enforce = false`, and that counts at the next start: take the line out of it\n",
        );
    }
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn ask(gateway: &Asked, request: Request) -> Result<Status, CliError> {
    let socket = gateway.socket()?;
    control::request(&socket, request).map_err(|error| CliError::Failed(explained(&socket, &error)))
}

/// A gateway that does not do what it was asked for is of an earlier version, and sends its status.
fn too_old(status: &Status) -> CliError {
    CliError::Failed(format!(
        "the gateway that runs (offramp {}) cannot do that; restart it with this version ({})",
        status.version,
        env!("CARGO_PKG_VERSION")
    ))
}

/// Reads a time of at least a second and at most [`MAX_TIME`].
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number with its unit: 90s, 10m, 1h 30m"))?;
    if time < Duration::from_secs(1) || time > MAX_TIME || time.subsec_nanos() != 0 {
        let most = humantime::format_duration(MAX_TIME);
        return Err(format!("it takes whole seconds, from 1s to {most}"));
    }
    Ok(time)
}

/// Longest time: what is enforced for longer belongs into the file.
const MAX_TIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

//! `offramp bypass`: has a running gateway pass everything, without ending it.

use std::process::ExitCode;

use super::error::CliError;
use super::status::{Asked, explained};
use crate::gateway::report::control::{self, Request};

/// Have a running gateway pass everything unjudged, at once, or judge traffic again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The gateway goes on running; `offramp status`, its log, /readyz and its metrics say that it judges nothing.
It is off again after a restart.

Examples:
  offramp bypass on
  offramp bypass off")]
pub(super) struct Options {
    /// `on` passes everything, `off` judges traffic again
    switch: Switch,
    #[command(flatten)]
    gateway: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let wanted = options.switch == Switch::On;
    let socket = options.gateway.socket()?;
    let status = control::request(&socket, Request::Bypass(wanted))
        .map_err(|error| CliError::Failed(explained(&socket, &error)))?;
    if status.diversion.bypassed != wanted {
        return Err(CliError::Failed(
            "the gateway could not switch it; its log says why".to_owned(),
        ));
    }
    super::print(match options.switch {
        Switch::On => "bypass is on: everything passes unjudged, until `offramp bypass off`\n",
        Switch::Off => "bypass is off: traffic is judged again\n",
    })?;
    Ok(ExitCode::SUCCESS)
}

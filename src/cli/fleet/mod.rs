//! `offramp fleet`: many gateways, one policy.

mod agent;
mod keygen;
mod options;
mod publish;
mod status;

use std::process::ExitCode;

use super::error::CliError;

/// Give many gateways one policy: publish signed releases, and follow them on each gateway
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Agent(agent::Options),
    Keygen(keygen::Options),
    Publish(Box<publish::Options>),
    Promote(publish::PromoteOptions),
    Rollback(Box<publish::RollbackOptions>),
    Status(status::Options),
}

pub(super) fn run(command: &Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Agent(options) => agent::run(options),
        Command::Keygen(options) => keygen::run(options),
        Command::Publish(options) => publish::run(options),
        Command::Promote(options) => publish::promote(options),
        Command::Rollback(options) => publish::roll_back(options),
        Command::Status(options) => status::run(options),
    }
}

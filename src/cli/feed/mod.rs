//! `offramp feed`: get feeds from their publishers, and tell what a later version changes.

mod changes;
mod diff;
mod fetch;
mod profiles;

use std::process::ExitCode;

use super::error::CliError;

/// Fetch feeds from their publishers, and show what a later version changes
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Fetch(fetch::Options),
    Diff(diff::Options),
    Changes(changes::Options),
    Profiles(profiles::Options),
}

pub(super) fn run(command: &Command) -> Result<ExitCode, CliError> {
    match command {
        Command::Fetch(options) => fetch::run(options),
        Command::Diff(options) => diff::run(options),
        Command::Changes(options) => changes::run(options),
        Command::Profiles(options) => profiles::run(options),
    }
}

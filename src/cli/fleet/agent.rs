//! `offramp fleet agent`: follows a channel, and keeps this gateway's policy file.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::error::CliError;
use crate::cli::log_options::LogOptions;
use crate::gateway::fleet::agent::{Agent, AgentError, Synced};
use crate::gateway::host::rights;

/// Follow a channel of the fleet, and keep this gateway's policy file
///
/// The site file has the section fleet, which says where releases come from, and what this gateway adds to the fleet's policy:
/// the sections vpn and gateway, and dns.listen. A release is taken if it is signed by a key of fleet.public_keys, has a higher serial than the one
/// before, and passes the check with the site file, its tests included. The policy file is then replaced as a whole, and
/// `offramp run` takes it as any other change. Otherwise it stays as it is, also while the store is away.
///
/// The agent needs no rights: it drops capabilities, reads its configuration and writes its folder. docs/fleet.md has the keys of
/// the section fleet; a change of them takes effect at the next start.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp fleet agent /etc/offramp/site.toml
  offramp fleet agent --once /etc/offramp/site.toml

With --once: exit code 0 when the policy file has what the channel has, 3 when the release was refused or the channel has none, 1 when
the store does not answer.")]
pub(in crate::cli) struct Options {
    /// The site file
    #[arg(value_name = "SITE")]
    site: PathBuf,
    /// Look once, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    log: LogOptions,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let agent = Agent::new(&options.site);
    let mut agent = agent.map_err(|error| match error {
        AgentError::Site(_) => CliError::Refused(error.to_string()),
        AgentError::Spool { .. } | AgentError::Store(_) => CliError::Failed(error.to_string()),
    })?;
    let log = options.log.start()?;
    rights::limit_to_folders(&agent.reads(), &agent.writes());
    if !options.once {
        agent.run();
    }
    let synced = agent.sync();
    drop(log);
    let (synced, _) = synced.map_err(|error| CliError::Failed(error.to_string()))?;
    match synced {
        Synced::Current(serial) => {
            crate::cli::print(&format!("the policy file has release {serial}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Synced::Refused(why) => {
            CliError::Failed(why).report();
            Ok(ExitCode::from(3))
        }
        Synced::NoRelease => {
            CliError::Failed("the channel has no release".to_owned()).report();
            Ok(ExitCode::from(3))
        }
    }
}

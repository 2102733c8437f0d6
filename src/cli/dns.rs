//! `offramp dns`: the pin-point DNS server alone.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tracing::error;

use super::error::CliError;
use super::input::{load_policy, load_policy_quietly};
use super::log_options::LogOptions;
use crate::gateway::host::source::{PolicyPath, check_tests};
use crate::gateway::run::resolver_alone::{AloneError, serve_alone};

/// Answer DNS queries by the policy, without the rest of the gateway
///
/// VPN clients that ask at `dns.listen` get the public addresses of the policy's services and NXDOMAIN for internal
/// names; all other names are answered by `dns.upstreams`. `offramp run` includes this server; alone, it needs no
/// privileges except for ports below 1024, and gives up those that it has once it listens: it reads the folders of its
/// policy and writes its query log, and nothing else. SIGTERM and SIGINT (Ctrl-C) end it; SIGHUP, and any change of the policy
/// file, reload the policy.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp dns /etc/offramp/policy.toml
  offramp dns /etc/offramp/policy.toml --metrics 127.0.0.1:9465
  dig @172.16.1.1 sip.contoso.com")]
pub(super) struct Options {
    /// The policy file
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Serve /metrics for Prometheus, /healthz and /readyz at this address
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    log: LogOptions,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let path = &options.policy;
    // Drawn warnings are for people: a log has `offramp check` for them.
    let policy = if io::stderr().is_terminal() {
        load_policy(path)?
    } else {
        load_policy_quietly(path)?
    };
    check_tests(&policy).map_err(|error| CliError::Refused(error.to_string()))?;
    let log = options.log.start()?;
    let ended = serve_alone(Arc::new(PolicyPath(path.clone())), options.metrics);
    // From here on the log is what is written to: standard error may be stuck.
    if let Err(error) = &ended {
        error!("{error}");
    }
    drop(log);
    Ok(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(AloneError::Policy(why)) => CliError::Refused(why.to_string()).exit_code(),
        Err(other) => CliError::Failed(other.to_string()).exit_code(),
    })
}

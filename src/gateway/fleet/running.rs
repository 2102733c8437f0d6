//! [`Running`]: what the gateway on this host says of the release in its policy file, by its metrics.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The gateway's answer about a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    /// It judges by it.
    InForce {
        /// True if it is ready: traffic is diverted, and nothing hinders it.
        ready: bool,
    },
    /// It judges by another policy.
    Another,
    /// It does not answer.
    Silent,
}

impl Running {
    /// Asks the gateway with metrics at `address` for `serial`.
    pub(super) fn ask(address: SocketAddr, serial: u64) -> Self {
        read(address).map_or(Self::Silent, |metrics| Self::parse(&metrics, serial))
    }

    fn parse(metrics: &str, serial: u64) -> Self {
        let label = format!("serial=\"{serial}\"");
        let mut lines = metrics.lines();
        let is_in_force = lines.any(|line| {
            line.starts_with("offramp_policy_info{")
                && line.contains(&label)
                && line.ends_with(" 1")
        });
        match is_in_force {
            true => Self::InForce {
                ready: metrics.lines().any(|line| line == "offramp_ready 1"),
            },
            false => Self::Another,
        }
    }
}

fn read(address: SocketAddr) -> Option<String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        // The gateway is this host.
        .proxy(None)
        .max_redirects(0)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let url = format!("http://{}/metrics", SocketAddr::new(host, address.port()));
    let mut response = agent.get(&url).call().ok()?;
    let mut text = String::new();
    let reader = response.body_mut().as_reader();
    reader.take(MAX_METRICS).read_to_string(&mut text).ok()?;
    Some(text)
}

/// It is on this host.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than all series have.
const MAX_METRICS: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_in_force_if_the_metrics_say_so() {
        let metrics = "offramp_policy_info{serial=\"41\",sha256=\"ab\",channel=\"stable\"} 1\n\
                       offramp_ready 0\n";
        let in_force = Running::parse(metrics, 41);
        assert_eq!(in_force, Running::InForce { ready: false });
        assert_eq!(Running::parse(metrics, 4), Running::Another);
        let ready = metrics.replace("ready 0", "ready 1");
        assert_eq!(Running::parse(&ready, 41), Running::InForce { ready: true });
        assert_eq!(Running::parse("", 41), Running::Another);
    }
}

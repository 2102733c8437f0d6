//! Conditions of an installed diversion, by the kernel's own account.
//!
//! ```text
//!  routes   asked where packets of a client would go that enter at each interface of the VPN: all to the filter
//!  marks    counted where another program has changed them, and the last chain has restored them
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Diversion;
use super::route::{RoutedPacket, WayOut};
use crate::gateway::divert::names;
use crate::gateway::divert::netlink::{Link, Netlink};
use crate::policy::DivertScope;
use crate::verify::Finding;

/// Asks the kernel's routes for packets to a few destinations of the plan that enter at each interface of the VPN.
pub(super) async fn check_routes(
    diversion: &Diversion,
    netlink: &Netlink,
    device: u32,
) -> Vec<Finding> {
    let Ok(links) = netlink.links().await else {
        return Vec::new();
    };
    let mark = match diversion.media_ports.first() {
        Some(ports) => diversion.mark_of(ports.first()),
        None => diversion.mark_of(0),
    };
    let mut findings = Vec::new();
    for input in inputs(diversion, &links).into_iter().take(MAX_INTERFACES) {
        for destination in destinations(diversion) {
            let of_family = |it: &&IpNet| it.addr().is_ipv4() == destination.is_ipv4();
            let Some(pool) = diversion.clients.iter().find(of_family) else {
                continue;
            };
            let source = a_host_of(*pool);
            if source == destination {
                continue;
            }
            let packet = RoutedPacket {
                input: input.index,
                mark,
                source,
                destination,
            };
            // Another error of the kernel says that such a packet would not be forwarded at all.
            let Ok(WayOut::Interface(output)) = netlink.way_out(&packet).await else {
                continue;
            };
            if output == device {
                continue;
            }
            let output = links.iter().find(|it| it.index == output);
            let output = output.map_or("another interface", |it| it.name.as_str());
            findings.push(past_the_filter(diversion, &input.name, &packet, output));
            break;
        }
    }
    findings
}

/// Those of `links` that are up and by which clients' packets enter.
pub(super) fn inputs<'a>(diversion: &Diversion, links: &'a [Link]) -> Vec<&'a Link> {
    let is_of_clients = |name: &str| {
        let mut patterns = diversion.interfaces.iter();
        name != diversion.device && patterns.any(|it| names(it, name))
    };
    let inputs = links.iter();
    inputs
        .filter(|it| it.is_up && is_of_clients(&it.name))
        .collect()
}

fn past_the_filter(
    diversion: &Diversion,
    input: &str,
    packet: &RoutedPacket,
    output: &str,
) -> Finding {
    let RoutedPacket {
        mark,
        source,
        destination,
        ..
    } = packet;
    let family = if destination.is_ipv4() { "-4" } else { "-6" };
    Finding::host_error(
        format!(
            "what enters from {input} with the filter's mark is routed to {output}, and not to {} (asked for {destination}): it \
             is not judged",
            diversion.device
        ),
        format!(
            "look for the rule or route that comes first: `ip {family} rule`, `ip {family} route get {destination} from {source} \
             iif {input} mark {mark:#x}`; give a rule that clients' packets meet a priority above 1000"
        ),
    )
}

/// Destinations whose packets go to the filter by their mark.
fn destinations(diversion: &Diversion) -> Vec<IpAddr> {
    match diversion.scope {
        DivertScope::All => vec![ELSEWHERE.into(), ELSEWHERE_IPV6.into()],
        DivertScope::Policy | DivertScope::Suspects => {
            let diverted = match (diversion.scope, &diversion.media_ports[..]) {
                (DivertScope::Suspects, []) => &diversion.on_every_port,
                _ => &diversion.destinations,
            };
            let of_family = |is_ipv4: bool| {
                let prefixes = diverted.iter();
                let prefixes = prefixes.filter(move |it| it.addr().is_ipv4() == is_ipv4);
                prefixes.map(|it| a_host_of(*it)).take(MAX_DESTINATIONS)
            };
            of_family(true).chain(of_family(false)).collect()
        }
    }
}

/// An address of `prefix` that is hardly this host's own, which are the first ones as a rule.
fn a_host_of(prefix: IpNet) -> IpAddr {
    let last = prefix.broadcast();
    match (last, prefix.max_prefix_len() - prefix.prefix_len()) {
        (last, 0 | 1) => last,
        (IpAddr::V4(last), _) => Ipv4Addr::from_bits(last.to_bits() - 1).into(),
        (IpAddr::V6(last), _) => Ipv6Addr::from_bits(last.to_bits() - 1).into(),
    }
}

/// Packets whose mark had to be restored.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// Those of the present table, as they were counted last.
    counted: u64,
    /// The time when they were more than before.
    rose: Option<Instant>,
}

impl Restored {
    /// Takes note of the number that the table tells.
    pub(super) fn note(&mut self, counted: u64, now: Instant) {
        // A table that was written again begins at zero.
        if counted > self.counted {
            self.rose = Some(now);
        }
        self.counted = counted;
    }

    /// The finding about them, for a minute.
    pub(super) fn finding(&self, device: &str, now: Instant) -> Option<Finding> {
        (now.duration_since(self.rose?) < MEMORY).then(|| {
            Finding::host_warning(
                format!(
                    "another program changes the marks of packets on their way to {device}, behind the filter's rules: offramp \
                     restores them"
                ),
                "look at `nft list ruleset` and `iptables-legacy-save -t mangle` for rules in prerouting that set marks, and have \
                 them leave the filter's bits alone",
            )
        })
    }
}

/// Interfaces that are asked for: ocserv makes one for each client.
const MAX_INTERFACES: usize = 4;
/// Destinations of each family that are asked for.
const MAX_DESTINATIONS: usize = 4;
/// Addresses for documentation, which nobody has (RFC 5737, RFC 3849).
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const ELSEWHERE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
/// Time for which restored marks are reported.
const MEMORY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restored_marks_are_a_finding_for_a_minute() {
        let mut restored = Restored::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut is_found = |counted, seconds| {
            restored.note(counted, at(seconds));
            restored.finding("offramp0", at(seconds)).is_some()
        };
        assert!(!is_found(0, 0));
        assert!(is_found(3, 5));
        assert!(is_found(3, 60));
        assert!(!is_found(3, 65));
        assert!(!is_found(0, 70), "the table was written again");
        assert!(is_found(1, 75));
    }

    #[test]
    fn hosts_are_asked_for_at_the_end_of_a_prefix() {
        for (prefix, host) in [
            ("10.0.0.0/8", "10.255.255.254"),
            ("10.1.0.10/32", "10.1.0.10"),
            ("fd00:2::/126", "fd00:2::2"),
        ] {
            let prefix = prefix.parse().expect("a prefix");
            assert_eq!(a_host_of(prefix).to_string(), host);
        }
    }
}

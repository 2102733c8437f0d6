//! [`Blocked`]: the traffic that the rules of a client block, without what an `[[allow]]` lets pass.
//!
//! A block rule of Windows Firewall wins over every allow rule, so an exception is cut out of the block:
//!
//! ```text
//!  remote 192.168.0.0/16, allowed TCP 8080 of 192.168.5.5        192.168.0.0/16 without 192.168.5.5: everything
//!                                                           ──▶  192.168.5.5: TCP 0-8079, 8081-65535
//!                                                                192.168.5.5: UDP, all ports
//! ```
//!
//! An exception counts where the gateway's filter applies it: at a server if it lifts `servers`, elsewhere if it lifts
//! `media`, at a client by an entry that stands for clients alone, at a public address never. Other protocols than TCP
//! and UDP pass at an address that an exception has ports of.

use crate::address::{PortRange, PortSet, PrefixSet};
use crate::plan::ruleset::ports_of_option;
use crate::policy::{Allow, Policy, Protocol};

/// Remote addresses, and the traffic with them that is blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocked {
    /// The remote addresses.
    pub(super) remote: PrefixSet,
    /// The traffic.
    pub(super) traffic: BlockedTraffic,
}

/// Traffic of one rule, as Windows Firewall can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockedTraffic {
    /// Every protocol and port.
    All,
    /// A protocol, between these ports of the client and those of the other side.
    Ports {
        /// TCP or UDP.
        protocol: Protocol,
        /// The client's own ports.
        local: PortSet,
        /// Ports of the other side.
        remote: PortSet,
    },
}

impl BlockedTraffic {
    /// Returns `true` if a packet of `protocol` between these ports is blocked.
    pub fn matches(&self, protocol: Protocol, local_port: u16, remote_port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Ports {
                protocol: own,
                local,
                remote,
            } => *own == protocol && local.contains(local_port) && remote.contains(remote_port),
        }
    }
}

/// Returns what is blocked of the traffic with `remote`; of the client's own ports, only `local_ports` where some are given.
pub(super) fn blocked(
    policy: &Policy,
    public: &PrefixSet,
    remote: &PrefixSet,
    local_ports: Option<&PortSet>,
) -> Vec<Blocked> {
    let mut regions: Vec<(PrefixSet, Vec<&Allow>)> = vec![(remote.clone(), Vec::new())];
    for allow in &policy.allows {
        let effective = effective(policy, allow).subtract(public);
        let mut parts = Vec::with_capacity(regions.len());
        for (region, allows) in regions {
            let inside = region.intersect(&effective);
            if inside.is_empty() {
                parts.push((region, allows));
                continue;
            }
            let outside = region.subtract(&effective);
            if !outside.is_empty() {
                parts.push((outside, allows.clone()));
            }
            parts.push((inside, [allows, vec![allow]].concat()));
        }
        regions = parts;
    }
    let mut blocked = Vec::new();
    for (remote, allows) in regions {
        if allows.is_empty() && local_ports.is_none() {
            blocked.push(Blocked {
                remote,
                traffic: BlockedTraffic::All,
            });
            continue;
        }
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let own = local_ports.cloned().unwrap_or_else(PortSet::all);
            for (local, ports) in rectangles(&allows, protocol, &own) {
                blocked.push(Blocked {
                    remote: remote.clone(),
                    traffic: BlockedTraffic::Ports {
                        protocol,
                        local,
                        remote: ports,
                    },
                });
            }
        }
    }
    blocked
}

/// Returns the addresses at which the filter applies an `[[allow]]`, public ones not taken out.
fn effective(policy: &Policy, allow: &Allow) -> PrefixSet {
    let servers = policy.servers.iter().flat_map(|it| &it.addresses);
    let servers: PrefixSet = servers.map(|it| it.value).collect();
    let clients: PrefixSet = policy
        .vpn
        .client_subnets
        .iter()
        .map(|it| it.value)
        .collect();
    let to: PrefixSet = allow.prefixes(&policy.vpn).map(|it| it.value).collect();
    let mut effective = PrefixSet::EMPTY;
    if allow.lifts.servers {
        effective = effective.union(&to.intersect(&servers));
    }
    if allow.lifts.media {
        let between = allow.prefixes_between_clients(&policy.vpn, &clients);
        let between: PrefixSet = between.map(|it| it.value).collect();
        let media = to.subtract(&clients).union(&between).subtract(&servers);
        effective = effective.union(&media);
    }
    effective
}

/// Returns the pairs of local and remote ports that no exception lets pass, as rectangles: equal remote ports are one.
fn rectangles(allows: &[&Allow], protocol: Protocol, own: &PortSet) -> Vec<(PortSet, PortSet)> {
    let allowed: Vec<(PortSet, PortSet)> = allows
        .iter()
        .filter(|allow| allow.protocols.contains(protocol))
        .map(|allow| {
            (
                ports_of_option(&allow.from_ports),
                ports_of_option(&allow.ports),
            )
        })
        .collect();
    // Between two edges all local ports are alike to every exception.
    let mut edges: Vec<u16> = allowed.iter().flat_map(|(from, _)| from.starts()).collect();
    edges.push(0);
    edges.sort_unstable();
    edges.dedup();
    let mut rectangles: Vec<(PortSet, PortSet)> = Vec::new();
    for (at, first) in edges.iter().enumerate() {
        let last = edges.get(at + 1).map_or(u16::MAX, |next| next - 1);
        let slice: PortSet = PortRange::new(*first, last).into_iter().collect();
        let local = slice.intersect(own);
        let lifting = allowed.iter().filter(|(from, _)| from.contains(*first));
        let lifted = lifting.fold(PortSet::default(), |all, (_, to)| all.union(to));
        let remote = lifted.complement();
        if local.is_empty() || remote.is_empty() {
            continue;
        }
        match rectangles.iter_mut().find(|(_, known)| *known == remote) {
            Some((known, _)) => *known = known.union(&local),
            None => rectangles.push((local, remote)),
        }
    }
    rectangles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::EndpointRules;

    fn policy(text: &str) -> Policy {
        let text = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"192.168.0.0/16\"]\n\
             [[server]]\nname = \"Front End\"\naddresses = [\"192.168.7.5\"]\n\
             [[endpoint]]\nname = \"x\"\nprograms = ['C:\\x.exe']\n{text}"
        );
        let (policy, _) = crate::policy::parse("site.toml", text.as_bytes())
            .unwrap_or_else(|errors| panic!("{errors}"));
        policy
    }

    /// Returns `true` if a rule of the only endpoint blocks it.
    fn blocks(policy: &Policy, to: &str, protocol: Protocol, from: u16, port: u16) -> bool {
        let to = to.parse().expect("an address");
        let rules = EndpointRules::of(policy).rules;
        rules
            .iter()
            .any(|rule| rule.remote.contains(to) && rule.traffic.matches(protocol, from, port))
    }

    #[test]
    fn an_allowed_proxy_is_reached_at_its_port_alone() {
        let policy = policy(
            "[[allow]]\nname = \"proxy\"\nto = [\"192.168.5.5\"]\nprotocols = [\"tcp\"]\nports = [\"8080\"]\n",
        );
        let blocks = |to, protocol, port| blocks(&policy, to, protocol, 51_000, port);
        assert!(!blocks("192.168.5.5", Protocol::Tcp, 8080));
        assert!(blocks("192.168.5.5", Protocol::Tcp, 8079));
        assert!(blocks("192.168.5.5", Protocol::Tcp, 8081));
        assert!(blocks("192.168.5.5", Protocol::Udp, 8080));
        assert!(blocks("192.168.5.6", Protocol::Tcp, 8080));
    }

    #[test]
    fn an_exception_for_replies_of_a_service_goes_by_the_clients_own_port() {
        let policy = policy(
            "[[allow]]\nname = \"shares\"\nto = [\"192.168.0.0/16\"]\nprotocols = [\"tcp\"]\nfrom_ports = [\"445\"]\n",
        );
        assert!(!blocks(&policy, "192.168.1.1", Protocol::Tcp, 445, 50_000));
        assert!(blocks(&policy, "192.168.1.1", Protocol::Tcp, 446, 50_000));
    }

    #[test]
    fn an_exception_at_a_server_has_to_lift_servers() {
        let allow = "[[allow]]\nname = \"web\"\nto = [\"192.168.7.5\"]\nports = [\"443\"]\n";
        let media = policy(allow);
        assert!(blocks(&media, "192.168.7.5", Protocol::Tcp, 51_000, 443));
        let servers = policy(&format!("{allow}lifts = [\"servers\"]\n"));
        assert!(!blocks(&servers, "192.168.7.5", Protocol::Tcp, 51_000, 443));
    }

    #[test]
    fn clients_are_allowed_by_entries_of_their_own() {
        let wide = policy("[[allow]]\nname = \"all\"\nto = [\"172.16.0.0/12\"]\n");
        assert!(blocks(&wide, "172.16.1.9", Protocol::Udp, 51_000, 51_000));
        let own = policy("[[allow]]\nname = \"all\"\nto = [\"clients\"]\n");
        assert!(!blocks(&own, "172.16.1.9", Protocol::Udp, 51_000, 51_000));
    }

    #[test]
    fn without_an_exception_there_is_one_rule_for_everything() {
        let rules = EndpointRules::of(&policy("")).rules;
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0].traffic, BlockedTraffic::All);
    }
}

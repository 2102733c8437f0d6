//! Checks `vpn.client_subnets` against the interfaces of the VPN, and against the traffic that enters there.
//!
//! A mistyped subnet breaks nothing: no packet is a client's, so every packet passes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::address::Family;
use crate::gateway::divert::names;
use crate::packet::Traffic;
use crate::policy::Policy;
use crate::verify::Finding;

/// Finds interfaces of the VPN, of those that match `patterns`, whose networks have no address of a client. `networks` are those of
/// all interfaces.
pub(super) fn check(
    policy: &Policy,
    patterns: &[String],
    networks: &[(String, IpNet)],
) -> Vec<Finding> {
    let clients = policy.vpn.client_addresses();
    let of_vpn = networks
        .iter()
        .filter(|(name, _)| patterns.iter().any(|pattern| names(pattern, name)));
    // The first network of each family at each interface, and if one of that family has a client's address.
    let mut interfaces: BTreeMap<(Family, &str), (IpNet, bool)> = BTreeMap::new();
    for (name, network) in of_vpn {
        let key = (Family::from(network.addr()), name.as_str());
        let (_, has_clients) = interfaces.entry(key).or_insert((*network, false));
        *has_clients |= clients.overlaps(*network);
    }
    let mut findings = Vec::new();
    for family in Family::BOTH {
        let strange = interfaces
            .iter()
            .filter(|((of, _), (_, has_clients))| *of == family && !has_clients);
        let strange: Vec<(&str, IpNet)> = strange
            .map(|((_, name), (network, _))| (*name, *network))
            .collect();
        let Some((name, network)) = strange.first() else {
            continue;
        };
        let more = match strange.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more interfaces)"),
        };
        findings.push(Finding::host_warning(
            format!(
                "{name} is in {network}{more}, and vpn.client_subnets has no address there: what these clients send passes \
                 unjudged"
            ),
            format!("correct vpn.client_subnets, or add \"{network}\" if the VPN gives out addresses there"),
        ));
    }
    findings
}

/// The share of traffic that enters from the VPN's interfaces and comes from no client.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// The counts at the begin of the present window.
    since: Option<(Instant, Share)>,
    /// The last complete window, if it had traffic enough.
    last: Option<Share>,
}

/// Judged or passed packets, and those of them that are no client's, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// All packets.
    pub(super) all: u64,
    /// Those with the reason `not-a-client`.
    pub(super) strange: u64,
}

impl Share {
    /// Adds the traffic of a verdict.
    pub(super) fn add(&mut self, is_strange: bool, traffic: Traffic) {
        self.all += traffic.packets;
        self.strange += if is_strange { traffic.packets } else { 0 };
    }
}

impl Strangers {
    /// Takes the counts of now; returns a finding if too many packets of the last window were no client's.
    pub(super) fn check(&mut self, counts: Share, now: Instant) -> Option<Finding> {
        let (start, before) = *self.since.get_or_insert((now, counts));
        let window = Share {
            all: counts.all.saturating_sub(before.all),
            strange: counts.strange.saturating_sub(before.strange),
        };
        if now.duration_since(start) >= WINDOW {
            self.last = (window.all >= ENOUGH).then_some(window).or(self.last);
            self.since = Some((now, counts));
        } else if self.last.is_none() && window.all >= ENOUGH {
            // The first window is judged as soon as it has traffic: a mistake is mostly there from the start.
            self.last = Some(window);
        }
        let Share { all, strange } = self.last?;
        let percent = strange * 100 / all.max(1);
        (percent >= TOO_MANY_PERCENT).then(|| {
            Finding::host_warning(
                format!(
                    "{percent} % of the packets from the VPN's interfaces come from addresses outside vpn.client_subnets, and \
                     pass unjudged (not-a-client)"
                ),
                "add the pool that is missing: `offramp observe POLICY INTERFACE` lists the sources",
            )
        })
    }
}

/// The time over which the share is taken.
const WINDOW: Duration = Duration::from_secs(60);
/// Packets from which it says something.
const ENOUGH: u64 = 200;
/// The share from which it is told: link-local and multicast chatter stays below.
const TOO_MANY_PERCENT: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::host::sample::policy;

    fn found(networks: &[(&str, &str)]) -> Vec<String> {
        let networks: Vec<(String, IpNet)> = networks
            .iter()
            .map(|(name, network)| ((*name).to_owned(), network.parse().expect("a network")))
            .collect();
        let patterns = ["tun0", "vpns*"].map(str::to_owned);
        let findings = check(&policy(""), &patterns, &networks);
        findings.into_iter().map(|it| it.what).collect()
    }

    #[test]
    fn an_interface_with_addresses_of_clients_is_as_it_should_be() {
        assert!(found(&[("tun0", "172.16.1.0/24")]).is_empty());
        assert!(found(&[("tun0", "172.16.0.0/16")]).is_empty());
        // ocserv: the gateway's address at its end, the client's at the other
        assert!(found(&[("vpns3", "192.0.2.0/24"), ("vpns3", "172.16.1.7/32")]).is_empty());
        assert!(found(&[("eth0", "192.0.2.0/24")]).is_empty());
        assert!(found(&[]).is_empty());
    }

    #[test]
    fn an_interface_without_one_is_told_once_a_family() {
        let [one] = &found(&[("tun0", "172.61.1.0/24")])[..] else {
            panic!("one finding");
        };
        assert!(
            one.starts_with("tun0 is in 172.61.1.0/24, and vpn.client_subnets"),
            "{one}"
        );
        let several = [
            ("vpns0", "10.9.0.1/32"),
            ("vpns1", "10.9.0.2/32"),
            ("vpns1", "10.9.1.0/24"),
            ("tun0", "fd00:9::/64"),
        ];
        let [v4, v6] = &found(&several)[..] else {
            panic!("two findings");
        };
        assert!(
            v4.starts_with("vpns0 is in 10.9.0.1/32 (and 1 more interfaces)"),
            "{v4}"
        );
        assert!(v6.starts_with("tun0 is in fd00:9::/64,"), "{v6}");
    }

    /// The shares told after each count: seconds, all packets, packets of no client.
    fn told(counts: &[(u64, u64, u64)]) -> Vec<Option<String>> {
        let start = Instant::now();
        let mut strangers = Strangers::default();
        let found = counts.iter().map(|&(seconds, all, strange)| {
            let finding =
                strangers.check(Share { all, strange }, start + Duration::from_secs(seconds));
            finding.map(|it| it.what.split(' ').next().unwrap_or_default().to_owned())
        });
        found.collect()
    }

    #[test]
    fn a_share_of_strangers_is_told_once_there_is_traffic_enough() {
        let share = |percent: &str| Some(percent.to_owned());
        assert_eq!(told(&[(0, 0, 0), (3, 199, 199)]), [None, None]);
        assert_eq!(told(&[(0, 0, 0), (3, 200, 200)]), [None, share("100")]);
        assert_eq!(told(&[(0, 0, 0), (3, 1_000, 49)]), [None, None]);
        assert_eq!(told(&[(0, 0, 0), (3, 1_000, 50)]), [None, share("5")]);
        // Corrected: the next window is without them. A window without traffic says nothing.
        let counts = [
            (0, 0, 0),
            (3, 200, 200),
            (60, 400, 400),
            (120, 700, 400),
            (180, 701, 401),
        ];
        assert_eq!(
            told(&counts),
            [None, share("100"), share("100"), None, None]
        );
    }
}

//! [`Shortpath`]: session hosts whose RDP Shortpath would be cut off with the media.
//!
//! RDP Shortpath finds its way by the connectivity checks of ICE, and its ports are new for each connection. Without it a session
//! goes on over TCP. What tells it from a call is the datagram that opens a connection of [MS-RDPEUDP] in the same flow. At
//! port 3389 it needs no checks, and is a service like others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::report::{ShortpathHost, Suggestion};
use super::service::Scope;
use super::suggest;
use crate::filter::RuleTable;
use crate::packet::media::Segment;
use crate::packet::rdp_udp::opens_rdp_udp;
use crate::packet::{PacketView, Protocol, Transport};

/// Session hosts, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Shortpath {
    /// The client's addresses and ports that opened a connection to each host; retransmissions count once.
    hosts: BTreeMap<(Scope, IpAddr), BTreeSet<(IpAddr, u16)>>,
    connections: usize,
    /// True if there was no room for another connection.
    has_more: bool,
}

/// Connections kept: a site that has more needs its subnets, not a list.
const MAX_CONNECTIONS: usize = 4_096;

/// Remote Desktop over UDP at its own port.
const RDP: u16 = 3_389;

impl Shortpath {
    /// Bytes that it takes at most: nodes of a tree are at least half full.
    pub(super) const MEMORY_MAX: usize =
        4 * MAX_CONNECTIONS * size_of::<((Scope, IpAddr), BTreeSet<()>, (IpAddr, u16))>();

    /// Notes a packet that is dropped as media.
    #[inline]
    pub(super) fn record(&mut self, scope: Scope, packet: &PacketView<'_>) {
        if let Transport::Ports {
            protocol: Protocol::Udp,
            destination,
            ..
        } = packet.transport()
            && destination != RDP
            && let Some((flow, segment)) = Segment::of(packet)
            && opens_rdp_udp(segment)
        {
            self.open(scope, flow.destination().ip(), flow.source());
        }
    }

    #[cold]
    fn open(&mut self, scope: Scope, host: IpAddr, client: std::net::SocketAddr) {
        if self.connections == MAX_CONNECTIONS {
            self.has_more = true;
            return;
        }
        let clients = self.hosts.entry((scope, host)).or_default();
        self.connections += usize::from(clients.insert((client.ip(), client.port())));
    }

    /// Bytes that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        4 * self.connections * size_of::<((Scope, IpAddr), BTreeSet<()>, (IpAddr, u16))>()
    }

    /// The hosts, those with the most connections first.
    pub(super) fn report(&self) -> Vec<ShortpathHost> {
        let hosts = self.hosts.iter();
        let hosts = hosts.map(|(&(scope, address), clients)| ShortpathHost {
            address,
            scope,
            connections: clients.len() as u64,
        });
        let mut hosts: Vec<_> = hosts.collect();
        hosts.sort_by_key(|it| (std::cmp::Reverse(it.connections), it.address));
        hosts
    }

    /// The entry that keeps it to corporate hosts.
    pub(super) fn suggest_corporate(
        &self,
        rules: &RuleTable,
        earlier: &[Suggestion],
    ) -> Option<Suggestion> {
        self.suggest_for(Scope::Corporate, "RDP Shortpath", rules, earlier)
    }

    /// The entries that keep it, one for each kind of host.
    pub(super) fn suggest(&self, rules: &RuleTable, earlier: &[Suggestion]) -> Vec<Suggestion> {
        let mut suggestions = Vec::new();
        for (scope, name) in [
            (Scope::Corporate, "RDP Shortpath"),
            (Scope::Client, "RDP Shortpath between clients"),
        ] {
            suggestions.extend(self.suggest_for(scope, name, rules, earlier));
        }
        suggestions
    }

    fn suggest_for(
        &self,
        scope: Scope,
        name: &str,
        rules: &RuleTable,
        earlier: &[Suggestion],
    ) -> Option<Suggestion> {
        let hosts = self.hosts.iter().filter(|((kind, _), _)| *kind == scope);
        let hosts = hosts.map(|((_, host), clients)| (IpNet::from(*host), clients.len() as u64));
        let hosts: Vec<(IpNet, u64)> = hosts.collect();
        let has_any = !hosts.is_empty();
        has_any.then(|| suggest::shortpath(name, &hosts, self.has_more, rules, earlier))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::Audit;
    use crate::audit::testing::udp;
    use crate::filter::{Capacity, CompiledPolicy, Generation, Judge};
    use crate::packet::Received;

    fn syn() -> Vec<u8> {
        let mut payload = vec![0xff, 0xff, 0xff, 0xff, 0, 64, 0x10, 0x01, 1, 2, 3, 4];
        payload.extend([0x04, 0xd0, 0x04, 0xd0]);
        payload.resize(1_232, 0);
        payload
    }

    fn check() -> Vec<u8> {
        let mut check = vec![0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
        check.extend([7; 12]);
        check.extend([0, 6, 0, 4, b'a', b':', b'b', b'c']);
        check
    }

    fn compiled(more: &str) -> CompiledPolicy {
        let text = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n{more}"
        );
        let (policy, _) = crate::policy::parse("rdp.toml", text.as_bytes()).expect("in order");
        CompiledPolicy::new(policy, Generation(1)).expect("small")
    }

    /// The names of suggestions, their text, and hosts with connections.
    fn audit(policy: &CompiledPolicy, packets: &[Vec<u8>]) -> (Vec<String>, Vec<(String, u64)>) {
        let mut judge = Judge::new(Capacity::of(64));
        let mut audit = Audit::new();
        for bytes in packets {
            let packet = Received::whole(bytes, Duration::ZERO);
            let verdict = judge.judge_one(policy, packet);
            audit.record(verdict, packet.parse(), bytes.len());
        }
        let report = audit.report(policy);
        let hosts = report.shortpath.iter();
        let hosts = hosts.map(|it| (it.address.to_string(), it.connections));
        let suggestions = report.suggestions.into_iter().map(|it| it.toml);
        (suggestions.collect(), hosts.collect())
    }

    fn sessions() -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for (client, host) in [
            ("172.16.1.5:50000", "10.0.0.9:50100"),
            ("172.16.1.6:50000", "10.0.0.9:50101"),
            ("172.16.1.6:50002", "10.0.0.9:50103"),
            ("172.16.1.6:50001", "10.0.0.8:50102"),
        ] {
            packets.push(udp(client, host, &check()));
            // The client opens it until it is answered.
            packets.extend(vec![udp(client, host, &syn()); 3]);
        }
        packets
    }

    #[test]
    fn session_hosts_are_named_with_the_entry_that_keeps_them() {
        let (suggestions, hosts) = audit(&compiled("[media]\nmatch = \"ice\"\n"), &sessions());
        let named = |address: &str, connections| (address.to_owned(), connections);
        assert_eq!(hosts, [named("10.0.0.9", 3), named("10.0.0.8", 1)]);
        assert_eq!(
            suggestions,
            [
                "[[allow]]\nname = \"RDP Shortpath\"\nto = [\"10.0.0.8/31\"]\nprotocols = [\"udp\"]\n"
            ]
        );
        // And it does keep them.
        let kept = compiled(&format!("[media]\nmatch = \"ice\"\n{}", suggestions[0]));
        assert_eq!(audit(&kept, &sessions()), (Vec::new(), Vec::new()));
    }

    #[test]
    fn without_checks_nothing_is_dropped_and_nothing_is_said() {
        let policy = compiled("[media]\nmatch = \"ice\"\n");
        let direct = udp("172.16.1.5:50000", "10.0.0.9:3390", &syn());
        assert_eq!(audit(&policy, &[direct]), (Vec::new(), Vec::new()));
    }

    #[test]
    fn remote_desktop_at_its_own_port_is_a_service_like_others() {
        let direct = udp("172.16.1.5:50000", "10.0.0.9:3389", &syn());
        let (suggestions, hosts) = audit(&compiled(""), &[direct]);
        assert_eq!(hosts, []);
        assert!(
            suggestions[0].contains("name = \"RDP (udp 3389)\""),
            "{suggestions:?}"
        );
    }
}

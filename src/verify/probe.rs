//! [`self_test`]: packets that show if a running filter does what its policy says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::PacketBuilder;
use ipnet::IpNet;

use crate::filter::CompiledPolicy;
use crate::packet::Protocol;
use crate::packet::media::Payload;
use crate::verdict::{Action, Verdict};

/// A packet of a self-test, and what a filter must make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTestPacket {
    /// An IP packet, as a client would send it.
    pub packet: Vec<u8>,
    /// Its destination.
    pub to: SocketAddr,
    /// The verdict of the policy.
    pub verdict: Verdict,
}

/// Two packets for each family of the clients: one that the policy forwards and one that it drops, if it drops any.
///
/// They come from the first address of a client pool, which no client has.
pub fn self_test(policy: &CompiledPolicy) -> Vec<SelfTestPacket> {
    let pools = &policy.policy().vpn.client_subnets;
    let pool = |is_ipv6: bool| {
        let pools = pools.iter().map(|pool| pool.value);
        pools
            .into_iter()
            .find(|pool| pool.addr().is_ipv6() == is_ipv6)
    };
    let families = [false, true].into_iter().filter_map(pool);
    let packets = families.flat_map(|pool| {
        let from = SocketAddr::new(pool.network(), FROM_PORT);
        [Action::Forward, Action::Drop].map(|action| first(policy, from, action))
    });
    packets.flatten().collect()
}

/// The first packet from `from` that meets `action`.
fn first(policy: &CompiledPolicy, from: SocketAddr, action: Action) -> Option<SelfTestPacket> {
    let destinations = destinations(policy, from.is_ipv6(), action);
    destinations.into_iter().find_map(|to| {
        // Every value of `media.match` takes it for media.
        let payload = Payload::MicrosoftCheck;
        let answer = policy.explain_exactly(from, to, Some(Protocol::Udp), payload)?;
        (answer.verdict.action == action).then_some(())?;
        let bytes = payload.packets(Protocol::Udp).into_iter().next()?;
        Some(SelfTestPacket {
            packet: datagram(from, to, &bytes)?,
            to,
            verdict: answer.verdict,
        })
    })
}

/// Destinations that may meet `action`, the likeliest first.
fn destinations(policy: &CompiledPolicy, is_ipv6: bool, action: Action) -> Vec<SocketAddr> {
    let policy = policy.policy();
    let media = policy.media.ports.first().map_or(0, |it| it.value.first());
    let servers = policy.servers.iter().flat_map(|it| &it.addresses);
    let company = policy.corporate.subnets.iter();
    let clients = policy.vpn.client_subnets.iter();
    let prefixes = servers.chain(company).chain(clients).map(|it| it.value);
    let of_policy = prefixes
        .filter(|it| it.addr().is_ipv6() == is_ipv6)
        .map(host_in);
    match action {
        Action::Drop => of_policy.map(|to| SocketAddr::new(to, media)).collect(),
        Action::Forward => {
            let elsewhere = match is_ipv6 {
                false => ELSEWHERE.map(IpAddr::V4).to_vec(),
                true => ELSEWHERE_IPV6.map(IpAddr::V6).to_vec(),
            };
            let to = elsewhere.into_iter().chain(of_policy);
            to.map(|to| SocketAddr::new(to, DISCARD)).collect()
        }
    }
}

/// The first address of a prefix that may be a host's: that of an IPv6 subnet is its routers' (RFC 4291 §2.6.1).
fn host_in(prefix: IpNet) -> IpAddr {
    let network = prefix.network();
    let mut hosts = prefix.hosts().take(2);
    hosts.find(|host| *host != network).unwrap_or(network)
}

fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 1),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 1),
        _ => return None,
    };
    let mut bytes = Vec::new();
    let builder = ip.udp(from.port(), to.port());
    builder.write(&mut bytes, payload).ok()?;
    Some(bytes)
}

/// The source port of the packets.
const FROM_PORT: u16 = 9;
/// The discard service (RFC 863).
const DISCARD: u16 = 9;
/// Addresses for documentation, which nobody has (RFC 5737, RFC 3849).
const ELSEWHERE: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 9), Ipv4Addr::new(192, 0, 2, 9)];
const ELSEWHERE_IPV6: [Ipv6Addr; 1] = [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::filter::{Capacity, Generation, Judge};
    use crate::packet::Received;

    fn told(text: &str) -> Vec<String> {
        let (policy, _) = crate::policy::parse("probe.toml", text.as_bytes()).expect("a policy");
        let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        let of = |probe: SelfTestPacket| {
            let received = Received::whole(&probe.packet, Duration::ZERO);
            let verdict = Judge::new(Capacity::of(1)).judge_one(&policy, received);
            assert_eq!(verdict, probe.verdict, "the packet is what was asked of");
            format!("{} {}", probe.to, policy.rules().tell(verdict))
        };
        self_test(&policy).into_iter().map(of).collect()
    }

    #[test]
    fn each_family_has_a_packet_that_is_forwarded_and_one_that_is_dropped() {
        let site = "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"fd00:1::/64\"]\n\
                    [corporate]\nsubnets = [\"10.0.0.0/8\", \"fd00:2::/48\"]\n";
        for more in [
            "",
            "[media]\nmatch = \"ice\"\n",
            "[media]\nmatch = \"ice-microsoft\"\n",
        ] {
            let evidence = if more.is_empty() {
                "media"
            } else {
                "stun-check"
            };
            assert_eq!(
                told(&format!("{site}{more}")),
                [
                    "203.0.113.9:9 default".to_owned(),
                    format!("10.0.0.1:1024 media: {evidence}"),
                    "[2001:db8::9]:9 default".to_owned(),
                    format!("[fd00:2::1]:1024 media: {evidence}"),
                ]
            );
        }
    }

    #[test]
    fn a_policy_that_takes_everything_for_corporate_is_tested_at_a_port_that_it_forwards() {
        let site =
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"0.0.0.0/0\"]\n";
        assert_eq!(
            told(site),
            ["203.0.113.9:9 default", "0.0.0.1:1024 media: media"]
        );
    }

    #[test]
    fn destinations_that_meet_another_verdict_are_passed_over() {
        let site = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
                    [[server]]\nname = \"pool\"\naddresses = [\"10.1.0.10\", \"203.0.113.9\"]\n\
                    [[allow]]\nname = \"pool\"\nto = [\"10.1.0.10\"]\nlifts = [\"servers\"]\n";
        assert_eq!(
            told(site),
            ["192.0.2.9:9 default", "203.0.113.9:1024 servers: pool"]
        );
    }
}

//! [`self_test`]: packets that show if a running filter does what its policy says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader,
    PacketBuilder,
};
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
    /// Its source, an address of a client pool.
    pub from: SocketAddr,
    /// Its destination.
    pub to: SocketAddr,
    /// The verdict of the policy.
    pub verdict: Verdict,
}

impl SelfTestPacket {
    /// The same for the way through the host's IP stack: from `source`, with `id` as the transaction id of its check.
    ///
    /// Where it is to be forwarded it has an IPv4 option or an IPv6 extension header, so that every diversion has the filter judge it.
    /// It has hops enough to get to the filter, and no further than to a neighbor if it misses that.
    pub fn through_the_stack(&self, source: IpAddr, id: [u8; 12]) -> Option<Vec<u8>> {
        let mut payload = PAYLOAD.packets(Protocol::Udp).into_iter().next()?;
        payload.get_mut(8..20)?.copy_from_slice(&id);
        let plain = headers(source, self.to.ip(), HOPS)?;
        let headers = match self.verdict.action {
            Action::Forward => with_options(plain)?,
            Action::Drop => plain,
        };
        datagram(headers, self.from.port(), self.to.port(), &payload)
    }
}

/// Two packets for each family of the clients: one that the policy forwards and one that it drops, if it drops any.
///
/// They come from the first address of a client pool, which no client has.
pub fn self_test(policy: &CompiledPolicy) -> Vec<SelfTestPacket> {
    packets(policy, 1)
}

/// The same with a packet that it drops to each server, office and client subnet, up to 64 for a family.
pub fn thorough_self_test(policy: &CompiledPolicy) -> Vec<SelfTestPacket> {
    packets(policy, 64)
}

fn packets(policy: &CompiledPolicy, dropped: usize) -> Vec<SelfTestPacket> {
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
        [(Action::Forward, 1), (Action::Drop, dropped)].map(|(action, most)| {
            let prefixes = destinations(policy, from.is_ipv6(), action);
            let packet_to = move |hosts: Vec<SocketAddr>| {
                let mut hosts = hosts.into_iter();
                hosts.find_map(|to| packet(policy, from, to, action))
            };
            prefixes.filter_map(packet_to).take(most)
        })
    });
    packets.flatten().collect()
}

/// The packet from `from` to `to`, if it meets `action`.
fn packet(
    policy: &CompiledPolicy,
    from: SocketAddr,
    to: SocketAddr,
    action: Action,
) -> Option<SelfTestPacket> {
    let answer = policy.explain_exactly(from, to, Some(Protocol::Udp), PAYLOAD)?;
    (answer.verdict.action == action).then_some(())?;
    let bytes = PAYLOAD.packets(Protocol::Udp).into_iter().next()?;
    Some(SelfTestPacket {
        packet: datagram(
            headers(from.ip(), to.ip(), 1)?,
            from.port(),
            to.port(),
            &bytes,
        )?,
        from,
        to,
        verdict: answer.verdict,
    })
}

/// Destinations that may meet `action`, the likeliest first: of each prefix a few. A policy may have a million, so none is made before it
/// is asked for.
fn destinations(
    policy: &CompiledPolicy,
    is_ipv6: bool,
    action: Action,
) -> impl Iterator<Item = Vec<SocketAddr>> {
    let policy = policy.policy();
    let media = policy.media.ports.first().map_or(0, |it| it.value.first());
    let servers = policy.servers.iter().flat_map(|it| &it.addresses);
    let company = policy.corporate.subnets.iter();
    let clients = policy.vpn.client_subnets.iter();
    let prefixes = servers.chain(company).chain(clients).map(|it| it.value);
    let of_policy = prefixes
        .filter(move |it| it.addr().is_ipv6() == is_ipv6)
        .map(hosts_in);
    let elsewhere = match is_ipv6 {
        false => ELSEWHERE.map(IpAddr::V4).to_vec(),
        true => ELSEWHERE_IPV6.map(IpAddr::V6).to_vec(),
    };
    let (port, elsewhere) = match action {
        Action::Drop => (media, None),
        Action::Forward => (DISCARD, Some(elsewhere)),
    };
    let hosts = elsewhere.into_iter().chain(of_policy);
    hosts.map(move |hosts| hosts.iter().map(|to| SocketAddr::new(*to, port)).collect())
}

/// The first two addresses of a prefix that may be hosts': that of an IPv6 subnet is its routers' (RFC 4291 §2.6.1), and one that the gateway
/// has itself meets another verdict.
fn hosts_in(prefix: IpNet) -> Vec<IpAddr> {
    let network = prefix.network();
    let hosts = prefix.hosts().take(3).filter(|host| *host != network);
    let hosts: Vec<IpAddr> = hosts.take(2).collect();
    if hosts.is_empty() {
        vec![network]
    } else {
        hosts
    }
}

/// The headers of a packet that may go over so many hops.
fn headers(from: IpAddr, to: IpAddr, hops: u8) -> Option<IpHeaders> {
    Some(match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(0, hops, IpNumber::UDP, from.octets(), to.octets());
            IpHeaders::Ipv4(header.ok()?, Ipv4Extensions::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                next_header: IpNumber::UDP,
                hop_limit: hops,
                source: from.octets(),
                destination: to.octets(),
                ..Default::default()
            };
            IpHeaders::Ipv6(header, Ipv6Extensions::default())
        }
        _ => return None,
    })
}

/// The same with options that mean nothing: those of the IPv4 header, or of an IPv6 extension header.
fn with_options(headers: IpHeaders) -> Option<IpHeaders> {
    Some(match headers {
        IpHeaders::Ipv4(mut header, extensions) => {
            header.options = [NO_OPERATION; 4].into();
            IpHeaders::Ipv4(header, extensions)
        }
        IpHeaders::Ipv6(header, mut extensions) => {
            let options = Ipv6RawExtHeader::new_raw(IpNumber::UDP, &PADDING).ok()?;
            extensions.destination_options = Some(options);
            IpHeaders::Ipv6(header, extensions)
        }
    })
}

fn datagram(headers: IpHeaders, from: u16, to: u16, payload: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ip(headers).udp(from, to);
    builder.write(&mut bytes, payload).ok()?;
    Some(bytes)
}

/// Every value of `media.match` takes it for media.
const PAYLOAD: Payload = Payload::MicrosoftCheck;
/// A router forwards no packet with fewer.
const HOPS: u8 = 2;
/// The option that is one byte long and means nothing (RFC 791 §3.1).
const NO_OPERATION: u8 = 1;
/// An option that fills its header (PadN, RFC 8200 §4.2).
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

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
        told_of(text, self_test)
    }

    fn told_of(text: &str, packets: fn(&CompiledPolicy) -> Vec<SelfTestPacket>) -> Vec<String> {
        let (policy, _) = crate::policy::parse("probe.toml", text.as_bytes()).expect("a policy");
        let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        let of = |probe: SelfTestPacket| {
            let received = Received::whole(&probe.packet, Duration::ZERO);
            let verdict = Judge::new(Capacity::of(1)).judge_one(&policy, received);
            assert_eq!(verdict, probe.verdict, "the packet is what was asked of");
            let source = policy.policy().vpn.client_subnets.iter();
            let source = source
                .map(|it| it.value)
                .find(|it| it.contains(&probe.from.ip()));
            let source = hosts_in(source.expect("it is a client's"))[0];
            let other = probe.through_the_stack(source, *b"offramp-self");
            let other = other.expect("a host of the same family");
            let verdict = Judge::new(Capacity::of(1))
                .judge_one(&policy, Received::whole(&other, Duration::ZERO));
            assert_eq!(verdict, probe.verdict, "so is the one for the host's stack");
            format!("{} {}", probe.to, policy.rules().tell(verdict))
        };
        packets(&policy).into_iter().map(of).collect()
    }

    #[test]
    fn addresses_of_the_gateway_itself_are_passed_over() {
        let site = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n";
        let (policy, _) = crate::policy::parse("own.toml", site.as_bytes()).expect("a policy");
        let own = ["10.0.0.1", "172.16.1.1"].map(|it| it.parse().expect("an address"));
        let policy = CompiledPolicy::at_gateway(policy, Generation(1), &own);
        let packets = thorough_self_test(&policy.expect("a small policy"));
        let to: Vec<String> = packets.iter().map(|it| it.to.to_string()).collect();
        assert_eq!(to, ["203.0.113.9:9", "10.0.0.2:1024", "172.16.1.2:1024"]);
    }

    #[test]
    fn a_thorough_one_asks_for_every_prefix_that_is_stopped() {
        let site = "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"172.16.2.0/24\"]\n\
                    [corporate]\nsubnets = [\"10.0.0.0/8\", \"192.168.7.0/24\"]\n\
                    [[server]]\nname = \"pool\"\naddresses = [\"10.1.0.10\", \"10.1.0.11\"]\n";
        assert_eq!(
            told_of(site, thorough_self_test),
            [
                "203.0.113.9:9 default",
                "10.1.0.10:1024 servers: pool",
                "10.1.0.11:1024 servers: pool",
                "10.0.0.1:1024 media: media",
                "192.168.7.1:1024 media: media",
                "172.16.1.1:1024 hairpin: media",
                "172.16.2.1:1024 hairpin: media",
            ]
        );
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

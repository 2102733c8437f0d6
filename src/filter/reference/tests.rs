//! Hand-written packets, judged by one policy.

use std::time::Duration;

use super::ReferenceFilter;
use crate::filter::RuleTable;
use crate::policy::{
    Allow, Corporate, Destination, DnsOptions, FilterOptions, GatewayOptions, Ipv6Intent,
    LeakedPublic, Lifts, MediaMatch, MediaOptions, Policy, PortRange, ProtocolSet, PublicService,
    RouteOptions, Server, Sourced, UnknownSource, VpnOptions,
};
use crate::verdict::{Action, Reason, Verdict};

mod fragments;
mod headers;

// IPv4 addresses of the test policy.
const CLIENT: [u8; 4] = [172, 16, 1, 7];
const OTHER_CLIENT: [u8; 4] = [172, 16, 1, 8];
const STRANGER: [u8; 4] = [192, 168, 0, 1];
const CORPORATE: [u8; 4] = [10, 2, 3, 4];
const SERVER: [u8; 4] = [10, 1, 0, 10];
/// A server address whose port 443 an allow lifts.
const LIFTED_SERVER: [u8; 4] = [10, 1, 0, 20];
/// A server address that is not corporate.
const OUTSIDE_SERVER: [u8; 4] = [198, 51, 100, 1];
const PUBLIC: [u8; 4] = [167, 55, 49, 32];
const INTERNET: [u8; 4] = [203, 0, 113, 1];

// IPv6 addresses of the test policy, as the last two bytes of `fd00::/112`.
const CLIENT6: u16 = 0x0107;
const CORPORATE6: u16 = 0x0a01;
const SERVER6: u16 = 0x0a10;
const INTERNET6: u16 = 0xffff;
const ROUTER6: u16 = 0xfffe;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// MF, in the field of flags and offset.
const MORE: u16 = 0x2000;

fn at_line<T>(value: T) -> Sourced<T> {
    Sourced { value, line: 1 }
}

fn prefixes(texts: &[&str]) -> Vec<Sourced<ipnet::IpNet>> {
    let parse = |text: &&str| at_line(text.parse().expect("a prefix"));
    texts.iter().map(parse).collect()
}

fn destinations(texts: &[&str]) -> Vec<Sourced<Destination>> {
    let prefixes = prefixes(texts).into_iter();
    prefixes
        .map(|it| at_line(Destination::Prefix(it.value)))
        .collect()
}

fn ports(first: u16, last: u16) -> Vec<Sourced<PortRange>> {
    vec![at_line(PortRange::new(first, last).expect("a range"))]
}

fn server(name: &str, addresses: &[&str]) -> Server {
    Server {
        name: at_line(name.to_owned()),
        addresses: prefixes(addresses),
        hosts: Vec::new(),
    }
}

fn allow(name: &str, to: &[&str], destination_ports: Vec<Sourced<PortRange>>) -> Allow {
    Allow {
        name: at_line(name.to_owned()),
        to: destinations(to),
        protocols: ProtocolSet::Both,
        ports: destination_ports,
        from_ports: vec![at_line(PortRange::ALL)],
        lifts: Lifts {
            media: true,
            servers: false,
        },
    }
}

fn test_policy() -> Policy {
    Policy {
        origin: "test.toml".to_owned(),
        vpn: VpnOptions {
            interfaces: vec![at_line("tun0".to_owned())],
            client_subnets: prefixes(&["172.16.1.0/24", "fd00::100/120"]),
            ipv6: Ipv6Intent::Auto,
        },
        corporate: Corporate {
            subnets: prefixes(&["10.0.0.0/8", "fd00::a00/120"]),
            dns_servers: Vec::new(),
        },
        media: MediaOptions {
            ports: ports(1024, 65535),
            recognition: MediaMatch::Ports,
            protocols: ProtocolSet::Both,
        },
        filter: FilterOptions::default(),
        servers: vec![
            server("pool", &["10.1.0.0/27", "198.51.100.1/32", "fd00::a10/128"]),
            server("front end", &["10.1.0.10/32"]),
            server("front end again", &["10.1.0.10/32"]),
        ],
        allows: vec![
            allow("remote desktop", &["10.9.0.0/24"], ports(3389, 3389)),
            Allow {
                from_ports: ports(1, 1023),
                ..allow("replies", &["10.9.0.0/24"], Vec::new())
            },
            Allow {
                lifts: Lifts {
                    media: false,
                    servers: true,
                },
                protocols: ProtocolSet::Tcp,
                ..allow("web of a server", &["10.1.0.20/32"], ports(443, 443))
            },
        ],
        publics: vec![PublicService {
            name: at_line("access edge".to_owned()),
            addresses: prefixes(&["167.55.49.32/32"]),
            hosts: Vec::new(),
            srv: Vec::new(),
        }],
        feeds: Vec::new(),
        routes: RouteOptions::default(),
        dns: DnsOptions::default(),
        gateway: GatewayOptions::default(),
        endpoints: Vec::new(),
        tests: Vec::new(),
        accepts: Vec::new(),
    }
}

/// An IPv4 packet with a header of 20 bytes, id 77 and a total length that fits.
fn ipv4(to: [u8; 4], protocol: u8, flags_and_offset: u16, payload: &[u8]) -> Vec<u8> {
    ipv4_with_options(to, protocol, flags_and_offset, &[], payload)
}

fn ipv4_with_options(
    to: [u8; 4],
    protocol: u8,
    flags_and_offset: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let total = (20 + options.len() + payload.len()) as u8;
    let [high, low] = flags_and_offset.to_be_bytes();
    let [a, b, c, d] = CLIENT;
    let [e, f, g, h] = to;
    let first = 0x45 + (options.len() / 4) as u8;
    let mut packet = vec![
        first, 0, 0, total, 0, 77, high, low, 64, protocol, 0, 0, a, b, c, d, e, f, g, h,
    ];
    packet.extend(options);
    packet.extend(payload);
    packet
}

fn ipv4_from(from: [u8; 4], mut packet: Vec<u8>) -> Vec<u8> {
    packet[12..16].copy_from_slice(&from);
    packet
}

/// An IPv6 packet from the client, with a payload length that fits.
fn ipv6(to: u16, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next_header, 64];
    for last in [CLIENT6, to] {
        let [high, low] = last.to_be_bytes();
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]);
    }
    packet.extend(payload);
    packet
}

/// A UDP header from port 60000, length 8, no checksum.
fn udp(port: u16) -> [u8; 8] {
    let [high, low] = port.to_be_bytes();
    [0xea, 0x60, high, low, 0, 8, 0, 0]
}

/// A fragment header (RFC 8200 §4.5) of id 77.
fn fragment(next_header: u8, offset: u16, more: u16) -> [u8; 8] {
    let [high, low] = (offset | more).to_be_bytes();
    [next_header, 0, high, low, 0, 0, 0, 77]
}

/// Destination options of 8 bytes (RFC 8200 §4.6): one PadN of 4.
fn destination_options(next_header: u8) -> [u8; 8] {
    [next_header, 0, 1, 4, 0, 0, 0, 0]
}

/// Routing header of 8 bytes (RFC 8200 §4.4).
fn routing(next_header: u8, kind: u8, segments_left: u8) -> [u8; 8] {
    [next_header, 0, kind, segments_left, 0, 0, 0, 0]
}

fn judge_under(policy: &Policy, packet: &[u8]) -> Verdict {
    ReferenceFilter::new(policy).judge(packet, packet.len(), Duration::ZERO)
}

fn judge(packet: &[u8]) -> Verdict {
    judge_under(&test_policy(), packet)
}

fn snapped(packet: &[u8], captured: usize) -> Verdict {
    ReferenceFilter::new(&test_policy()).judge(&packet[..captured], packet.len(), Duration::ZERO)
}

/// The verdicts on `packets`, a second apart.
fn judge_all(packets: &[Vec<u8>]) -> Vec<Verdict> {
    let mut filter = ReferenceFilter::new(&test_policy());
    let at = |(second, packet): (u64, &Vec<u8>)| {
        filter.judge(packet, packet.len(), Duration::from_secs(second))
    };
    (0..).zip(packets).map(at).collect()
}

fn rules() -> RuleTable {
    RuleTable::new(&test_policy())
}

fn media() -> Verdict {
    Verdict::drop(Reason::Media).by(rules().media())
}

fn tiny() -> Verdict {
    Verdict::drop(Reason::TinyFragment).by(rules().media())
}

const DEFAULT: Verdict = Verdict::forward(Reason::Default);
const MALFORMED: Verdict = Verdict::drop(Reason::Malformed);
const SOURCE_ROUTED: Verdict = Verdict::drop(Reason::SourceRouted);

// The order of the verdicts.

#[test]
fn udp_and_tcp_to_a_media_port_of_a_corporate_host_are_media() {
    assert_eq!(judge(&ipv4(CORPORATE, UDP, 0, &udp(50_000))), media());
    assert_eq!(judge(&ipv4(CORPORATE, TCP, 0, &udp(50_000))), media());
    assert_eq!(judge(&ipv6(CORPORATE6, UDP, &udp(50_000))), media());
}

#[test]
fn a_media_port_of_another_client_is_a_hairpin() {
    let verdict = judge(&ipv4(OTHER_CLIENT, UDP, 0, &udp(50_000)));

    assert_eq!(verdict, Verdict::drop(Reason::Hairpin).by(rules().media()));
}

#[test]
fn a_client_that_is_corporate_too_is_a_hairpin() {
    let mut policy = test_policy();
    policy.corporate.subnets = prefixes(&["172.16.0.0/12"]);

    let verdict = judge_under(&policy, &ipv4(OTHER_CLIENT, UDP, 0, &udp(50_000)));

    assert_eq!(verdict.reason, Reason::Hairpin);
}

#[test]
fn a_packet_to_oneself_is_a_hairpin() {
    assert_eq!(
        judge(&ipv4(CLIENT, UDP, 0, &udp(50_000))).reason,
        Reason::Hairpin
    );
}

#[test]
fn the_edges_of_the_media_ports_belong_to_them() {
    for (port, expected) in [
        (0, DEFAULT),
        (1023, DEFAULT),
        (1024, media()),
        (65_535, media()),
    ] {
        assert_eq!(judge(&ipv4(CORPORATE, UDP, 0, &udp(port))), expected);
    }
}

#[test]
fn a_server_is_blocked_on_all_ports_and_the_longest_prefix_names_it() {
    let front_end = Verdict::drop(Reason::Servers).by(rules().server(1));
    let pool = Verdict::drop(Reason::Servers).by(rules().server(0));

    assert_eq!(judge(&ipv4(SERVER, TCP, 0, &udp(443))), front_end);
    assert_eq!(judge(&ipv4([10, 1, 0, 11], TCP, 0, &udp(443))), pool);
    assert_eq!(judge(&ipv4(OUTSIDE_SERVER, UDP, 0, &udp(0))), pool);
    assert_eq!(judge(&ipv6(SERVER6, UDP, &udp(53))), pool);
}

#[test]
fn an_allow_that_lifts_servers_opens_its_ports_only() {
    let lifted = Verdict::forward(Reason::Allow).by(rules().allow(2));
    let dropped = Verdict::drop(Reason::Servers).by(rules().server(0));

    assert_eq!(judge(&ipv4(LIFTED_SERVER, TCP, 0, &udp(443))), lifted);
    assert_eq!(judge(&ipv4(LIFTED_SERVER, TCP, 0, &udp(444))), dropped);
    assert_eq!(judge(&ipv4(LIFTED_SERVER, UDP, 0, &udp(443))), dropped);
}

#[test]
fn an_allow_lifts_media_of_clients_by_what_lies_inside_their_subnets() {
    let to_client = |to: &[&str]| {
        let mut policy = test_policy();
        policy.allows = vec![allow("help", to, Vec::new())];
        judge_under(&policy, &ipv4(OTHER_CLIENT, UDP, 0, &udp(50_000))).reason
    };

    assert_eq!(to_client(&["172.16.1.0/24"]), Reason::Allow);
    assert_eq!(to_client(&["172.16.1.8/32"]), Reason::Allow);
    assert_eq!(to_client(&["172.16.0.0/16"]), Reason::Hairpin);
    assert_eq!(
        to_client(&["172.16.0.0/16", "172.16.1.0/25"]),
        Reason::Allow
    );
}

#[test]
fn the_word_for_all_clients_lifts_media_of_each() {
    let mut policy = test_policy();
    policy.allows = vec![Allow {
        to: vec![at_line(Destination::Clients)],
        ..allow("help", &[], Vec::new())
    }];
    let reason = |packet: &[u8]| judge_under(&policy, packet).reason;

    assert_eq!(
        reason(&ipv4(OTHER_CLIENT, UDP, 0, &udp(50_000))),
        Reason::Allow
    );
    assert_eq!(reason(&ipv6(CLIENT6, UDP, &udp(50_000))), Reason::Allow);
    assert_eq!(
        reason(&ipv4(CORPORATE, UDP, 0, &udp(50_000))),
        Reason::Media
    );
}

#[test]
fn a_server_that_an_allow_lifts_is_not_judged_as_media() {
    let mut policy = test_policy();
    policy.allows[2].ports = ports(5061, 5061);

    let verdict = judge_under(&policy, &ipv4(LIFTED_SERVER, TCP, 0, &udp(5061)));

    assert_eq!(verdict.reason, Reason::Allow);
}

#[test]
fn the_first_allow_in_the_file_is_named() {
    let to_jump_host = |source: u16, destination: u16| {
        let [a, b] = source.to_be_bytes();
        let [c, d] = destination.to_be_bytes();
        judge(&ipv4([10, 9, 0, 1], TCP, 0, &[a, b, c, d]))
    };
    let allowed = |position| Verdict::forward(Reason::Allow).by(rules().allow(position));

    assert_eq!(to_jump_host(445, 3389), allowed(0));
    assert_eq!(to_jump_host(60_000, 3389), allowed(0));
    assert_eq!(to_jump_host(1023, 3390), allowed(1));
    assert_eq!(to_jump_host(1024, 3390), media());
    assert_eq!(to_jump_host(445, 80), DEFAULT);
}

#[test]
fn a_public_service_is_forwarded_whatever_the_protocol() {
    let public = Verdict::forward(Reason::Public).by(rules().public(0));

    assert_eq!(judge(&ipv4(PUBLIC, UDP, 0, &udp(3478))), public);
    assert_eq!(judge(&ipv4(PUBLIC, ICMP, 0, &[8, 0, 0, 0])), public);
    assert_eq!(judge(&ipv4(PUBLIC, UDP, MORE, &[])), public);
    assert_eq!(judge(&ipv4(PUBLIC, UDP, 1, &[])), public);
}

#[test]
fn a_leaked_public_packet_is_dropped_where_the_policy_says_so() {
    let mut policy = test_policy();
    policy.filter.leaked_public = LeakedPublic::Drop;

    let verdict = judge_under(&policy, &ipv4(PUBLIC, UDP, 0, &udp(3478)));

    assert_eq!(verdict.action, Action::Drop);
    assert_eq!(verdict.reason, Reason::Public);
}

#[test]
fn a_public_service_comes_before_a_server() {
    let mut policy = test_policy();
    policy.publics[0].addresses = prefixes(&["10.1.0.10/32"]);

    let verdict = judge_under(&policy, &ipv4(SERVER, TCP, 0, &udp(443)));

    assert_eq!(verdict.reason, Reason::Public);
}

#[test]
fn a_stranger_is_forwarded_or_dropped_as_the_policy_says() {
    let packet = ipv4_from(STRANGER, ipv4(SERVER, UDP, 0, &udp(50_000)));
    let mut strict = test_policy();
    strict.filter.unknown_source = UnknownSource::Drop;

    assert_eq!(judge(&packet), Verdict::forward(Reason::NotAClient));
    assert_eq!(
        judge_under(&strict, &packet),
        Verdict::drop(Reason::SpoofedSource)
    );
}

#[test]
fn a_malformed_packet_of_a_stranger_is_malformed() {
    let mut packet = ipv4_from(STRANGER, ipv4(SERVER, UDP, 0, &udp(50_000)));
    packet[3] = 200;

    assert_eq!(judge(&packet), MALFORMED);
}

#[test]
fn a_source_routed_packet_of_a_stranger_is_not_a_client() {
    let options = [131, 7, 4, 10, 0, 0, 1, 0];
    let packet = ipv4_with_options(PUBLIC, UDP, 0, &options, &udp(1));

    assert_eq!(
        judge(&ipv4_from(STRANGER, packet)),
        Verdict::forward(Reason::NotAClient)
    );
}

#[test]
fn what_no_rule_speaks_of_is_forwarded() {
    assert_eq!(judge(&ipv4(INTERNET, UDP, 0, &udp(50_000))), DEFAULT);
    assert_eq!(judge(&ipv6(INTERNET6, UDP, &udp(50_000))), DEFAULT);
    assert_eq!(judge(&ipv4([224, 0, 0, 251], UDP, 0, &udp(5353))), DEFAULT);
}

#[test]
fn a_mapped_ipv4_address_is_an_ipv6_address() {
    let mut packet = ipv6(CORPORATE6, UDP, &udp(50_000));
    packet[24..40].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 10]);

    assert_eq!(judge(&packet), DEFAULT);
}

fn judge_at_gateway(policy: &Policy, own: [u8; 4], packet: &[u8]) -> Verdict {
    let mut filter = ReferenceFilter::at_gateway(policy, &[own.into()]);
    filter.judge(packet, packet.len(), Duration::ZERO)
}

#[test]
fn the_gateway_receives_whatever_is_sent_to_its_own_addresses() {
    let policy = test_policy();
    let judge = |own, packet: &[u8]| judge_at_gateway(&policy, own, packet);
    let gateway = Verdict::forward(Reason::Gateway);

    for own in [OTHER_CLIENT, CORPORATE, INTERNET] {
        assert_eq!(judge(own, &ipv4(own, UDP, 0, &udp(50_000))), gateway);
        assert_eq!(judge(own, &ipv4(own, TCP, 0, &[])), gateway);
        assert_eq!(judge(own, &ipv4(own, ICMP, 0, &[8, 0, 0, 0])), gateway);
        assert_eq!(judge(own, &ipv4(own, UDP, MORE, &[])), gateway);
        assert_eq!(judge(own, &ipv4(own, UDP, 1, &[])), gateway);
    }
    let beside = ipv4(CORPORATE, UDP, 0, &udp(50_000));
    assert_eq!(judge(OTHER_CLIENT, &beside), media());
}

#[test]
fn a_server_that_is_the_gateway_is_named_by_its_address_and_not_by_a_prefix() {
    let mut policy = test_policy();
    let packet = ipv4(SERVER, TCP, 0, &udp(443));

    let by_address = judge_at_gateway(&policy, SERVER, &packet);
    policy.servers.truncate(1);
    let by_prefix = judge_at_gateway(&policy, SERVER, &packet);

    assert_eq!(by_address.reason, Reason::Servers);
    assert_eq!(by_prefix, Verdict::forward(Reason::Gateway));
}

#[test]
fn source_routes_and_public_services_come_before_the_gateway() {
    let policy = test_policy();
    let options = [131, 7, 4, 10, 0, 0, 1, 0];
    let routed = ipv4_with_options(CORPORATE, UDP, 0, &options, &udp(1));
    let stranger = ipv4_from(STRANGER, ipv4(CORPORATE, UDP, 0, &udp(50_000)));
    let leaked = ipv4(PUBLIC, UDP, 0, &udp(3478));
    let reason = |own, packet: &[u8]| judge_at_gateway(&policy, own, packet).reason;

    assert_eq!(reason(CORPORATE, &routed), Reason::SourceRouted);
    assert_eq!(reason(CORPORATE, &stranger), Reason::NotAClient);
    assert_eq!(reason(PUBLIC, &leaked), Reason::Public);
}

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::IpAddr;
use std::time::Duration;

use super::testing::{tcp, udp};
use super::*;
use crate::filter::{Capacity, Generation, Judge};
use crate::packet::Received;
use crate::policy::PortRange;

const POLICY: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
[corporate]
subnets = ["10.0.0.0/8", "fd00:2::/64"]
[[server]]
name = "Front End pool"
addresses = ["10.1.0.10"]
[[allow]]
name = "SQL Server (tcp 1433)"
to = ["10.7.0.1"]
ports = ["1433"]
[[public]]
name = "Access Edge"
addresses = ["167.55.49.32"]
"#;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const RTP: [u8; 20] = [0x80; 20];

fn compile(text: &str) -> CompiledPolicy {
    let (policy, _) = crate::policy::parse("policy.toml", text.as_bytes())
        .unwrap_or_else(|refused| panic!("{}", refused.render(crate::policy::Style::Plain)));
    CompiledPolicy::new(policy, Generation(1)).unwrap()
}

fn judge(policy: &CompiledPolicy, packet: &[u8]) -> Verdict {
    Judge::new(Capacity::of(4)).judge_one(policy, Received::whole(packet, Duration::ZERO))
}

fn audit(policy: &CompiledPolicy, packets: &[Vec<u8>]) -> Audit {
    let mut audit = Audit::new();
    for packet in packets {
        let verdict = judge(policy, packet);
        audit.record(verdict, PacketView::parse(packet), packet.len());
    }
    audit
}

fn report(packets: &[Vec<u8>]) -> Report {
    let policy = compile(POLICY);
    audit(&policy, packets).report(&policy)
}

/// The only service of the report.
fn only(packets: &[Vec<u8>]) -> CutService {
    let mut report = report(packets);
    assert_eq!(report.cut_off.len(), 1, "{report:#?}");
    report.cut_off.remove(0)
}

fn ports(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).unwrap()
}

#[test]
fn packets_and_bytes_are_counted_by_action_and_reason() {
    let sql = tcp("172.16.1.5:50000", "10.0.0.9:1433", ACK, b"select");
    let web = tcp("172.16.1.5:50001", "10.0.0.9:443", ACK, b"");
    let report = report(&[sql.clone(), sql.clone(), web.clone()]);
    let rows: Vec<_> = report
        .reasons
        .iter()
        .map(|row| (row.action, row.reason, row.traffic, row.flows))
        .collect();
    let tally = |packets, bytes: usize| Tally {
        packets,
        bytes: bytes as u64,
    };
    assert_eq!(
        rows,
        [
            (
                Action::Drop,
                Reason::Media,
                tally(2, 2 * sql.len()),
                Estimate::exactly(1)
            ),
            (
                Action::Forward,
                Reason::Default,
                tally(1, web.len()),
                Estimate::exactly(1)
            ),
        ]
    );
    assert_eq!(report.judged.packets, 3);
    assert_eq!(report.dropped, tally(2, 2 * sql.len()));
    assert_eq!(report.forwarded, tally(1, web.len()));
}

#[test]
fn rules_are_counted_by_name_in_file_order() {
    let report = report(&[
        tcp("172.16.1.5:50000", "167.55.49.32:443", SYN, b""),
        tcp("172.16.1.5:50000", "10.7.0.1:1433", SYN, b""),
        tcp("172.16.1.5:50000", "10.1.0.10:5061", SYN, b""),
        tcp("172.16.1.5:50000", "10.0.0.9:1433", SYN, b""),
    ]);
    let rows: Vec<_> = report
        .rules
        .iter()
        .map(|row| (row.kind, row.name.as_str(), row.traffic.packets))
        .collect();
    assert_eq!(
        rows,
        [
            (RuleKind::Server, "Front End pool", 1),
            (RuleKind::Allow, "SQL Server (tcp 1433)", 1),
            (RuleKind::Public, "Access Edge", 1),
        ]
    );
}

#[test]
fn a_malformed_packet_counts_with_its_length_on_the_wire() {
    let policy = compile(POLICY);
    let mut audit = Audit::new();
    audit.record(
        Verdict::drop(Reason::Malformed),
        PacketView::parse(&[0x45]),
        1_400,
    );
    audit.skip();
    audit.miss(2);
    let report = audit.report(&policy);
    assert_eq!(report.dropped.bytes, 1_400);
    assert_eq!((report.skipped, report.missed), (1, 2));
}

#[test]
fn a_named_destination_port_is_a_service_that_clients_call() {
    let service = only(&[
        tcp("172.16.1.5:50000", "10.0.0.9:3389", SYN, b""),
        tcp("172.16.1.5:50000", "10.0.0.9:3389", ACK, b""),
        tcp("172.16.1.6:50000", "10.0.0.8:3389", ACK, b""),
    ]);
    assert_eq!(service.name, Some("RDP"));
    assert_eq!(
        (service.nature, service.role),
        (Nature::Service, Role::Request)
    );
    assert_eq!(service.flows, Estimate::exactly(2));
    assert_eq!(service.destinations, Estimate::exactly(2));
    let top: Vec<IpAddr> = service.top.iter().map(|host| host.address).collect();
    assert_eq!(
        top,
        [IpAddr::from([10, 0, 0, 9]), IpAddr::from([10, 0, 0, 8])]
    );
}

#[test]
fn a_reply_of_a_service_on_the_client_is_told_from_a_call() {
    let service = only(&[tcp("172.16.1.5:3389", "10.0.0.9:50123", ACK, b"")]);
    assert_eq!((service.name, service.role), (Some("RDP"), Role::Reply));
}

#[test]
fn a_flow_stays_what_its_syn_said() {
    let service = only(&[
        tcp("172.16.1.5:2000", "10.0.0.9:8765", SYN, b""),
        tcp("172.16.1.5:2000", "10.0.0.9:8765", ACK, b""),
    ]);
    assert_eq!(
        (service.ports, service.role),
        (PortRange::single(8765), Role::Request)
    );
    assert_eq!(service.traffic.packets, 2);
}

#[test]
fn dynamic_ports_of_a_host_whose_endpoint_mapper_was_called_are_windows_rpc() {
    let service = only(&[
        tcp("172.16.1.5:50000", "10.0.0.9:135", ACK, b"map"),
        tcp("172.16.1.5:50001", "10.0.0.9:49670", SYN, b""),
    ]);
    assert_eq!(service.name, Some("Windows RPC"));
    assert_eq!(service.ports, ports(49_152, 65_535));
    assert_eq!(service.nature, Nature::Service);
}

#[test]
fn dynamic_ports_that_several_clients_call_are_windows_rpc() {
    let service = only(&[
        tcp("172.16.1.5:50001", "10.0.0.9:49670", SYN, b""),
        tcp("172.16.1.6:50001", "10.0.0.9:49670", SYN, b""),
    ]);
    assert_eq!(service.name, Some("Windows RPC"));
}

#[test]
fn many_dynamic_ports_of_one_host_are_windows_rpc_where_it_answers() {
    let calls = |flags| -> Vec<_> {
        (49_670..49_680)
            .map(|port| tcp("172.16.1.5:50001", &format!("10.0.0.9:{port}"), flags, b""))
            .collect()
    };
    assert_eq!(only(&calls(ACK)).nature, Nature::Service);
    assert_eq!(only(&calls(SYN)).nature, Nature::Unclear, "a scan");
}

#[test]
fn one_dynamic_tcp_port_of_a_peer_may_be_media_and_is_not_suggested() {
    let report = report(&[tcp("172.16.1.5:50001", "10.0.0.9:50002", ACK, b"")]);
    assert_eq!(report.cut_off[0].nature, Nature::Unclear);
    assert_eq!(report.cut_off[0].top[0].port, Some(50_002));
    assert_eq!(report.suggestions, []);
}

#[test]
fn servers_and_peers_in_the_dynamic_range_are_told_apart_with_their_flows() {
    let mut packets = vec![tcp("172.16.1.5:50000", "10.0.0.9:135", ACK, b"map")];
    for client in 0..30 {
        packets.push(tcp(
            &format!("172.16.1.5:{}", 51_000 + client),
            "10.0.0.9:49670",
            SYN,
            b"",
        ));
    }
    packets.push(tcp("172.16.1.5:50001", "10.0.0.77:50002", SYN, b""));
    let report = report(&packets);
    let rows: Vec<_> = report
        .cut_off
        .iter()
        .map(|row| (row.nature, row.traffic.packets, row.flows.count))
        .collect();
    assert_eq!(rows, [(Nature::Service, 30, 30), (Nature::Unclear, 1, 1)]);
}

#[test]
fn udp_between_high_ports_is_media_when_it_looks_like_it_or_cannot_be_seen() {
    let seen = only(&[udp("172.16.1.5:50020", "10.0.0.9:24000", &RTP)]);
    assert_eq!(seen.nature, Nature::Media);
    assert_eq!(seen.name, Some("media (UDP, dynamic ports)"));
    let unseen = only(&[udp("172.16.1.5:50020", "10.0.0.9:24000", b"")]);
    assert_eq!(unseen.nature, Nature::Media);
}

#[test]
fn udp_that_does_not_look_like_media_is_unclear() {
    let service = only(&[udp(
        "172.16.1.5:50020",
        "10.0.0.9:4172",
        b"not at all a call...",
    )]);
    assert_eq!(service.nature, Nature::Unclear);
    assert_eq!(service.top[0].port, Some(4172));
}

#[test]
fn relays_and_signaling_are_media() {
    let report = report(&[
        udp("172.16.1.5:50020", "10.0.0.9:3478", &RTP),
        udp("172.16.1.5:50020", "10.0.0.9:3480", &RTP),
        tcp("172.16.1.5:50020", "10.0.0.9:5061", ACK, b""),
    ]);
    assert_eq!(report.cut_off.len(), 3);
    assert!(report.cut_off.iter().all(|row| row.nature == Nature::Media));
    assert_eq!(report.suggestions, []);
}

#[test]
fn a_port_without_a_name_is_a_service_once_two_clients_call_it() {
    let one = tcp("172.16.1.5:50001", "10.0.0.9:7001", ACK, b"");
    let two = tcp("172.16.1.6:50001", "10.0.0.9:7001", ACK, b"");
    assert_eq!(only(std::slice::from_ref(&one)).nature, Nature::Unclear);
    assert_eq!(only(&[one, two]).nature, Nature::Service);
}

#[test]
fn services_between_clients_are_kept_apart() {
    let service = only(&[tcp("172.16.1.5:50001", "172.16.1.6:3389", SYN, b"")]);
    assert_eq!(service.scope, Scope::Client);
    assert!(service.attempts_only);
}

#[test]
fn what_the_suggestions_keep_is_allowed_and_media_is_still_dropped() {
    let mut packets = vec![
        tcp("172.16.1.5:50000", "10.0.0.9:135", ACK, b"map"),
        tcp("172.16.1.5:50001", "10.0.0.9:49670", SYN, b""),
        tcp("172.16.1.5:3389", "10.0.4.4:50123", ACK, b""),
        tcp("172.16.1.5:50001", "172.16.1.6:5900", ACK, b""),
        tcp("[fd00:1::5]:50001", "[fd00:2::9]:1433", ACK, b""),
    ];
    for host in 16..32 {
        packets.push(tcp(
            "172.16.1.5:50001",
            &format!("10.0.3.{host}:1433"),
            ACK,
            b"",
        ));
    }
    let media = [
        udp("172.16.1.5:50020", "10.0.0.9:24000", &RTP),
        udp("172.16.1.5:50020", "10.0.0.9:3478", &RTP),
        tcp("172.16.1.5:50001", "10.0.0.77:50002", ACK, b""),
    ];
    let policy = compile(POLICY);
    let mut audit = audit(&policy, &packets);
    for packet in &media {
        audit.record(
            judge(&policy, packet),
            PacketView::parse(packet),
            packet.len(),
        );
    }
    let report = audit.report(&policy);
    let names: Vec<_> = report
        .suggestions
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "SQL Server (tcp 1433), 2",
            "RDP on the clients (tcp 3389)",
            "VNC between clients (tcp 5900)",
            "Windows RPC (tcp 49152-65535)",
        ]
    );
    let prefixes: Vec<_> = report.suggestions[0]
        .to
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(prefixes, ["10.0.3.16/28", "fd00:2::9/128"]);
    let mut text = POLICY.to_owned();
    for suggestion in &report.suggestions {
        text.push_str(&suggestion.toml);
    }
    let extended = compile(&text);
    for packet in &packets[1..] {
        assert_eq!(judge(&extended, packet).reason, Reason::Allow);
    }
    for packet in &media {
        assert_eq!(judge(&extended, packet).reason, Reason::Media);
    }
}

#[test]
fn a_suggestion_for_too_many_hosts_leaves_the_quietest_out_and_says_so() {
    let mut packets = Vec::new();
    for host in 0..40 {
        // Every other address: no two of them aggregate.
        let packet = tcp(
            "172.16.1.5:50001",
            &format!("10.0.3.{}:1433", 2 * host),
            ACK,
            b"",
        );
        packets.extend(vec![packet; if host < 8 { 1 } else { 2 }]);
    }
    let suggestion = report(&packets).suggestions.remove(0);
    assert_eq!((suggestion.to.len(), suggestion.left_out), (32, 8));
    assert_eq!(suggestion.to[0].to_string(), "10.0.3.16/32");
    assert!(
        suggestion.toml.contains("# 8 more prefixes"),
        "{}",
        suggestion.toml
    );
    compile(&format!("{POLICY}{}", suggestion.toml));
}

#[test]
fn a_port_scan_leaves_room_for_named_services() {
    let mut packets: Vec<_> = (10_000..30_000)
        .map(|port| tcp("172.16.1.5:50001", &format!("10.0.0.9:{port}"), SYN, b""))
        .collect();
    packets.push(tcp("172.16.1.5:50001", "10.0.0.8:9389", ACK, b""));
    let report = report(&packets);
    assert!(report.scattered.packets > 10_000);
    let named = report
        .cut_off
        .iter()
        .find(|row| row.name == Some("AD Web Services"));
    assert_eq!(named.map(|row| row.traffic.packets), Some(1));
    let listed: u64 = report.cut_off.iter().map(|row| row.traffic.packets).sum();
    assert_eq!(listed + report.scattered.packets, report.dropped.packets);
}

#[test]
fn two_million_flows_take_no_more_memory_than_the_bound() {
    let policy = compile(POLICY);
    let mut audit = Audit::new();
    let mut packet = udp("172.16.1.5:50020", "10.0.0.9:24000", &RTP);
    for flow in 0..2_000_000_u32 {
        packet[16..20].copy_from_slice(&(0x0a02_0000 + flow % 500_000).to_be_bytes());
        packet[20..22].copy_from_slice(&(20_000 + (flow / 500_000) as u16).to_be_bytes());
        audit.record(
            Verdict::drop(Reason::Media),
            PacketView::parse(&packet),
            packet.len(),
        );
    }
    assert!(
        audit.memory_bytes() <= Audit::MEMORY_MAX,
        "{}",
        audit.memory_bytes()
    );
    let report = audit.report(&policy);
    let flows = report.reasons[0].flows;
    assert!(!flows.exact);
    assert!(flows.count.abs_diff(2_000_000) < 140_000, "{flows:?}");
    let media = &report.cut_off[0];
    assert_eq!(media.traffic.packets, 2_000_000);
    assert_eq!(media.destinations, Estimate::about(4_096));
    assert!(
        media.flows.count.abs_diff(2_000_000) < 400_000,
        "{:?}",
        media.flows
    );
}

#[test]
fn the_tables_full_take_no_more_memory_than_the_bound() {
    let mut audit = Audit::new();
    for port in 1..=u16::MAX {
        for (verdict, flags) in [
            (Reason::Media, SYN),
            (Reason::Media, SYN | ACK),
            (Reason::Hairpin, SYN),
            (Reason::Hairpin, SYN | ACK),
        ] {
            let host = port % 251;
            let packet = tcp(
                &format!("172.16.1.5:{port}"),
                &format!("10.0.{}.{host}:{port}", port % 253),
                flags,
                b"",
            );
            let view = PacketView::parse(&packet);
            audit.record(Verdict::drop(verdict), view, packet.len());
        }
    }
    assert!(
        audit.memory_bytes() <= Audit::MEMORY_MAX,
        "{}",
        audit.memory_bytes()
    );
}

#[cfg(feature = "gateway")]
#[test]
fn a_report_is_data_for_other_programs() {
    let report = report(&[
        tcp("172.16.1.5:50000", "10.0.0.9:3389", ACK, b""),
        tcp("172.16.1.5:50000", "10.1.0.10:5061", SYN, b""),
    ]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["reasons"][0]["reason"], "servers");
    assert_eq!(json["rules"][0]["kind"], "server");
    let service = &json["cut_off"][0];
    assert_eq!(service["name"], "RDP");
    assert_eq!(service["protocol"], "tcp");
    assert_eq!(service["ports"], "3389");
    assert_eq!(service["role"], "request");
    assert_eq!(service["packets"], 1);
    assert_eq!(service["flows"]["exact"], true);
    assert_eq!(json["suggestions"][0]["to"][0], "10.0.0.9/32");
}

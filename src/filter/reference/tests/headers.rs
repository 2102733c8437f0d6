//! P11-P30: lengths, other protocols, and header fields that decide nothing.

use super::*;

// P11-P16: lengths.

#[test]
fn p11_ports_come_after_the_options() {
    let router_alert = [148, 4, 0, 0];

    let packet = ipv4_with_options(CORPORATE, UDP, 0, &router_alert, &udp(50_000));

    assert_eq!(judge(&packet), media());
    let packet = ipv4_with_options(CORPORATE, UDP, 0, &router_alert, &udp(80));
    assert_eq!(judge(&packet), DEFAULT);
}

#[test]
fn p12_a_header_that_no_host_would_accept_is_malformed() {
    let good = ipv4(INTERNET, UDP, 0, &udp(80));
    let with = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        judge(&packet)
    };

    assert_eq!(judge(&[]), MALFORMED);
    assert_eq!(judge(&good[..19]), MALFORMED);
    assert_eq!(judge(&ipv6(INTERNET6, UDP, &[])[..39]), MALFORMED);
    assert_eq!(with(0, 0x44), MALFORMED, "header length 16");
    assert_eq!(with(0, 0x48), MALFORMED, "header length 32");
    assert_eq!(with(0, 0x55), MALFORMED, "version 5");
    assert_eq!(with(3, 19), MALFORMED, "total length 19");
    assert_eq!(with(3, 29), MALFORMED, "total length past the end");
    let mut packet = ipv6(INTERNET6, UDP, &udp(80));
    packet[5] = 9;
    assert_eq!(judge(&packet), MALFORMED, "payload length past the end");
}

#[test]
fn p13_a_super_packet_without_a_length_is_judged_normally() {
    let mut packet = ipv4(CORPORATE, UDP, 0, &udp(50_000));
    packet[3] = 0;
    assert_eq!(judge(&packet), media());

    let mut packet = ipv6(CORPORATE6, UDP, &udp(50_000));
    packet[5] = 0;
    packet.extend(vec![0; 70_000]);
    assert_eq!(judge(&packet), media());
}

#[test]
fn p13_a_super_packet_is_not_a_fragment_too_long() {
    let mut packet = ipv4(CORPORATE, UDP, 0, &udp(50_000));
    packet[3] = 0;
    let mut first = ipv4(CORPORATE, UDP, MORE, &udp(50_000));
    first[3] = 0;
    let mut filter = ReferenceFilter::new(&test_policy());

    assert_eq!(filter.judge(&packet, 70_000, Duration::ZERO), media());
    assert_eq!(filter.judge(&first, 70_000, Duration::ZERO), MALFORMED);
}

#[test]
fn p12_ports_are_not_read_from_padding() {
    let mut packet = ipv4(CORPORATE, UDP, 0, &udp(80));
    packet[3] = 22;
    assert_eq!(judge(&packet), tiny());

    let mut packet = ipv6(CORPORATE6, UDP, &udp(80));
    packet[5] = 2;
    assert_eq!(judge(&packet), tiny());
}

#[test]
fn p12_padding_changes_nothing() {
    let mut packet = ipv4(CORPORATE, UDP, 0, &udp(80));
    packet.extend([0; 18]);

    assert_eq!(judge(&packet), DEFAULT);
}

#[test]
fn p12_a_snap_length_that_takes_the_ports_makes_them_missing() {
    let packet = ipv4(CORPORATE, UDP, 0, &udp(80));

    assert_eq!(snapped(&packet, 24), DEFAULT);
    assert_eq!(snapped(&packet, 23), tiny());
    assert_eq!(snapped(&packet, 20), tiny());
    assert_eq!(snapped(&packet, 19), MALFORMED);
}

#[test]
fn p12_a_snap_length_that_takes_extension_headers_cuts_the_chain() {
    let payload = [&destination_options(UDP)[..], &udp(80)].concat();
    let packet = ipv6(CORPORATE6, 60, &payload);

    assert_eq!(snapped(&packet, 52), DEFAULT);
    assert_eq!(snapped(&packet, 48), tiny(), "ports are missing");
    assert_eq!(snapped(&packet, 47), tiny(), "the chain is cut");
    assert_eq!(snapped(&packet, 40), tiny(), "the chain is cut");
    let elsewhere = ipv6(INTERNET6, 60, &payload);
    assert_eq!(snapped(&elsewhere, 40), DEFAULT);
}

#[test]
fn p16_the_length_in_a_udp_header_decides_nothing() {
    for length in [[0, 0], [0, 4], [0xea, 0x60]] {
        let mut header = udp(50_000);
        header[4..6].copy_from_slice(&length);
        assert_eq!(judge(&ipv4(CORPORATE, UDP, 0, &header)), media());
    }
}

// P17-P30: other protocols, flags, fields that decide nothing.

#[test]
fn p17_other_protocols_to_servers_and_corporate_hosts_are_forwarded() {
    for protocol in [0, 1, 4, 33, 41, 47, 50, 51, 58, 132, 136, 255] {
        for to in [SERVER, CORPORATE, OTHER_CLIENT] {
            let packet = ipv4(to, protocol, 0, &udp(50_000));
            assert_eq!(judge(&packet), DEFAULT, "protocol {protocol}");
        }
    }
}

#[test]
fn p19_an_error_that_quotes_a_blocked_packet_is_forwarded() {
    let quoted = ipv4(CORPORATE, UDP, 0, &udp(50_000));

    let error = [&[3, 4, 0, 0, 0, 0, 5, 0][..], &quoted].concat();

    assert_eq!(judge(&ipv4(CORPORATE, ICMP, 0, &error)), DEFAULT);
}

#[test]
fn p21_tcp_flags_decide_nothing() {
    for flags in [0x00, 0x02, 0x03, 0x12, 0x29, 0xff] {
        let segment = [
            0xea, 0x60, 0xc3, 0x50, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0,
        ];
        assert_eq!(judge(&ipv4(CORPORATE, TCP, 0, &segment)), media());
    }
}

#[test]
fn p25_a_broadcast_inside_a_corporate_prefix_is_media() {
    assert_eq!(
        judge(&ipv4([10, 255, 255, 255], UDP, 0, &udp(5000))),
        media()
    );
    assert_eq!(judge(&ipv4([255; 4], UDP, 0, &udp(5000))), DEFAULT);
}

#[test]
fn p28_ttl_service_class_and_reserved_bits_decide_nothing() {
    let mut packet = ipv4(CORPORATE, UDP, 0xc000, &udp(50_000));
    packet[1] = 0xff;
    packet[8] = 0;

    assert_eq!(judge(&packet), media());
}

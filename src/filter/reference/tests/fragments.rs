//! P1-P10: fragments, IPv6 extension headers, source routes.

use super::*;

// P1-P6: IPv4 fragments.

#[test]
fn p1_a_tail_follows_its_first_fragment() {
    let verdicts = judge_all(&[
        ipv4(CORPORATE, UDP, MORE, &udp(50_000)),
        ipv4(CORPORATE, UDP, 1, &udp(80)),
    ]);

    assert_eq!(verdicts, [media(), media()]);
}

#[test]
fn p1_a_tail_of_another_protocol_or_id_does_not() {
    let mut other_id = ipv4(CORPORATE, UDP, 1, &[0; 8]);
    other_id[5] = 78;

    let verdicts = judge_all(&[
        ipv4(CORPORATE, UDP, MORE, &udp(50_000)),
        ipv4(CORPORATE, TCP, 1, &[0; 8]),
        other_id,
    ]);

    assert_eq!(verdicts, [media(), DEFAULT, DEFAULT]);
}

#[test]
fn p1_a_tail_is_judged_by_its_first_for_30_seconds() {
    let first = ipv4(CORPORATE, UDP, MORE, &udp(50_000));
    let tail = ipv4(CORPORATE, UDP, 1, &[0; 8]);
    let mut filter = ReferenceFilter::new(&test_policy());
    let mut judge_at = |packet: &[u8], now| filter.judge(packet, packet.len(), now);
    let begin = Duration::from_secs(100);

    judge_at(&first, begin);

    assert_eq!(judge_at(&tail, begin + Duration::from_secs(30)), media());
    assert_eq!(
        judge_at(&tail, begin + Duration::from_nanos(30_000_000_001)),
        DEFAULT
    );
    assert_eq!(judge_at(&tail, Duration::ZERO), media());
}

#[test]
fn p2_a_tail_before_its_first_is_forwarded() {
    let verdicts = judge_all(&[
        ipv4(CORPORATE, UDP, 1, &[0; 8]),
        ipv4(CORPORATE, UDP, MORE, &udp(50_000)),
    ]);

    assert_eq!(verdicts, [DEFAULT, media()]);
}

#[test]
fn p3_a_first_fragment_that_ends_before_its_ports_is_tiny() {
    let by_server = Verdict::drop(Reason::Servers).by(rules().server(0));

    assert_eq!(judge(&ipv4(CORPORATE, UDP, MORE, &udp(80)[..3])), tiny());
    assert_eq!(judge(&ipv4(CORPORATE, TCP, 0, &[])), tiny());
    assert_eq!(judge(&ipv4(CORPORATE, UDP, MORE, &udp(80)[..4])), DEFAULT);
    assert_eq!(judge(&ipv4(INTERNET, UDP, MORE, &[])), DEFAULT);
    // No port would change the verdict on this server, so the fragment needs none.
    assert_eq!(judge(&ipv4(OUTSIDE_SERVER, UDP, MORE, &[])), by_server);
    assert_eq!(judge(&ipv4(CORPORATE, ICMP, MORE, &[])), DEFAULT);
}

#[test]
fn p3_a_tiny_fragment_to_a_server_that_is_not_corporate_names_the_server() {
    let mut policy = test_policy();
    policy.allows[2].to = destinations(&["198.51.100.0/24"]);

    let verdict = judge_under(&policy, &ipv4(OUTSIDE_SERVER, TCP, MORE, &[]));

    let expected = Verdict::drop(Reason::TinyFragment).by(RuleTable::new(&policy).server(0));
    assert_eq!(verdict, expected);
}

#[test]
fn p3_the_tails_of_a_tiny_fragment_follow_it() {
    let verdicts = judge_all(&[
        ipv4(CORPORATE, UDP, MORE, &[]),
        ipv4(CORPORATE, UDP, 1, &[0; 8]),
    ]);

    assert_eq!(verdicts, [tiny(), tiny()]);
}

#[test]
fn p4_each_first_fragment_is_judged_by_its_own_ports_and_the_newest_speaks_for_the_tails() {
    let tail = ipv4(CORPORATE, UDP, 1, &[0; 8]);

    let verdicts = judge_all(&[
        ipv4(CORPORATE, UDP, MORE, &udp(80)),
        tail.clone(),
        ipv4(CORPORATE, UDP, MORE, &udp(50_000)),
        tail.clone(),
        ipv4(CORPORATE, UDP, MORE, &udp(80)),
        tail,
    ]);

    assert_eq!(
        verdicts,
        [DEFAULT, DEFAULT, media(), media(), DEFAULT, DEFAULT]
    );
}

#[test]
fn p4_a_tail_to_a_server_needs_no_first() {
    let verdict = judge(&ipv4(SERVER, UDP, 1, &[0; 8]));

    assert_eq!(
        verdict,
        Verdict::drop(Reason::Servers).by(rules().server(1))
    );
}

#[test]
fn p5_a_tail_follows_a_source_routed_first() {
    let source_route = [131, 7, 4, 10, 0, 0, 1, 0];

    let verdicts = judge_all(&[
        ipv4(CORPORATE, UDP, MORE, &udp(50_000)),
        ipv4_with_options(CORPORATE, UDP, MORE, &source_route, &udp(80)),
        ipv4(CORPORATE, UDP, 1, &[0; 8]),
    ]);

    assert_eq!(verdicts, [media(), SOURCE_ROUTED, SOURCE_ROUTED]);
}

#[test]
fn p6_a_fragment_beyond_the_largest_datagram_is_malformed() {
    assert_eq!(judge(&ipv4(INTERNET, ICMP, 8191, &[0; 8])), MALFORMED);
    assert_eq!(judge(&ipv4(INTERNET, ICMP, 8191, &[0; 7])), DEFAULT);
}

#[test]
fn p6_an_ipv4_fragment_of_any_length_is_judged() {
    assert_eq!(judge(&ipv4(INTERNET, UDP, MORE, &[0; 13])), DEFAULT);
    assert_eq!(judge(&ipv4(INTERNET, UDP, 1, &[])), DEFAULT);
}

// P7-P10: IPv6 extension headers and fragments, source routes.

#[test]
fn p7_extension_headers_are_walked_to_the_transport() {
    let authentication = [UDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for next_header in [0, 43, 60, 135, 139, 140] {
        let packet = ipv6(
            CORPORATE6,
            next_header,
            &[&[UDP, 0, 0, 0, 0, 0, 0, 0][..], &udp(50_000)].concat(),
        );
        assert_eq!(judge(&packet), media(), "header {next_header}");
    }
    let packet = ipv6(
        CORPORATE6,
        51,
        &[&authentication[..], &udp(50_000)].concat(),
    );
    assert_eq!(judge(&packet), media());
}

#[test]
fn p7_twelve_extension_headers_are_walked() {
    let mut payload = [destination_options(60); 11].concat();
    payload.extend(destination_options(UDP));
    payload.extend(udp(50_000));

    assert_eq!(judge(&ipv6(CORPORATE6, 60, &payload)), media());
}

#[test]
fn p7_a_chain_that_runs_past_the_packet_is_malformed() {
    let too_long = [UDP, 1, 1, 4, 0, 0, 0, 0];

    assert_eq!(judge(&ipv6(INTERNET6, 60, &too_long)), MALFORMED);
    assert_eq!(judge(&ipv6(INTERNET6, 60, &[])), MALFORMED);
    assert_eq!(judge(&ipv6(INTERNET6, 44, &[UDP, 0, 0, 0])), MALFORMED);
}

#[test]
fn p7_any_other_next_header_is_the_transport() {
    for next_header in [4, 41, 47, 50, 58, 59, 132, 136, 253] {
        let packet = ipv6(SERVER6, next_header, &udp(50_000));
        assert_eq!(judge(&packet), DEFAULT, "header {next_header}");
    }
}

#[test]
fn p8_a_chain_that_a_first_fragment_cuts_is_tiny_where_it_could_be_blocked() {
    let cut = [&fragment(60, 0, 1)[..], &[UDP, 1, 1, 12, 0, 0, 0, 0]].concat();

    assert_eq!(judge(&ipv6(CORPORATE6, 44, &cut)), tiny());
    assert_eq!(judge(&ipv6(SERVER6, 44, &cut)).reason, Reason::TinyFragment);
    assert_eq!(judge(&ipv6(INTERNET6, 44, &cut)), DEFAULT);
    assert_eq!(judge(&ipv6(CORPORATE6, 44, &fragment(60, 0, 1))), tiny());
}

#[test]
fn p8_the_tails_of_a_cut_chain_follow_it() {
    let verdicts = judge_all(&[
        ipv6(CORPORATE6, 44, &fragment(60, 0, 1)),
        ipv6(CORPORATE6, 44, &[&fragment(60, 8, 0)[..], &[0; 8]].concat()),
    ]);

    assert_eq!(verdicts, [tiny(), tiny()]);
}

#[test]
fn p9_an_atomic_fragment_is_an_ordinary_packet() {
    let atomic = |port| [&fragment(UDP, 0, 0)[..], &udp(port)].concat();

    let verdicts = judge_all(&[
        ipv6(CORPORATE6, 44, &atomic(50_000)),
        ipv6(
            CORPORATE6,
            44,
            &[&fragment(UDP, 8, 0)[..], &[0; 8]].concat(),
        ),
    ]);

    assert_eq!(verdicts, [media(), DEFAULT]);
    assert_eq!(judge(&ipv6(CORPORATE6, 44, &atomic(80))), DEFAULT);
}

#[test]
fn p1_an_ipv6_tail_follows_its_first_whatever_its_next_header() {
    let verdicts = judge_all(&[
        ipv6(SERVER6, 44, &[&fragment(UDP, 0, 1)[..], &udp(80)].concat()),
        ipv6(SERVER6, 44, &[&fragment(59, 8, 0)[..], &[0; 5]].concat()),
    ]);

    let dropped = Verdict::drop(Reason::Servers).by(rules().server(0));
    assert_eq!(verdicts, [dropped, dropped]);
}

#[test]
fn p1_an_ipv6_tail_to_a_server_without_its_first_is_forwarded() {
    let tail = [&fragment(UDP, 8, 0)[..], &[0; 5]].concat();

    assert_eq!(judge(&ipv6(SERVER6, 44, &tail)), DEFAULT);
}

#[test]
fn p1_the_last_of_several_fragment_headers_gives_the_key() {
    let mut inner = fragment(UDP, 0, 1);
    inner[7] = 78;
    let tail = |id| {
        let mut header = fragment(UDP, 8, 0);
        header[7] = id;
        ipv6(CORPORATE6, 44, &[&header[..], &[0; 8]].concat())
    };

    let verdicts = judge_all(&[
        ipv6(
            CORPORATE6,
            44,
            &[&fragment(44, 0, 1)[..], &inner, &udp(50_000)].concat(),
        ),
        tail(78),
        tail(77),
    ]);

    assert_eq!(verdicts, [media(), media(), DEFAULT]);
}

#[test]
fn p6_an_ipv6_fragment_with_more_to_come_is_a_multiple_of_8_long() {
    let first = [&fragment(UDP, 0, 1)[..], &udp(80), &[0]].concat();
    let middle = [&fragment(UDP, 8, 1)[..], &[0; 9]].concat();
    let last = [&fragment(UDP, 8, 0)[..], &[0]].concat();

    assert_eq!(judge(&ipv6(INTERNET6, 44, &first)), MALFORMED);
    assert_eq!(judge(&ipv6(INTERNET6, 44, &middle)), MALFORMED);
    assert_eq!(judge(&ipv6(INTERNET6, 44, &last)), DEFAULT);
}

#[test]
fn p6_an_ipv6_fragment_beyond_the_largest_datagram_is_malformed() {
    let tail = |length| [&fragment(UDP, 0xfff8, 0)[..], &vec![0; length]].concat();

    assert_eq!(judge(&ipv6(INTERNET6, 44, &tail(8))), MALFORMED);
    assert_eq!(judge(&ipv6(INTERNET6, 44, &tail(7))), DEFAULT);
}

#[test]
fn p10_a_routing_header_of_any_type_with_segments_left_is_a_source_route() {
    for kind in [0, 2, 3, 4, 253] {
        let with_left = |left| [&routing(UDP, kind, left)[..], &udp(80)].concat();
        assert_eq!(judge(&ipv6(ROUTER6, 43, &with_left(1))), SOURCE_ROUTED);
        assert_eq!(judge(&ipv6(ROUTER6, 43, &with_left(0))), DEFAULT);
    }
}

#[test]
fn p10_a_source_route_before_a_broken_header_is_malformed_unless_a_fragment_may_mend_it() {
    let broken = [UDP, 9, 0, 0, 0, 0, 0, 0];
    let whole = [&routing(60, 0, 1)[..], &broken].concat();
    let first = [&routing(44, 0, 1)[..], &fragment(60, 0, 1), &broken].concat();

    assert_eq!(judge(&ipv6(INTERNET6, 43, &whole)), MALFORMED);
    assert_eq!(judge(&ipv6(INTERNET6, 43, &first)), SOURCE_ROUTED);
}

#[test]
fn p10_ipv4_source_routes_with_hops_left_are_dropped() {
    let judge_options =
        |options: &[u8]| judge(&ipv4_with_options(INTERNET, UDP, 0, options, &udp(1)));

    // Loose, strict, after other options, and in a non-first fragment.
    assert_eq!(judge_options(&[131, 7, 4, 10, 0, 0, 1, 0]), SOURCE_ROUTED);
    assert_eq!(judge_options(&[137, 7, 4, 10, 0, 0, 1, 0]), SOURCE_ROUTED);
    assert_eq!(
        judge_options(&[1, 148, 4, 0, 0, 131, 7, 4, 10, 0, 0, 1]),
        SOURCE_ROUTED
    );
    let tail = ipv4_with_options(INTERNET, UDP, 1, &[131, 7, 4, 10, 0, 0, 1, 0], &[]);
    assert_eq!(judge(&tail), SOURCE_ROUTED);
}

#[test]
fn p10_options_without_hops_left_are_forwarded() {
    for options in [
        // The pointer is past the route.
        [131, 7, 8, 10, 0, 0, 1, 0],
        // The list ended before.
        [0, 131, 7, 4, 10, 0, 0, 1],
        // A length that leads nowhere hides what follows.
        [148, 0, 131, 4, 4, 0, 0, 0],
        [148, 1, 131, 4, 4, 0, 0, 0],
        [148, 9, 131, 4, 4, 0, 0, 0],
        // The route runs past the header.
        [131, 11, 4, 10, 0, 0, 1, 0],
        // No room for a pointer.
        [131, 2, 0, 0, 0, 0, 0, 0],
        // A record route is not a source route.
        [7, 7, 4, 10, 0, 0, 1, 0],
    ] {
        let packet = ipv4_with_options(INTERNET, UDP, 0, &options, &udp(1));
        assert_eq!(judge(&packet), DEFAULT, "options {options:?}");
    }
}

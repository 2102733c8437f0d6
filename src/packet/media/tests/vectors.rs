//! Datagrams recognized on their own: the minimum that passes, and each condition off by one bit.

use super::*;
use crate::packet::media::traffic::{
    client_hello, compound_report, stun, zoom_other, zoom_request, zrtp_hello,
};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const NO_COOKIE: [u8; 4] = [1, 2, 3, 4];
const USERNAME: [u8; 8] = [0, 6, 0, 4, b'a', b':', b'b', b'c'];
const MS_COOKIE: [u8; 8] = [0x00, 0x0f, 0x00, 0x04, 0x72, 0xc6, 0x4b, 0xc6];

/// A datagram alone.
fn word(profile: Profile, payload: &[u8]) -> Option<&'static str> {
    Datagrams::new(profile).look(payload, START)
}

/// Asserts that `payload` is media from profile `from` on, and that nothing of it is when one bit of a byte at
/// `conditions` is changed.
fn assert_exact(
    payload: &[u8],
    from: Profile,
    expected: &str,
    conditions: impl IntoIterator<Item = (usize, u8)>,
) {
    for profile in [Profile::Microsoft, Profile::Ice, Profile::Any] {
        let wanted = (profile >= from).then_some(expected);
        assert_eq!(word(profile, payload), wanted, "{profile:?}");
    }
    for (at, bit) in conditions {
        let mut changed = payload.to_vec();
        changed[at] ^= bit;
        assert_eq!(
            word(Profile::Any, &changed),
            None,
            "{expected}: byte {at} without {bit:02x}"
        );
    }
}

fn bytes(range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, u8)> {
    range.map(|at| (at, 1))
}

#[test]
fn a_message_with_the_cookie_and_its_length_is_stun() {
    // An unregistered method: the type does not matter, its first two bits do.
    let message = stun(0x0805, COOKIE, &[]);
    assert_exact(
        &message,
        Profile::Ice,
        "stun",
        [(0, 0x40), (0, 0x80), (2, 1), (3, 1)]
            .into_iter()
            .chain(bytes(4..8)),
    );
    assert_eq!(word(Profile::Any, &message[..19]), None);
    assert_eq!(word(Profile::Any, &[&*message, &[0]].concat()), None);
}

#[test]
fn a_message_whose_length_is_no_multiple_of_four_is_stun() {
    let message = stun(0x0801, COOKIE, &[0x40, 0, 0, 3, 1, 2, 3]);
    assert_eq!(word(Profile::Ice, &message), Some("stun"));
}

#[test]
fn a_binding_request_with_a_user_name_is_a_check() {
    assert_eq!(
        word(Profile::Ice, &stun(1, COOKIE, &USERNAME)),
        Some("stun-check")
    );
    assert_eq!(word(Profile::Ice, &stun(1, COOKIE, &[])), Some("stun"));
    assert_eq!(
        word(Profile::Ice, &stun(0x0101, COOKIE, &USERNAME)),
        Some("stun")
    );
}

#[test]
fn only_marks_of_microsoft_count_in_its_profile() {
    for (attribute, is_mark) in [
        (0x8070u16, true),
        (0x8054, true),
        (0x8036, true),
        (0x8095, true),
        (0x8020, false),
        (0x8022, false),
        (0x8029, false),
        (0x0008, false),
        (0xc057, false),
    ] {
        let attributes = [&USERNAME[..], &attribute.to_be_bytes(), &[0, 4, 0, 0, 0, 3]].concat();
        let expected = is_mark.then_some("stun-check");
        assert_eq!(
            word(Profile::Microsoft, &stun(1, COOKIE, &attributes)),
            expected,
            "{attribute:04x}"
        );
    }
}

#[test]
fn a_mark_inside_the_value_of_an_attribute_is_none() {
    let attributes = [
        0, 6, 0, 9, b'a', 0x80, 0x70, 0, 0, b'e', b'f', b'g', b'h', 0, 0, 0,
    ];
    assert_eq!(
        word(Profile::Microsoft, &stun(1, COOKIE, &attributes)),
        None
    );
    assert_eq!(
        word(Profile::Ice, &stun(1, COOKIE, &attributes)),
        Some("stun-check")
    );
}

#[test]
fn a_message_with_microsofts_cookie_first_is_ms_turn() {
    let message = stun(0x0115, NO_COOKIE, &MS_COOKIE);
    assert_exact(
        &message,
        Profile::Microsoft,
        "ms-turn",
        [(0, 0x40), (3, 1)].into_iter().chain(bytes(20..28)),
    );
    let second = stun(0x0115, NO_COOKIE, &[&USERNAME[..], &MS_COOKIE].concat());
    assert_eq!(word(Profile::Any, &second), None);
}

#[test]
fn a_message_without_a_cookie_is_known_by_its_attributes() {
    let message = stun(0x0101, NO_COOKIE, &USERNAME);
    assert_exact(
        &message,
        Profile::Ice,
        "stun-classic",
        [(0, 2), (1, 2), (3, 1), (22, 1), (23, 1), (20, 2)],
    );
    for unknown in [0x0000u16, 0x0017, 0x001b, 0x0021, 0x0023, 0x0026, 0x7fff] {
        let attribute = [&unknown.to_be_bytes()[..], &[0, 0]].concat();
        assert_eq!(
            word(Profile::Any, &stun(1, NO_COOKIE, &attribute)),
            None,
            "{unknown:04x}"
        );
    }
    for known in [
        0x0001u16, 0x0016, 0x0018, 0x001a, 0x0020, 0x0022, 0x0024, 0x0025, 0x8000, 0xffff,
    ] {
        let attribute = [&known.to_be_bytes()[..], &[0, 0]].concat();
        assert_eq!(
            word(Profile::Ice, &stun(1, NO_COOKIE, &attribute)),
            Some("stun-classic"),
            "{known:04x}"
        );
    }
}

#[test]
fn attributes_without_padding_are_known_too() {
    let attributes = [0, 6, 0, 3, b'a', b':', b'b', 0, 8, 0, 1, 9];
    assert_eq!(
        word(Profile::Ice, &stun(1, NO_COOKIE, &attributes)),
        Some("stun-classic")
    );
    let padded = [0, 6, 0, 3, b'a', b':', b'b', 0, 0, 8, 0, 0];
    assert_eq!(
        word(Profile::Ice, &stun(1, NO_COOKIE, &padded)),
        Some("stun-classic")
    );
}

#[test]
fn a_bare_request_needs_a_random_transaction_id() {
    let bare = |different: u8| {
        let id = (0..16).map(|at| if at < different { at } else { 0 });
        [0, 1, 0, 0].into_iter().chain(id).collect::<Vec<u8>>()
    };
    assert_exact(&bare(9), Profile::Ice, "stun-bare", bytes(0..4));
    assert_eq!(word(Profile::Any, &bare(8)), None);
    assert_eq!(word(Profile::Any, &[&*bare(16), &[0]].concat()), None);
}

#[test]
fn a_message_in_multiplexed_turn_is_recognized() {
    let message = stun(3, COOKIE, &[]);
    let frame = [&[0xff, 0x10, 0, 28][..], &[7; 8], &message].concat();
    assert_exact(
        &frame,
        Profile::Microsoft,
        "ms-multiplexed",
        bytes(0..4).chain(bytes(14..20)),
    );
}

#[test]
fn a_message_in_channel_data_is_recognized_with_up_to_three_bytes_of_padding() {
    let message = stun(3, COOKIE, &USERNAME);
    let data = [&[0x4f, 0xff, 0, 28][..], &message].concat();
    assert_exact(
        &data,
        Profile::Ice,
        "channel-data",
        [(0, 0x10), (2, 1), (3, 4), (6, 1), (7, 1), (8, 1)],
    );
    for (padding, expected) in [(3, Some("channel-data")), (4, None)] {
        let padded = [&*data, &[0; 4][..padding]].concat();
        assert_eq!(word(Profile::Ice, &padded), expected, "{padding}");
    }
}

#[test]
fn a_dtls_hello_with_srtp_is_recognized() {
    for is_server in [false, true] {
        let hello = client_hello(is_server);
        let extension = hello.len() - 8;
        assert_eq!(hello[extension], 14);
        let conditions = [
            (0, 1),
            (1, 1),
            (2, 0x10),
            (3, 1),
            (4, 1),
            (13, 4),
            (19, 1),
            (20, 1),
            (21, 1),
            (extension, 1),
        ];
        assert_exact(&hello, Profile::Any, "dtls-srtp", conditions);
    }
}

#[test]
fn the_first_fragment_of_a_hello_is_read_as_far_as_it_goes() {
    let mut hello = client_hello(false);
    hello.truncate(hello.len() - 3);
    assert_eq!(word(Profile::Any, &hello), Some("dtls-srtp"));
    hello.truncate(hello.len() - 7);
    assert_eq!(word(Profile::Any, &hello), None);
}

#[test]
fn zrtp_is_recognized() {
    let hello = zrtp_hello();
    assert_exact(
        &hello,
        Profile::Any,
        "zrtp",
        bytes(0..1).chain(bytes(4..8)).chain(bytes(12..14)),
    );
    assert_eq!(word(Profile::Any, &hello[..27]), None);
}

#[test]
fn a_compound_report_is_rtcp() {
    let report = compound_report();
    assert_exact(
        &report,
        Profile::Any,
        "rtcp",
        [
            (0, 0x40),
            (0, 1),
            (1, 2),
            (3, 2),
            (8, 0x40),
            (9, 0x20),
            (11, 1),
        ],
    );
    assert_eq!(word(Profile::Any, &report[..8]), None, "one part");
    let mut sender = report;
    sender[1] = 200;
    assert_eq!(
        word(Profile::Any, &sender),
        None,
        "too short for a sender's report"
    );
}

#[test]
fn both_messages_of_zoom_are_recognized() {
    // Another bit of byte 20 would make it an attribute of RFC 3489.
    let conditions = |end| bytes(0..4).chain([(20, 2)]).chain(bytes(21..end));
    assert_exact(&zoom_request(), Profile::Ice, "zoom-stun", conditions(44));
    assert_exact(&zoom_other(), Profile::Ice, "zoom-stun", conditions(26));
}

#[test]
fn a_fragment_without_its_payload_is_not_recognized() {
    let message = stun(1, COOKIE, &USERNAME);
    let mut table = FlowTable::new(64);
    for length in 0..20 {
        let segment = Segment::Udp {
            payload: &message[..length],
            size: message.len(),
        };
        let key = flow_of(Protocol::Udp, Ipv4Addr::new(172, 16, 1, 10), length as u16);
        assert_eq!(table.look(Profile::Any, &key, segment, START).media(), None);
    }
    let segment = Segment::Udp {
        payload: &message[..20],
        size: message.len(),
    };
    assert!(
        table
            .look(Profile::Any, &flow(Protocol::Udp), segment, START)
            .media()
            .is_some()
    );
}

/// A source's packets, 20 ms apart unless said.
struct Rtp {
    datagrams: Datagrams,
    at: Duration,
}

impl Rtp {
    fn new() -> Self {
        Self {
            datagrams: Datagrams::new(Profile::Any),
            at: START,
        }
    }

    fn send(&mut self, sequence: u16, stamp: u32) -> bool {
        self.send_as([0x80, 111], sequence, stamp, 0)
    }

    fn send_as(&mut self, first: [u8; 2], sequence: u16, stamp: u32, source: u32) -> bool {
        self.at += Duration::from_millis(20);
        let mut packet = first.to_vec();
        packet.extend(sequence.to_be_bytes());
        packet.extend(stamp.to_be_bytes());
        packet.extend(source.to_be_bytes());
        packet.extend([0xd5; 30]);
        self.datagrams.look(&packet, self.at).is_some()
    }
}

#[test]
fn three_packets_on_a_media_clock_are_rtp() {
    let mut rtp = Rtp::new();
    assert_eq!(
        [65_534, 65_535, 0]
            .map(|sequence| rtp.send(sequence, u32::from(sequence.wrapping_add(2)) * 160)),
        [false, false, true]
    );
}

#[test]
fn duplicates_and_late_packets_change_no_row() {
    let mut rtp = Rtp::new();
    let sent = [
        (100, 0),
        (101, 160),
        (101, 160),
        (69, 7),
        (100, 0),
        (102, 320),
    ];
    assert_eq!(
        sent.map(|(sequence, stamp)| rtp.send(sequence, stamp)),
        [false, false, false, false, false, true]
    );
}

#[test]
fn up_to_32_packets_may_be_lost() {
    for (step, expected) in [(32, true), (33, false)] {
        let mut rtp = Rtp::new();
        rtp.send(0, 0);
        rtp.send(1, 160);
        assert_eq!(rtp.send(1 + step, 320), expected, "{step}");
    }
}

#[test]
fn a_stamp_that_stands_is_no_move_and_breaks_no_row() {
    let mut rtp = Rtp::new();
    assert!(
        [(0, 0), (1, 0), (2, 160), (3, 160)]
            .iter()
            .all(|&(sequence, stamp)| !rtp.send(sequence, stamp))
    );
    assert!(rtp.send(4, 320));
}

#[test]
fn a_stamp_that_is_too_slow_or_too_fast_is_no_clock() {
    // 20 ms and 100 ms at 90 kHz: 10,800.
    for (step, expected) in [
        (31, false),
        (32, true),
        (10_800, true),
        (10_801, false),
        (20, false),
        (65_536, false),
    ] {
        let mut rtp = Rtp::new();
        let sent = [0, 1, 2].map(|number| rtp.send(number, u32::from(number) * step));
        assert_eq!(sent[2], expected, "{step}");
    }
}

#[test]
fn a_pause_of_more_than_half_a_second_starts_a_row_anew() {
    for (pause, expected) in [(480, true), (481, false)] {
        let mut rtp = Rtp::new();
        rtp.send(0, 0);
        rtp.send(1, 160);
        rtp.at += Duration::from_millis(pause);
        assert_eq!(rtp.send(2, 320), expected, "{pause}");
    }
}

#[test]
fn types_of_rtcp_and_other_versions_are_not_rtp() {
    for (first, expected) in [
        ([0x80, 72], false),
        ([0x80, 64], false),
        ([0x80, 95], false),
        ([0x80, 63], true),
        ([0x80, 0x80 | 96], true),
        ([0x40, 111], false),
        ([0xc0, 111], false),
        ([0xb7, 111], true),
        ([0x88, 111], false),
    ] {
        let mut rtp = Rtp::new();
        let sent = [0, 1, 2].map(|number| rtp.send_as(first, number, u32::from(number) * 160, 0));
        assert_eq!(sent[2], expected, "{first:02x?}");
    }
}

#[test]
fn four_sources_have_rows_of_their_own() {
    let mut rtp = Rtp::new();
    for number in 0..2 {
        for source in 0..4 {
            assert!(!rtp.send_as([0x80, 111], number, u32::from(number) * 160, source));
        }
    }
    assert!(rtp.send_as([0x80, 111], 2, 320, 3));
}

/// An SRTCP packet with an index and a tag.
fn srtcp(source: u8, index: u32, tag: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, source, 0x11, 0x11, 0x11, 0x11];
    packet.extend((1 << 31 | index).to_be_bytes());
    packet.resize(packet.len() + tag, 0x22);
    packet
}

#[test]
fn two_srtcp_packets_of_one_source_are_media() {
    for tag in [10, 11, 14, 0] {
        for (step, expected) in [
            (1, Some("srtcp")),
            (64, Some("srtcp")),
            (65, None),
            (0, None),
        ] {
            let mut datagrams = Datagrams::new(Profile::Any);
            assert_eq!(datagrams.look(&srtcp(1, 5, tag), START), None);
            let later = START + Duration::from_secs(5);
            assert_eq!(
                datagrams.look(&srtcp(1, 5 + step, tag), later),
                expected,
                "{tag} {step}"
            );
        }
    }
    let mut datagrams = Datagrams::new(Profile::Any);
    datagrams.look(&srtcp(1, 5, 10), START);
    assert_eq!(
        datagrams.look(&srtcp(2, 6, 10), START),
        None,
        "another source"
    );
    assert_eq!(
        datagrams.look(&srtcp(1, 7, 11), START),
        None,
        "another place"
    );
}

#[test]
fn two_reduced_size_packets_of_one_source_are_media() {
    let nack = b"\x81\xcd\x00\x03\x00\x00\x00\x01\x00\x00\x00\x02\x00\x05\x00\x00";
    let mut datagrams = Datagrams::new(Profile::Any);
    assert_eq!(datagrams.look(nack, START), None);
    assert_eq!(datagrams.look(nack, START), Some("srtcp"));
}

#[test]
fn a_fifth_source_takes_the_place_of_the_one_silent_longest() {
    let mut rtp = Rtp::new();
    let mut send =
        |source, number: u16| rtp.send_as([0x80, 111], number, u32::from(number) * 160, source);
    for (source, number) in [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (3, 1)] {
        assert!(!send(source, number));
    }
    // Its numbers continue those of the source whose place it takes, and are a row of its own.
    assert!(!send(4, 1));
    assert!(!send(4, 2), "two packets");
    assert!(send(0, 2), "the others keep their rows");
}

#[test]
fn an_index_without_the_flag_of_encryption_is_none() {
    let plain = |index: u32| {
        let mut packet = srtcp(1, 0, 10);
        packet[12..16].copy_from_slice(&index.to_be_bytes());
        packet
    };
    let mut datagrams = Datagrams::new(Profile::Any);
    assert_eq!(datagrams.look(&plain(5), START), None);
    assert_eq!(datagrams.look(&plain(6), START), None);
}

#[test]
fn the_first_byte_tells_the_protocols_that_share_a_port() {
    let kind = |payload: &[u8]| {
        let mut packet = Vec::new();
        etherparse::PacketBuilder::ipv4([172, 16, 1, 10], [10, 2, 0, 20], 64)
            .udp(50_000, 50_010)
            .write(&mut packet, payload)
            .expect("a vector takes any packet");
        let view = crate::packet::PacketView::parse(&packet).expect("a well-formed packet");
        crate::packet::media::payload_kind(&view)
    };
    // RFC 9443 §3, figure 1, and Microsoft's own framing of TURN.
    for (range, expected) in [
        (0..=3, "stun"),
        (4..=15, "other"),
        (16..=19, "zrtp"),
        (20..=63, "dtls"),
        (64..=79, "turn-channel"),
        (80..=127, "quic"),
        (128..=191, "rtp"),
        (192..=254, "other"),
        (255..=255, "ms-turn"),
    ] {
        for first in range {
            assert_eq!(kind(&[first, 0]), Some(expected), "{first}");
        }
    }
    assert_eq!(kind(&[]), None);
}

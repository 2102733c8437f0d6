//! Evidence at the start of TCP connections.

use super::*;
use crate::packet::media::traffic::{pseudo_tls, stun};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: [u8; 8] = [0, 6, 0, 4, b'a', b':', b'b', b'c'];
const MS_COOKIE: [u8; 8] = [0x00, 0x0f, 0x00, 0x04, 0x72, 0xc6, 0x4b, 0xc6];

/// A connection, met at its start or in its middle.
struct Stream {
    table: FlowTable,
    profile: Profile,
    sequence: u32,
    at: Duration,
}

impl Stream {
    fn met_in_its_middle(profile: Profile) -> Self {
        Self {
            table: FlowTable::new(64),
            profile,
            sequence: u32::MAX - 1,
            at: START,
        }
    }

    fn new(profile: Profile) -> Self {
        let mut stream = Self::met_in_its_middle(profile);
        stream.start();
        stream
    }

    fn start(&mut self) {
        assert_eq!(self.look(self.sequence, true, &[]), None);
        self.sequence = self.sequence.wrapping_add(1);
    }

    fn look(&mut self, sequence: u32, is_start: bool, payload: &[u8]) -> Option<&'static str> {
        let segment = Segment::Tcp {
            sequence,
            is_start,
            payload,
        };
        let found = self
            .table
            .look(self.profile, &flow(Protocol::Tcp), segment, self.at);
        found.media().map(|found| found.evidence.word())
    }

    fn send(&mut self, payload: &[u8]) -> Option<&'static str> {
        let found = self.look(self.sequence, false, payload);
        self.sequence = self.sequence.wrapping_add(payload.len() as u32);
        found
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// The first segment of a connection alone.
fn first(profile: Profile, payload: &[u8]) -> Option<&'static str> {
    Stream::new(profile).send(payload)
}

#[test]
fn a_check_in_a_frame_is_ice_over_tcp() {
    let check = framed(&stun(1, COOKIE, &USERNAME));
    assert_eq!(first(Profile::Ice, &check), Some("ice-tcp"));
    assert_eq!(first(Profile::Microsoft, &check), None);
    let mut longer = check.clone();
    longer[1] += 1;
    assert_eq!(first(Profile::Ice, &longer), None);
    let mut other_cookie = check.clone();
    other_cookie[6] ^= 1;
    other_cookie[2..4].copy_from_slice(&[8, 0]);
    assert_eq!(first(Profile::Ice, &other_cookie), None);
    let mut high_bit = check;
    high_bit[2] |= 0x40;
    assert_eq!(first(Profile::Ice, &high_bit), None);
}

#[test]
fn a_check_of_communicator_in_a_frame_is_ice_over_tcp() {
    let user_name = [&[0, 6, 0, 72][..], &[b'x'; 72], &[0, 8, 0, 20], &[7; 20]].concat();
    let check = framed(&stun(1, [1, 2, 3, 4], &user_name));
    assert_eq!(first(Profile::Ice, &check), Some("ice-tcp"));
}

#[test]
fn a_length_in_a_segment_of_its_own_hides_no_check() {
    let check = framed(&stun(1, COOKIE, &USERNAME));
    let mut stream = Stream::new(Profile::Ice);
    assert_eq!(stream.send(&check[..2]), None);
    assert_eq!(stream.send(&check[2..]), Some("ice-tcp"));
    assert_eq!(stream.send(b"media"), Some("ice-tcp"));
    assert_eq!(
        stream.send(&[]),
        Some("ice-tcp"),
        "an acknowledgment without payload"
    );
}

#[test]
fn a_check_byte_by_byte_is_recognized() {
    let user_name = [&[0, 6, 0, 72][..], &[b'x'; 72]].concat();
    let check = framed(&stun(1, [1, 2, 3, 4], &user_name));
    let mut stream = Stream::new(Profile::Ice);
    let mut found = None;
    for byte in &check[..63] {
        found = stream.send(&[*byte]);
    }
    assert_eq!(found, None);
    assert_eq!(stream.send(&check[63..]), Some("ice-tcp"));
}

#[test]
fn a_repeated_segment_is_read_once() {
    let check = framed(&stun(1, COOKIE, &USERNAME));
    let mut stream = Stream::new(Profile::Ice);
    let start = stream.sequence;
    assert_eq!(stream.look(start, false, &check[..4]), None);
    assert_eq!(stream.look(start, false, &check[..4]), None);
    assert_eq!(stream.look(start, false, &check), Some("ice-tcp"));
}

#[test]
fn turn_messages_on_a_connection_are_media() {
    assert_eq!(first(Profile::Ice, &stun(3, COOKIE, &[])), Some("turn-tcp"));
    assert_eq!(
        first(Profile::Ice, &stun(3, [1, 2, 3, 4], &MS_COOKIE)),
        Some("turn-tcp")
    );
    assert_eq!(first(Profile::Microsoft, &stun(3, COOKIE, &[])), None);
    assert_eq!(
        first(Profile::Microsoft, &stun(3, COOKIE, &MS_COOKIE)),
        Some("turn-tcp")
    );
}

#[test]
fn microsofts_framing_is_recognized_with_either_cookie() {
    for message in [stun(3, COOKIE, &[]), stun(3, [1, 2, 3, 4], &MS_COOKIE)] {
        let control = [&[2, 0][..], &framed(&message)].concat();
        assert_eq!(first(Profile::Ice, &control), Some("ms-turn-tcp"));
        let mut data = control.clone();
        data[0] = 3;
        assert_eq!(first(Profile::Ice, &data), None);
        let mut longer = control;
        longer[3] += 1;
        assert_eq!(first(Profile::Ice, &longer), None);
    }
}

#[test]
fn the_hello_of_pseudo_tls_is_recognized_and_one_of_tls_is_not() {
    let hello = pseudo_tls();
    assert_eq!(first(Profile::Microsoft, &hello), Some("ms-pseudo-tls"));
    let mut stream = Stream::new(Profile::Ice);
    assert_eq!(stream.send(&hello[..20]), None);
    assert_eq!(stream.send(&hello[20..]), Some("ms-pseudo-tls"));
    for at in (0..11).chain(43..50) {
        let mut other = hello;
        other[at] ^= 1;
        assert_eq!(first(Profile::Ice, &other), None, "byte {at}");
    }
}

#[test]
fn the_hello_of_pseudo_ssl_has_72_bytes() {
    let mut hello = vec![0x80, 0x46, 1, 3, 1, 0, 0x2d, 0, 0, 0, 0x10];
    hello.resize(72, 0x55);
    assert_eq!(first(Profile::Ice, &hello), Some("google-pseudo-ssl"));
    assert_eq!(first(Profile::Microsoft, &hello), None);
    assert_eq!(first(Profile::Ice, &hello[..71]), None);
}

#[test]
fn what_starts_as_something_else_stays_it() {
    let check = framed(&stun(1, COOKIE, &USERNAME));
    let mut stream = Stream::new(Profile::Any);
    assert_eq!(
        stream
            .send(b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x0b\x00\x00\x00"),
        None
    );
    assert_eq!(stream.send(&[0x42; 40]), None);
    assert_eq!(stream.send(&check), None);
    stream.at += Duration::from_secs(3600);
    assert_eq!(stream.send(&check), None, "a connection may rest");
    stream.start();
    assert_eq!(stream.send(&check), Some("ice-tcp"), "the next connection");
}

#[test]
fn a_start_a_minute_before_its_first_byte_is_remembered() {
    let mut stream = Stream::new(Profile::Ice);
    stream.at += Duration::from_secs(83);
    let check = framed(&stun(1, COOKIE, &USERNAME));
    assert_eq!(stream.send(&check[..2]), None);
    assert_eq!(stream.send(&check[2..]), Some("ice-tcp"));
}

#[test]
fn four_segments_are_looked_at_where_the_start_was_not_seen() {
    let check = framed(&stun(1, COOKIE, &USERNAME));
    for (junk, expected) in [(3, Some("ice-tcp")), (4, None)] {
        let mut stream = Stream::met_in_its_middle(Profile::Ice);
        for _ in 0..junk {
            assert_eq!(stream.send(b"something else"), None);
            assert_eq!(stream.send(&[]), None);
        }
        assert_eq!(stream.send(&check), expected);
    }
}

fn rtp(sequence: u16, stamp: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(sequence.to_be_bytes());
    packet.extend(stamp.to_be_bytes());
    packet.extend([0; 4]);
    packet.resize(172, 0xd5);
    packet
}

#[test]
fn rtp_in_frames_is_recognized_by_its_clock() {
    let mut stream = Stream::new(Profile::Any);
    for number in 0..2 {
        let frame = framed(&rtp(number, 160 * u32::from(number)));
        assert_eq!(stream.send(&frame), None);
        stream.at += Duration::from_millis(20);
    }
    let third = framed(&rtp(2, 320));
    assert_eq!(stream.send(&third[..9]), None, "its header is split");
    assert_eq!(stream.send(&third[9..]), Some("rtp-tcp"));
    assert_eq!(first(Profile::Ice, &third), None);
}

#[test]
fn the_length_of_a_frame_of_rtp_may_stand_in_a_segment_of_its_own() {
    let mut stream = Stream::new(Profile::Any);
    let mut found = None;
    for number in 0..3 {
        let frame = framed(&rtp(number, 160 * u32::from(number)));
        assert_eq!(stream.send(&frame[..2]), None);
        found = stream.send(&frame[2..]);
        stream.at += Duration::from_millis(20);
    }
    assert_eq!(found, Some("rtp-tcp"));
}

#[test]
fn a_frame_of_rtp_needs_no_more_than_its_header() {
    let mut stream = Stream::new(Profile::Any);
    let found = [0, 1, 2].map(|number: u16| {
        stream.at += Duration::from_millis(20);
        stream.send(&framed(&rtp(number, 160 * u32::from(number))[..12]))
    });
    assert_eq!(found, [None, None, Some("rtp-tcp")]);
}

#[test]
fn one_frame_without_a_header_ends_rtp() {
    let mut stream = Stream::new(Profile::Any);
    assert_eq!(stream.send(&framed(&rtp(0, 0))), None);
    assert_eq!(stream.send(&framed(&[0x42; 172])), None);
    for number in 1..6 {
        assert_eq!(
            stream.send(&framed(&rtp(number, 160 * u32::from(number)))),
            None
        );
    }
}

/// The answer to each of the first bytes of a connection, in segments of `size`.
fn told_each(profile: Profile, payload: &[u8], size: usize) -> Vec<Look> {
    let mut table = FlowTable::new(64);
    let mut look = |sequence, is_start, payload| {
        let segment = Segment::Tcp {
            sequence,
            is_start,
            payload,
        };
        table.look(profile, &flow(Protocol::Tcp), segment, START)
    };
    look(7, true, &[]);
    let segments = (8..).step_by(size).zip(payload.chunks(size));
    segments
        .map(|(sequence, payload)| look(sequence, false, payload))
        .collect()
}

/// The answer to the first bytes of a connection, in one segment.
fn told(profile: Profile, payload: &[u8]) -> Look {
    told_each(profile, payload, payload.len())[0]
}

/// A message that waits for Microsoft's mark behind an attribute of a kilobyte.
fn long_message() -> Vec<u8> {
    let software = [0x80, 0x22, 3, 0xfc];
    stun(1, COOKIE, &[&software[..], &[0; 1_020]].concat())
}

#[test]
fn a_stream_is_ruled_out_at_the_first_byte_that_no_evidence_has() {
    let message = |length: u16| [&[0, 1][..], &length.to_be_bytes(), &[9; 16]].concat();
    for (profile, payload, expected) in [
        (Profile::Ice, &b"G"[..], Look::Undecided),
        // 0x4745 is the length of a frame, but no message begins with T.
        (Profile::Ice, b"GET", Look::NotMedia),
        // A message of STUN without its cookie, and without an attribute that could be Microsoft's.
        (Profile::Ice, &message(0)[..19], Look::Undecided),
        (Profile::Ice, &message(0), Look::NotMedia),
        // A frame of RTP: its version is 2.
        (Profile::Any, &[0x40, 0], Look::Undecided),
        (Profile::Any, &[0x40, 0, 0x80], Look::Undecided),
        (Profile::Any, &[0x40, 0, 0x40], Look::NotMedia),
    ] {
        assert_eq!(told(profile, payload), expected, "{payload:02x?}");
    }
}

#[test]
fn a_mark_is_waited_for_in_256_bytes() {
    let long = long_message();
    assert_eq!(told(Profile::Microsoft, &long[..255]), Look::Undecided);
    assert_eq!(told(Profile::Microsoft, &long[..256]), Look::NotMedia);
}

#[test]
fn an_undecided_stream_is_looked_at_in_64_segments() {
    let looks = told_each(Profile::Microsoft, &long_message()[..65], 1);
    assert_eq!(looks[..63], [Look::Undecided; 63]);
    assert_eq!(looks[63..], [Look::NotMedia; 2]);
}

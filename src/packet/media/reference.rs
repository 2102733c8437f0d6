//! A model of media recognition that follows the specification: byte by byte, flow by flow, without a bound on memory.
//!
//! It shares only types with the fast code. [`assert_agreement`] compares the two packet by packet; it is the oracle of
//! the property tests and of the fuzz target `media`.

mod payload;
mod rows;
mod stream;

use std::collections::HashMap;
use std::time::Duration;

use payload::Payload;
use rows::{rows, srtcp};
use stream::stream;

use super::traffic::Scenario;
use super::{By, Evidence, FLOW_IDLE, FlowKey, FlowTable, Look, Profile, Recognized, Segment};

/// Examines the packets of `scenario` with the table and with the model.
///
/// # Panics
/// If the table and the model differ, or if a packet is media whose flow the table has ruled out: a kernel that asks no
/// more would forward it.
pub fn assert_agreement(scenario: &Scenario) {
    let mut table = FlowTable::new(4096);
    let mut model = ReferenceFlows::new(scenario.profile);
    let mut cleared = HashMap::<FlowKey, Duration>::new();
    for (at, arrival) in scenario.arrivals.iter().enumerate() {
        let segment = arrival.segment.borrow();
        let fast = table.look(scenario.profile, &arrival.key, segment, arrival.at);
        let slow = model.look(&arrival.key, segment, arrival.at);
        let before = cleared.get(&arrival.key);
        let passes = !asks_again(segment)
            && before.is_some_and(|seen| arrival.at.saturating_sub(*seen) < FLOW_IDLE);
        assert!(
            !passes || slow.is_none(),
            "packet {at} of a flow without media is {slow:?} under {:?}: {:02x?}",
            scenario.profile,
            scenario.arrivals
        );
        if passes || fast == Look::NotMedia {
            cleared.insert(arrival.key, arrival.at);
        } else if matches!(segment, Segment::Tcp { is_start: true, .. })
            || matches!(fast, Look::Media(_))
        {
            cleared.remove(&arrival.key);
        }
        assert_eq!(
            fast.media(),
            slow,
            "packet {at} under {:?}: {:02x?}",
            scenario.profile,
            scenario.arrivals
        );
    }
    assert_eq!(table.evicted(), 0, "a scenario has few flows");
}

/// True for the packets of a cleared flow that are examined all the same: `is_new` of the programs in the kernel.
fn asks_again(segment: Segment<'_>) -> bool {
    match segment {
        Segment::Udp { payload, .. } => [4, 8, 16].iter().any(|at| {
            let cookie = payload.get(*at..*at + 4);
            cookie == Some(&[0x21, 0x12, 0xa4, 0x42])
        }),
        Segment::Tcp { is_start, .. } => is_start,
    }
}

/// Every flow seen so far.
#[derive(Debug)]
pub struct ReferenceFlows {
    profile: Profile,
    flows: HashMap<FlowKey, Flow>,
}

#[derive(Debug)]
struct Flow {
    seen: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    Udp(Vec<(Vec<u8>, usize, Duration)>),
    Tcp(Connection),
    Middle(usize),
    NotMedia,
    Media(Evidence),
}

#[derive(Debug)]
struct Connection {
    start: u32,
    segments: usize,
    bytes: Vec<u8>,
    framing: Option<Framing>,
}

/// RTP in frames, fed byte by byte.
#[derive(Debug, Default)]
struct Framing {
    next: usize,
    header: Vec<u8>,
    packets: Vec<(Vec<u8>, usize, Duration)>,
}

impl ReferenceFlows {
    /// No flow yet.
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            flows: HashMap::new(),
        }
    }

    /// Examines one packet, as [`FlowTable::look`] does.
    pub fn look(
        &mut self,
        key: &FlowKey,
        segment: Segment<'_>,
        now: Duration,
    ) -> Option<Recognized> {
        let profile = self.profile;
        let idle = |flow: &Flow| now.saturating_sub(flow.seen) >= Duration::from_secs(60);
        if let Some(flow) = self.flows.get(key)
            && idle(flow)
        {
            let forgotten = match (&flow.state, segment) {
                (State::Media(_) | State::Udp(_), _) => true,
                (State::NotMedia, Segment::Udp { .. }) => true,
                (State::NotMedia | State::Tcp(_) | State::Middle(_), _) => false,
            };
            if forgotten {
                self.flows.get_mut(key)?.state = first_state(segment);
            }
        }
        if !self.flows.contains_key(key)
            && let Segment::Tcp {
                is_start: false,
                payload: [],
                ..
            } = segment
        {
            return None;
        }
        let flow = self.flows.entry(*key).or_insert_with(|| Flow {
            seen: now,
            state: first_state(segment),
        });
        flow.seen = flow.seen.max(now);
        if let State::Media(evidence) = flow.state {
            return Some(Recognized {
                evidence,
                by: By::Flow,
            });
        }
        let evidence = match segment {
            Segment::Udp { payload, size } => flow.state.udp(profile, payload, size, now),
            Segment::Tcp {
                sequence,
                is_start,
                payload,
            } => {
                let mut first = sequence;
                if is_start {
                    first = sequence.wrapping_add(1);
                    flow.state = State::Tcp(Connection {
                        start: first,
                        segments: 0,
                        bytes: Vec::new(),
                        framing: (profile == Profile::Any).then(Framing::default),
                    });
                }
                flow.state.tcp(profile, first, payload, now)
            }
        }?;
        flow.state = State::Media(evidence);
        Some(Recognized {
            evidence,
            by: By::Itself,
        })
    }
}

fn first_state(segment: Segment<'_>) -> State {
    match segment {
        Segment::Udp { .. } => State::Udp(Vec::new()),
        Segment::Tcp { .. } => State::Middle(0),
    }
}

impl State {
    fn udp(
        &mut self,
        profile: Profile,
        payload: &[u8],
        size: usize,
        now: Duration,
    ) -> Option<Evidence> {
        let payload_view = Payload {
            bytes: payload,
            size,
        };
        let State::Udp(looks) = self else {
            return payload_view
                .cookie()
                .filter(|found| found.counts(profile))
                .map(|found| found.evidence);
        };
        if let Some(found) = payload_view.single()
            && found.counts(profile)
        {
            return Some(found.evidence);
        }
        looks.push((payload.to_vec(), size, now));
        let (rtp, under_way) = rows(looks);
        if profile == Profile::Any {
            if rtp {
                return Some(Evidence::Rtp);
            }
            if srtcp(looks) {
                return Some(Evidence::Srtcp);
            }
        }
        let limit = if profile == Profile::Any && under_way {
            64
        } else {
            8
        };
        if looks.len() >= limit {
            *self = State::NotMedia;
        }
        None
    }

    fn tcp(
        &mut self,
        profile: Profile,
        first: u32,
        payload: &[u8],
        now: Duration,
    ) -> Option<Evidence> {
        if payload.is_empty() {
            return None;
        }
        match self {
            State::Middle(segments) => {
                if let Some(found) = stream(payload, profile) {
                    return Some(found);
                }
                *segments += 1;
                if *segments == 4 {
                    *self = State::NotMedia;
                }
                None
            }
            State::Tcp(connection) => {
                connection.segments += 1;
                for (at, &byte) in payload.iter().enumerate() {
                    let offset = i64::from(first.wrapping_sub(connection.start) as i32) + at as i64;
                    let Ok(offset) = usize::try_from(offset) else {
                        continue;
                    };
                    if offset == connection.bytes.len() {
                        connection.bytes.push(byte);
                    }
                }
                if let Some(found) = stream(&connection.bytes, profile) {
                    return Some(found);
                }
                for (at, &byte) in payload.iter().enumerate() {
                    let offset = i64::from(first.wrapping_sub(connection.start) as i32) + at as i64;
                    if let (Ok(offset), Some(framing)) =
                        (usize::try_from(offset), &mut connection.framing)
                    {
                        match framing.feed(offset, byte, now) {
                            Some(true) => return Some(Evidence::RtpTcp),
                            Some(false) => connection.framing = None,
                            None => {}
                        }
                    }
                }
                if connection.segments == 64 {
                    *self = State::NotMedia;
                }
                None
            }
            State::Udp(_) | State::NotMedia | State::Media(_) => None,
        }
    }
}

impl Framing {
    /// `Some(true)` if the frames are media, `Some(false)` if the bytes are not frames.
    fn feed(&mut self, offset: usize, byte: u8, now: Duration) -> Option<bool> {
        if offset != self.next + self.header.len() {
            return None;
        }
        self.header.push(byte);
        if self.header.len() < 14 {
            return None;
        }
        let header = std::mem::take(&mut self.header);
        let length = usize::from(header[0]) * 256 + usize::from(header[1]);
        let packet = Payload {
            bytes: &header[2..],
            size: length,
        };
        if packet.rtp().is_none() {
            return Some(false);
        }
        self.packets.push((header[2..].to_vec(), length, now));
        self.next += 2 + length;
        rows(&self.packets).0.then_some(true)
    }
}

//! [`FlowTable`]: keeps the state of each flow, so that media is recognized once and then for the life of the flow.
//!
//! ```text
//!                    evidence                     60 s without a packet
//!   looked at ───────────────────────▶ media ───────────────────────────▶ forgotten
//!       │                                ▲
//!       │ 8 datagrams without a row,     │ the cookie of STUN (UDP), a connection that
//!       │ 64 with one; a stream that     │ starts and shows evidence (TCP)
//!       ▼ is ruled out                   │
//!   not media ───────────────────────────┘
//! ```
//!
//! The table is bounded: it has sets of eight entries, two sets for each flow. A new flow takes an empty or idle entry,
//! else it evicts the oldest entry of its first set. Each client has a share: once it owns half of a full set, it
//! evicts only its own flows. State needed only while a flow is examined (rows of sources, the first bytes of a stream)
//! is kept in two smaller pools, reused in order of allocation. Losing any of it delays recognition, and never makes a
//! verdict wrong.

use std::time::Duration;

use super::frames::{Followed, Frames};
use super::pool::{Pool, Ticket};
use super::prefix::{self, MAX_PREFIX, Prefix};
use super::rows::{RowPacket, Rows};
use super::{By, Evidence, FlowKey, Look, Profile, Recognized, Segment, datagram};

/// Idle time after which a flow is forgotten: longer than the 30 s after which consent expires (RFC 7675 §5.1).
pub const FLOW_IDLE: Duration = Duration::from_secs(60);

/// Datagrams after which a flow without a row under way is not media.
const MAX_LOOKS: u8 = 8;
/// Datagrams after which a flow with one is not, and segments after which an undecided stream is not.
const MAX_LOOKS_UNDER_WAY: u8 = 64;
/// Segments examined one by one if the start of a connection was not seen.
const MAX_MIDDLE_LOOKS: u8 = 4;

/// A bounded memory of flows.
#[derive(Debug)]
pub struct FlowTable {
    /// For each set: part of the hash of each entry, 0 for an empty one.
    tags: Vec<[u8; WAYS]>,
    flows: Vec<[Flow; WAYS]>,
    rows: Pool<Rows>,
    streams: Pool<Stream>,
    taken: usize,
    evicted: u64,
}

/// Entries in a set.
const WAYS: usize = 8;
/// Entries of a full set from which on a client evicts only its own flows.
const SHARE: usize = WAYS / 2;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Flow {
    key: FlowKey,
    state: State,
    /// The time of its last packet, in nanoseconds.
    seen: u64,
}

const _: () = assert!(size_of::<Flow>() == 64, "a flow takes a cache line");

#[derive(Debug, Clone, Copy)]
enum State {
    /// Datagrams that showed nothing so far.
    Datagrams { looks: u8, rows: Ticket },
    /// A connection whose first byte has the sequence number `start`.
    Stream {
        start: u32,
        looks: u8,
        stream: Ticket,
    },
    /// A connection whose start was not seen.
    Middle { looks: u8 },
    /// Something else.
    NotMedia,
    /// Media, by this evidence.
    Media(Evidence),
}

/// The beginning of a stream, until it is decided.
#[derive(Debug, Clone, Copy)]
struct Stream {
    prefix: [u8; MAX_PREFIX],
    length: usize,
    /// `None` once the stream cannot be RTP in frames.
    frames: Option<Frames>,
    /// Once the prefix is ruled out.
    prefix_decided: bool,
}

impl FlowTable {
    /// Flows that a gateway should remember, in about 14 MiB.
    pub const GATEWAY_FLOWS: usize = 1 << 17;

    /// A table for `capacity` flows, rounded up to a power of two, 8 at least; allocates nothing after this.
    pub fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).next_power_of_two();
        Self {
            tags: vec![[0; WAYS]; sets],
            flows: vec![[Flow::EMPTY; WAYS]; sets],
            rows: Pool::new((sets * WAYS / 8).max(WAYS), Rows::default()),
            streams: Pool::new((sets * WAYS / 64).max(WAYS), Stream::EMPTY),
            taken: 0,
            evicted: 0,
        }
    }

    /// Examines the packet of `key` that arrived at `now`.
    ///
    /// A table serves one `profile`: [`clear`](Self::clear) it before using another.
    #[inline]
    pub fn look(
        &mut self,
        profile: Profile,
        key: &FlowKey,
        segment: Segment<'_>,
        now: Duration,
    ) -> Look {
        let spread = Spread::of(key, self.tags.len());
        let seen = nanoseconds(now);
        let Some(place) = self.find(spread, key) else {
            return self.look_at_new(profile, spread, key, segment, now);
        };
        let flow = &mut self.flows[place.set][place.way];
        if flow.is_idle(seen) && flow.state.ends_when_idle(segment) {
            flow.state = State::of(segment);
        }
        // Packets of a capture may stand out of order: a flow is as young as its youngest packet.
        flow.seen = flow.seen.max(seen);
        match (flow.state, segment) {
            (State::Media(evidence), _) => Look::Media(Recognized {
                evidence,
                by: By::Flow,
            }),
            (State::NotMedia, Segment::Udp { payload, size })
                if !datagram::may_have_cookie(payload, size) =>
            {
                Look::NotMedia
            }
            (
                State::NotMedia,
                Segment::Tcp {
                    is_start: false, ..
                },
            ) => Look::NotMedia,
            _ => self.examine(profile, place, segment, now),
        }
    }

    /// Examines a packet of a flow that the table does not have.
    #[cold]
    #[inline(never)]
    fn look_at_new(
        &mut self,
        profile: Profile,
        spread: Spread,
        key: &FlowKey,
        segment: Segment<'_>,
        now: Duration,
    ) -> Look {
        let says_nothing = matches!(
            segment,
            Segment::Tcp {
                is_start: false,
                payload: [],
                ..
            }
        );
        if says_nothing {
            return Look::Undecided;
        }
        let place = self.insert(
            spread,
            Flow {
                key: *key,
                state: State::of(segment),
                seen: nanoseconds(now),
            },
        );
        self.examine(profile, place, segment, now)
    }

    /// Examines a packet of the flow at `place` that may decide the flow.
    #[inline(never)]
    fn examine(
        &mut self,
        profile: Profile,
        place: Place,
        segment: Segment<'_>,
        now: Duration,
    ) -> Look {
        let state = &mut self.flows[place.set][place.way].state;
        let owner = (place.set * WAYS + place.way) as u32;
        let evidence = match segment {
            Segment::Udp { payload, size } => {
                look_at_datagram(state, &mut self.rows, owner, profile, (payload, size), now)
            }
            Segment::Tcp {
                sequence,
                is_start,
                payload,
            } => {
                let first = sequence.wrapping_add(is_start.into());
                if is_start {
                    *state = State::start_of_stream(first);
                }
                look_at_segment(
                    state,
                    &mut self.streams,
                    owner,
                    profile,
                    (first, payload),
                    now,
                )
            }
        };
        match (evidence, *state) {
            (Some(evidence), _) => {
                *state = State::Media(evidence);
                let by = By::Itself;
                Look::Media(Recognized { evidence, by })
            }
            (None, State::NotMedia) => Look::NotMedia,
            (None, _) => Look::Undecided,
        }
    }

    /// Entries taken: idle flows keep theirs until another one needs it.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Flows evicted before they were idle, for lack of room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets every flow.
    pub fn clear(&mut self) {
        self.tags.fill([0; WAYS]);
        self.taken = 0;
    }

    /// Bytes that the table takes, all allocated at its creation.
    pub fn memory_bytes(&self) -> usize {
        self.tags.capacity() * size_of::<[u8; WAYS]>()
            + self.flows.capacity() * size_of::<[Flow; WAYS]>()
            + self.rows.memory_bytes()
            + self.streams.memory_bytes()
    }

    /// The entry of a flow.
    #[inline(always)]
    fn find(&self, spread: Spread, key: &FlowKey) -> Option<Place> {
        spread.sets.into_iter().find_map(|set| {
            let flows = &self.flows[set];
            Ways::with_tag(self.tags[set], spread.tag)
                .find(|&way| flows[way].key == *key)
                .map(|way| Place { set, way })
        })
    }

    /// Inserts a flow: into an empty entry of one of its two sets, else replacing an idle one, else the oldest one of
    /// its first set.
    fn insert(&mut self, spread: Spread, flow: Flow) -> Place {
        let places = || {
            let ways = |set| (0..WAYS).map(move |way| Place { set, way });
            spread.sets.into_iter().flat_map(ways)
        };
        let is_empty = |place: &Place| self.tags[place.set][place.way] == 0;
        let is_idle = |place: &Place| self.flows[place.set][place.way].is_idle(flow.seen);
        let free = places().find(is_empty).or_else(|| places().find(is_idle));
        let place = free.unwrap_or_else(|| self.evict(spread.sets[0], &flow.key));
        self.taken += usize::from(self.tags[place.set][place.way] == 0);
        self.tags[place.set][place.way] = spread.tag;
        self.flows[place.set][place.way] = flow;
        place
    }

    /// The oldest entry of a full set; the oldest of the same client, where it has its share of the set.
    fn evict(&mut self, set: usize, key: &FlowKey) -> Place {
        self.evicted += 1;
        let flows = &self.flows[set];
        let is_own = |flow: &Flow| flow.key.source == key.source;
        let has_its_share = flows.iter().filter(|flow| is_own(flow)).count() >= SHARE;
        let way = (0..WAYS)
            .filter(|&way| !has_its_share || is_own(&flows[way]))
            .min_by_key(|&way| flows[way].seen)
            .unwrap_or(0);
        Place { set, way }
    }
}

/// The two sets of a flow: with a choice, sets overflow only when the table is nearly full.
#[derive(Debug, Clone, Copy)]
struct Spread {
    sets: [usize; 2],
    /// Part of the hash; 0 stands for an empty entry.
    tag: u8,
}

impl Spread {
    #[inline]
    fn of(key: &FlowKey, sets: usize) -> Self {
        let hash = key.spread();
        let mask = sets - 1;
        Self {
            sets: [hash as usize & mask, (hash >> 20) as usize & mask],
            tag: ((hash >> 56) as u8).max(1),
        }
    }
}

/// Entries of a set that may have a tag: the highest bit of the byte of each.
///
/// The tags of a set are compared as one word: a branch for each entry would be mispredicted at about every packet. An
/// entry above one with the tag may be found without having it, which the comparison of keys tells.
#[derive(Debug, Clone, Copy)]
struct Ways(u64);

const _: () = assert!(WAYS == size_of::<u64>(), "the tags of a set are a word");

impl Ways {
    #[inline(always)]
    fn with_tag(tags: [u8; WAYS], tag: u8) -> Self {
        const LOWEST: u64 = u64::from_le_bytes([1; WAYS]);
        const HIGHEST: u64 = LOWEST << 7;
        let difference = u64::from_le_bytes(tags) ^ (LOWEST * u64::from(tag));
        Self(difference.wrapping_sub(LOWEST) & !difference & HIGHEST)
    }
}

impl Iterator for Ways {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let first = (self.0 != 0).then(|| self.0.trailing_zeros() as usize / 8);
        self.0 &= self.0.wrapping_sub(1);
        first
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    set: usize,
    way: usize,
}

impl Flow {
    const EMPTY: Self = Self {
        key: FlowKey::EMPTY,
        state: State::NotMedia,
        seen: 0,
    };

    fn is_idle(&self, now: u64) -> bool {
        now.saturating_sub(self.seen) >= FLOW_IDLE.as_nanos() as u64
    }
}

impl State {
    /// The state of a flow whose first packet carries `segment`; the start of a connection is handled separately.
    fn of(segment: Segment<'_>) -> Self {
        match segment {
            Segment::Udp { .. } => Self::Datagrams {
                looks: 0,
                rows: Ticket::NONE,
            },
            Segment::Tcp { .. } => Self::Middle { looks: 0 },
        }
    }

    /// A connection may be idle for hours: until the next one starts, it stays undecided or not media.
    const fn ends_when_idle(self, segment: Segment<'_>) -> bool {
        match self {
            Self::Media(_) | Self::Datagrams { .. } => true,
            Self::Stream { .. } | Self::Middle { .. } => false,
            Self::NotMedia => matches!(segment, Segment::Udp { .. }),
        }
    }

    const fn start_of_stream(start: u32) -> Self {
        Self::Stream {
            start,
            looks: 0,
            stream: Ticket::NONE,
        }
    }
}

impl Stream {
    const EMPTY: Self = Self {
        prefix: [0; MAX_PREFIX],
        length: 0,
        frames: None,
        prefix_decided: false,
    };

    /// Before its first byte.
    fn start(profile: Profile) -> Self {
        Self {
            frames: (profile == Profile::Any).then(Frames::default),
            ..Self::EMPTY
        }
    }

    /// Processes a segment `offset` bytes after the start of the stream.
    fn take(&mut self, profile: Profile, offset: usize, payload: &[u8], now: Duration) -> Prefix {
        if !self.prefix_decided {
            let fresh = self
                .length
                .checked_sub(offset)
                .and_then(|at| payload.get(at..));
            let room = &mut self.prefix[self.length..];
            let fresh = fresh.unwrap_or_default();
            let taken = room.len().min(fresh.len());
            room[..taken].copy_from_slice(&fresh[..taken]);
            self.length += taken;
            match prefix::recognize(profile, &self.prefix[..self.length]) {
                Prefix::Media(evidence) => return Prefix::Media(evidence),
                Prefix::Undecided => {}
                Prefix::RuledOut => self.prefix_decided = true,
            }
        }
        if let Some(frames) = &mut self.frames {
            match frames.follow(offset, payload, now) {
                Followed::Media => return Prefix::Media(Evidence::RtpTcp),
                Followed::On => {}
                Followed::Ended => self.frames = None,
            }
        }
        if self.prefix_decided && self.frames.is_none() {
            Prefix::RuledOut
        } else {
            Prefix::Undecided
        }
    }
}

/// Examines a datagram of a flow not known as media; returns evidence if it is media.
fn look_at_datagram(
    state: &mut State,
    pool: &mut Pool<Rows>,
    owner: u32,
    profile: Profile,
    (payload, size): (&[u8], usize),
    now: Duration,
) -> Option<Evidence> {
    let State::Datagrams { looks, rows } = state else {
        let sighting = datagram::recognize_cookie(payload, size)?;
        return profile.takes(sighting).then_some(sighting.evidence);
    };
    if let Some(sighting) = datagram::recognize(payload, size)
        && profile.takes(sighting)
    {
        return Some(sighting.evidence);
    }
    if profile == Profile::Any
        && let Some(packet) = RowPacket::read(payload, size)
    {
        let rows = pool.get_or_take(rows, owner, Rows::default);
        if let Some(evidence) = rows.put(packet, now) {
            return Some(evidence);
        }
    }
    *looks += 1;
    let is_over = *looks >= MAX_LOOKS
        && (*looks >= MAX_LOOKS_UNDER_WAY
            || !pool
                .get(*rows, owner)
                .is_some_and(|rows| rows.is_under_way()));
    if is_over {
        *state = State::NotMedia;
    }
    None
}

/// Examines a segment of a connection not known as media; returns evidence if it is media.
fn look_at_segment(
    state: &mut State,
    pool: &mut Pool<Stream>,
    owner: u32,
    profile: Profile,
    (first, payload): (u32, &[u8]),
    now: Duration,
) -> Option<Evidence> {
    if payload.is_empty() {
        return None;
    }
    match state {
        State::Stream {
            start,
            looks,
            stream,
        } => {
            // Bytes before the start, as in keep-alives, are not part of the stream.
            let distance = first.wrapping_sub(*start) as i32;
            let before = distance.min(0).unsigned_abs() as usize;
            let offset = distance.max(0) as usize;
            let payload = payload.get(before..).unwrap_or_default();
            let found = if stream.is_none() {
                let mut fresh = Stream::start(profile);
                let found = fresh.take(profile, offset, payload, now);
                if found == Prefix::Undecided {
                    *pool.get_or_take(stream, owner, || Stream::EMPTY) = fresh;
                }
                found
            } else {
                let known = pool.get(*stream, owner);
                known.map_or(Prefix::RuledOut, |stream| {
                    stream.take(profile, offset, payload, now)
                })
            };
            *looks += 1;
            match found {
                Prefix::Media(evidence) => return Some(evidence),
                Prefix::Undecided if *looks < MAX_LOOKS_UNDER_WAY => {}
                Prefix::Undecided | Prefix::RuledOut => *state = State::NotMedia,
            }
        }
        State::Middle { looks } => {
            if let Prefix::Media(evidence) = prefix::recognize(profile, payload) {
                return Some(evidence);
            }
            *looks += 1;
            if *looks >= MAX_MIDDLE_LOOKS {
                *state = State::NotMedia;
            }
        }
        State::Datagrams { .. } | State::NotMedia | State::Media(_) => {}
    }
    None
}

/// Converts a time to nanoseconds, as entries store it: enough for 584 years.
fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}

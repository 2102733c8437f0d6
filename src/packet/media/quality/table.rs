//! [`RtpTable`]: recognizes RTP streams, and holds their measurements in bounded memory.
//!
//! ```text
//!                 a row of packets with a media clock             60 s without a packet
//!   candidate ─────────────────────────────────────────▶ stream ─────────────────────────▶ ended
//! ```
//!
//! A stream is one source (SSRC) of one directed flow of UDP, by itself or in TURN ChannelData. It is measured from its first
//! packet on, and reported once its row is media, by the same conditions as evidence (`rtp`). The table has sets of
//! eight entries, two sets for each flow. A new stream takes an empty or idle entry, else that of the oldest
//! candidate, else it evicts the oldest stream, which ends early and is counted.

use std::time::Duration;

use super::super::flow::FLOW_IDLE;
use super::super::rtp::{Header, Row};
use super::super::{FlowKey, Segment, turn};
use super::RtpStream;

/// A stream and its measurements.
#[derive(Debug, Clone, Copy)]
pub struct MeasuredStream<Note> {
    /// Its flow.
    pub flow: FlowKey,
    /// Its synchronization source (SSRC).
    pub source: u32,
    /// Its measurements.
    pub measured: RtpStream,
    /// The note of its last packet.
    pub note: Note,
}

/// The RTP streams of the moment, each with a note of the caller.
#[derive(Debug)]
pub struct RtpTable<Note> {
    /// For each set: part of the hash of each entry, 0 for an empty one.
    tags: Vec<[u32; WAYS]>,
    entries: Vec<[Entry<Note>; WAYS]>,
    streams: usize,
    evicted: u64,
    swept: usize,
}

/// Entries in a set.
const WAYS: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Entry<Note> {
    stream: MeasuredStream<Note>,
    row: Row,
    /// True once the row was media.
    is_media: bool,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    set: usize,
    way: usize,
}

impl<Note: Copy + Default> RtpTable<Note> {
    /// A table for `capacity` streams, rounded up to a power of two, 8 at least; allocates nothing after this.
    pub fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).next_power_of_two();
        Self {
            tags: vec![[0; WAYS]; sets],
            entries: vec![[Entry::empty(); WAYS]; sets],
            streams: 0,
            evicted: 0,
            swept: 0,
        }
    }

    /// Measures the packet of `flow` that arrived at `now`, if it can be RTP; `ended` gets each stream that ends with it.
    #[inline]
    pub fn record(
        &mut self,
        flow: &FlowKey,
        segment: Segment<'_>,
        now: Duration,
        note: Note,
        ended: impl FnMut(&MeasuredStream<Note>),
    ) {
        if let Some(header) = read(segment) {
            self.record_header(flow, header, now, note, ended);
        }
    }

    /// Returns `true` if a packet can be RTP by its header alone.
    pub fn may_be_rtp(&self, segment: Segment<'_>) -> bool {
        read(segment).is_some()
    }

    /// Returns `true` if a stream of `flow` is under way.
    pub fn has_stream_of(&self, flow: &FlowKey) -> bool {
        let mut places = places(self.sets_of(flow.spread()));
        places.any(|place| {
            let entry = &self.entries[place.set][place.way];
            self.tags[place.set][place.way] != 0 && entry.is_media && entry.stream.flow == *flow
        })
    }

    /// Ends the idle streams of one set of entries after the other, one a call.
    pub fn sweep(&mut self, now: Duration, mut ended: impl FnMut(&MeasuredStream<Note>)) {
        let set = self.swept;
        self.swept = (set + 1) % self.tags.len();
        for way in 0..WAYS {
            if self.tags[set][way] != 0 && self.entries[set][way].is_idle(now) {
                self.end(Place { set, way }, &mut ended);
            }
        }
    }

    /// Ends all streams.
    pub fn finish(&mut self, mut ended: impl FnMut(&MeasuredStream<Note>)) {
        for set in 0..self.tags.len() {
            for way in 0..WAYS {
                if self.tags[set][way] != 0 {
                    self.end(Place { set, way }, &mut ended);
                }
            }
        }
    }

    /// The streams of the moment, candidates not included.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// Streams that ended early, for lack of room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Bytes that the table takes, all allocated at its creation.
    pub fn memory_bytes(&self) -> usize {
        self.tags.capacity() * size_of::<[u32; WAYS]>()
            + self.entries.capacity() * size_of::<[Entry<Note>; WAYS]>()
    }

    fn record_header(
        &mut self,
        flow: &FlowKey,
        header: Header,
        now: Duration,
        note: Note,
        mut ended: impl FnMut(&MeasuredStream<Note>),
    ) {
        let hash = flow.spread();
        let sets = self.sets_of(hash);
        let tag = (hash >> 32) as u32 ^ header.source | 1;
        let entry = Entry::start(flow, header, now, note);
        let Some(place) = self.lookup(sets, tag, flow, header.source) else {
            let place = self.make_room(sets, now, &mut ended);
            self.tags[place.set][place.way] = tag;
            self.entries[place.set][place.way] = entry;
            return;
        };
        let known = &mut self.entries[place.set][place.way];
        if known.is_idle(now) {
            self.end(place, &mut ended);
            self.tags[place.set][place.way] = tag;
            self.entries[place.set][place.way] = entry;
            return;
        }
        known.stream.measured.add(header, now);
        known.stream.note = note;
        if !known.is_media && known.row.follow(header, now) {
            known.is_media = true;
            self.streams += 1;
        }
    }

    fn sets_of(&self, hash: u64) -> [usize; 2] {
        let mask = self.tags.len() - 1;
        [hash as usize & mask, (hash >> 20) as usize & mask]
    }

    fn lookup(&self, sets: [usize; 2], tag: u32, flow: &FlowKey, source: u32) -> Option<Place> {
        places(sets).find(|place| {
            self.tags[place.set][place.way] == tag && {
                let stream = &self.entries[place.set][place.way].stream;
                stream.source == source && stream.flow == *flow
            }
        })
    }

    /// An empty entry of two sets; the entry of an idle stream, of a candidate or of the oldest stream becomes one.
    #[cold]
    #[inline(never)]
    fn make_room(
        &mut self,
        sets: [usize; 2],
        now: Duration,
        ended: &mut impl FnMut(&MeasuredStream<Note>),
    ) -> Place {
        let rank = |place: &Place| {
            if self.tags[place.set][place.way] == 0 {
                return (0, Duration::ZERO);
            }
            let entry = &self.entries[place.set][place.way];
            let last = entry.stream.measured.last();
            match (entry.is_idle(now), entry.is_media) {
                (true, _) => (1, last),
                (false, false) => (2, last),
                (false, true) => (3, last),
            }
        };
        let first = Place {
            set: sets[0],
            way: 0,
        };
        let place = places(sets).min_by_key(rank).unwrap_or(first);
        self.evicted += u64::from(rank(&place).0 == 3);
        if self.tags[place.set][place.way] != 0 {
            self.end(place, ended);
        }
        place
    }

    /// Empties an entry, and hands out its stream if it is one.
    fn end(&mut self, place: Place, ended: &mut impl FnMut(&MeasuredStream<Note>)) {
        self.tags[place.set][place.way] = 0;
        let entry = &self.entries[place.set][place.way];
        if entry.is_media {
            self.streams -= 1;
            ended(&entry.stream);
        }
    }
}

impl<Note: Copy + Default> Entry<Note> {
    fn start(flow: &FlowKey, header: Header, now: Duration, note: Note) -> Self {
        Self {
            stream: MeasuredStream {
                flow: *flow,
                source: header.source,
                measured: RtpStream::start(header, now),
                note,
            },
            row: Row::start(header, now),
            is_media: false,
        }
    }

    fn empty() -> Self {
        Self::start(
            &FlowKey::EMPTY,
            Header::EMPTY,
            Duration::ZERO,
            Note::default(),
        )
    }

    fn is_idle(&self, now: Duration) -> bool {
        now.saturating_sub(self.stream.measured.last()) >= FLOW_IDLE
    }
}

/// The entries of two sets.
fn places(sets: [usize; 2]) -> impl Iterator<Item = Place> {
    let ways = |set| (0..WAYS).map(move |way| Place { set, way });
    sets.into_iter().flat_map(ways)
}

/// The header of what can be RTP: of a datagram, or of what stands in its ChannelData.
#[inline]
fn read(segment: Segment<'_>) -> Option<Header> {
    let Segment::Udp { payload, size } = segment else {
        return None;
    };
    match payload.first()? {
        0x80..=0xbf => Header::read(payload, size),
        0x40..=0x4f => {
            let (data, length) = turn::channel_data(payload, size)?;
            Header::read(data, length)
        }
        _ => None,
    }
}

//! [`Rows`]: tracks the sources of one flow, to find if they send media.

use std::time::Duration;

use super::rtp::{Header, Row};
use super::{Evidence, rtcp};

/// Number of sources remembered per flow, for RTP and RTCP each.
const SOURCES: usize = 4;

/// RTP and RTCP packets of a flow's sources; a new source replaces the one that was silent longest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rows {
    rtp: RtpRows,
    rtcp: [Option<(rtcp::Candidate, Duration)>; SOURCES],
}

/// A datagram as part of a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowPacket {
    Rtp(Header),
    Rtcp(rtcp::Candidate),
}

impl RowPacket {
    /// Reads a payload of `size` bytes.
    pub(super) fn read(bytes: &[u8], size: usize) -> Option<Self> {
        // The types of RTCP and RTP are disjoint: a payload is at most one of them.
        Header::read(bytes, size)
            .map(Self::Rtp)
            .or_else(|| rtcp::Candidate::read(bytes, size).map(Self::Rtcp))
    }
}

impl Rows {
    /// Appends `packet` to the row of its source; returns evidence if that makes it media.
    pub(super) fn put(&mut self, packet: RowPacket, now: Duration) -> Option<Evidence> {
        match packet {
            RowPacket::Rtp(header) => self.rtp.put(header, now).then_some(Evidence::Rtp),
            RowPacket::Rtcp(candidate) => self.put_rtcp(candidate, now).then_some(Evidence::Srtcp),
        }
    }

    /// True if a source has sent two packets in a row: a few more may show that it is media.
    pub(super) fn is_under_way(&self) -> bool {
        self.rtp.is_under_way()
    }

    fn put_rtcp(&mut self, candidate: rtcp::Candidate, now: Duration) -> bool {
        let is_same = |(last, _): &(rtcp::Candidate, Duration)| last.source == candidate.source;
        let slot = slot_for(&mut self.rtcp, is_same, |(_, at)| *at);
        let is_media =
            slot.is_some_and(|(last, _)| is_same(&(last, now)) && last.is_followed_by(&candidate));
        *slot = Some((candidate, now));
        is_media
    }
}

/// The RTP rows of a flow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RtpRows([Option<Row>; SOURCES]);

impl RtpRows {
    /// Appends a packet to the row of its source, or begins one; returns `true` if that makes it media.
    pub(super) fn put(&mut self, header: Header, now: Duration) -> bool {
        let is_same = |row: &Row| row.source() == header.source;
        let slot = slot_for(&mut self.0, is_same, Row::at);
        match slot {
            Some(row) if is_same(row) => row.follow(header, now),
            _ => {
                *slot = Some(Row::start(header, now));
                false
            }
        }
    }

    fn is_under_way(&self) -> bool {
        self.0.iter().flatten().any(Row::is_under_way)
    }
}

/// The slot of a source: its own, else an empty one, else that of the source that was silent longest.
fn slot_for<T>(
    slots: &mut [Option<T>; SOURCES],
    is_same: impl Fn(&T) -> bool,
    at: impl Fn(&T) -> Duration,
) -> &mut Option<T> {
    let rank = |slot: &Option<T>| match slot {
        Some(value) if is_same(value) => (0, Duration::ZERO),
        None => (1, Duration::ZERO),
        Some(value) => (2, at(value)),
    };
    let mut best = 0;
    for at in 1..SOURCES {
        if rank(&slots[at]) < rank(&slots[best]) {
            best = at;
        }
    }
    &mut slots[best]
}

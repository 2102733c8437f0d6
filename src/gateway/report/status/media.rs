//! The part of the status that is about media: what it was recognized by, and how well the streams came through.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::audit::quality::Peer;
use crate::gateway::tun::quality::{Group, Histogram, JITTER_BOUNDS, LOSS_BOUNDS};
use crate::gateway::tun::workers::Workers;
use crate::packet::Traffic;
use crate::packet::media::{By, Evidence};

/// The recognition of media among the packets to media ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaStatus {
    /// `media.match`, as it is in force.
    pub r#match: String,
    /// Flows to media ports in memory, idle ones included.
    pub flows: u64,
    /// Flows evicted for lack of room before they were idle: media was recognized again at its next check.
    pub evicted_flows: u64,
    /// Packets and bytes dropped as media, for all evidence that occurred since the start.
    pub evidence: Vec<EvidenceStatus>,
    /// The RTP streams that were forwarded.
    #[serde(default)]
    pub quality: QualityStatus,
}

/// The quality of the RTP streams of clients that were forwarded, and so take the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QualityStatus {
    /// Streams under way.
    pub streams: u64,
    /// Streams whose measurement ended early for lack of room; what followed counts as another stream.
    pub evicted_streams: u64,
    /// Streams that have ended, by client pool and kind of peer.
    pub groups: Vec<StreamGroupStatus>,
}

/// The streams of one client pool to one kind of peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamGroupStatus {
    /// Prefix of the clients; `null` sums the pools beyond those with sums of their own.
    pub pool: Option<String>,
    /// `corporate`, `client` or `elsewhere`.
    pub peer: String,
    /// The share of packets that was lost, in millionths.
    pub loss_millionths: HistogramStatus,
    /// The mean jitter, in microseconds, of streams whose clock is known or estimated.
    pub jitter_microseconds: HistogramStatus,
    /// The longest stream, in seconds.
    pub longest_seconds: u64,
}

/// A histogram of streams, by rising bounds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HistogramStatus {
    /// Its buckets.
    pub buckets: Vec<BucketStatus>,
    /// The sum of all values.
    pub sum: u64,
}

/// The number of streams in one bucket of a histogram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketStatus {
    /// Upper bound of the bucket, inclusive; `null` for the last, which has none.
    pub up_to: Option<u64>,
    /// Streams.
    pub streams: u64,
}

impl QualityStatus {
    /// Returns the quality of the streams that `workers` forwarded.
    pub fn of(workers: &Workers) -> Self {
        let group = |((pool, peer), group): ((Option<IpNet>, Peer), Group)| StreamGroupStatus {
            pool: pool.map(|pool| pool.to_string()),
            peer: peer.word().to_owned(),
            loss_millionths: HistogramStatus::new(&group.loss, &LOSS_BOUNDS),
            jitter_microseconds: HistogramStatus::new(&group.jitter, &JITTER_BOUNDS),
            longest_seconds: group.longest.as_secs(),
        };
        Self {
            streams: workers.streams(),
            evicted_streams: workers.evicted_streams(),
            groups: workers.stream_groups().into_iter().map(group).collect(),
        }
    }
}

impl HistogramStatus {
    fn new(histogram: &Histogram, bounds: &[u64]) -> Self {
        let bounds = bounds.iter().copied().map(Some).chain([None]);
        let buckets = bounds.zip(histogram.buckets);
        Self {
            buckets: buckets
                .map(|(up_to, streams)| BucketStatus { up_to, streams })
                .collect(),
            sum: histogram.sum,
        }
    }

    /// Streams in all buckets.
    pub fn streams(&self) -> u64 {
        self.buckets.iter().map(|it| it.streams).sum()
    }

    /// The upper bound of the bucket that the median is in; `None` if there is none, or if it has no bound.
    pub fn median_up_to(&self) -> Option<u64> {
        let half = self.streams().div_ceil(2);
        let mut below = 0;
        let bucket = self.buckets.iter().find(|it| {
            below += it.streams;
            half > 0 && below >= half
        });
        bucket?.up_to
    }
}

/// The traffic dropped because of one kind of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceStatus {
    /// `stun-check`, `rtp`, …
    pub evidence: String,
    /// `packet` if the packet showed it, `flow` if an earlier one of its flow did.
    pub by: String,
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

impl From<((Evidence, By), Traffic)> for EvidenceStatus {
    fn from(((evidence, by), traffic): ((Evidence, By), Traffic)) -> Self {
        Self {
            evidence: evidence.word().to_owned(),
            by: by.word().to_owned(),
            packets: traffic.packets,
            bytes: traffic.bytes,
        }
    }
}

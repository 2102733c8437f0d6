//! [`QualityReport`]: the streams of a capture, one by one, in groups, and as calls.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::{Direction, Ends, Fate, Peer};
use crate::packet::media::FLOW_IDLE;
use crate::packet::media::quality::{Clock, Jitter, MeasuredStream};
use crate::policy::{MediaMatch, Policy};

/// The quality of the RTP streams of a capture.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "gateway", derive(serde::Serialize))]
pub struct QualityReport {
    /// Calls of clients; `None` if there was none.
    pub calls: Option<CallReport>,
    /// By client pool, direction and kind of peer.
    pub groups: Vec<StreamGroup>,
    /// One by one, in the order of their start.
    pub streams: Vec<StreamReport>,
    /// Streams that ended early because more than [`Quality::MAX_CONCURRENT`](super::Quality::MAX_CONCURRENT) took place at
    /// a time: what followed counts as another stream.
    pub evicted: u64,
    /// Streams beyond [`Quality::MAX_STREAMS`](super::Quality::MAX_STREAMS), which are neither listed nor summed.
    pub unlisted: u64,
}

/// The calls of clients.
///
/// A call is the streams of both directions between two addresses, with pauses of a minute at most.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "gateway", derive(serde::Serialize))]
pub struct CallReport {
    /// How many there were.
    pub count: u64,
    /// Of these, calls that would take the tunnel with the policy.
    pub tunnel: u64,
    /// Of these, calls that would take the tunnel if the policy had `media.match = "ice"`.
    pub tunnel_with_ice: u64,
    /// `media.match` of the policy.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_word"))]
    pub r#match: MediaMatch,
    /// From the first packet to the last.
    #[cfg_attr(
        feature = "gateway",
        serde(rename = "seconds", serialize_with = "as_seconds")
    )]
    pub time: Duration,
    /// Streams that clients sent, or all streams of calls if they sent none: the median of the share that was lost.
    pub median_loss: f64,
    /// Of the same streams: the median of the mean jitter, in seconds, where the clock is known or estimated.
    #[cfg_attr(feature = "gateway", serde(rename = "median_jitter_seconds"))]
    pub median_jitter: Option<f64>,
}

/// Streams of one client pool, direction and kind of peer.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "gateway", derive(serde::Serialize))]
pub struct StreamGroup {
    /// Prefix of the clients; `None` for streams without a client.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_pool"))]
    pub pool: Option<IpNet>,
    /// From clients, or to them.
    pub direction: Direction,
    /// The other end.
    pub peer: Peer,
    /// How many streams.
    pub streams: u64,
    /// The median of the share that was lost.
    pub median_loss: f64,
    /// 95 % of the streams lost no more.
    pub p95_loss: f64,
    /// The median of the mean jitter, in seconds; `None` if no clock is known.
    #[cfg_attr(feature = "gateway", serde(rename = "median_jitter_seconds"))]
    pub median_jitter: Option<f64>,
    /// The longest stream.
    #[cfg_attr(
        feature = "gateway",
        serde(rename = "longest_seconds", serialize_with = "as_seconds")
    )]
    pub longest: Duration,
}

/// One RTP stream.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "gateway", derive(serde::Serialize))]
pub struct StreamReport {
    /// Its sender.
    pub source: SocketAddr,
    /// Its receiver.
    pub destination: SocketAddr,
    /// Its synchronization source.
    pub ssrc: u32,
    /// Type of its last packet of media.
    pub payload_type: u8,
    /// Pool of the client.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_pool"))]
    pub pool: Option<IpNet>,
    /// From the client, or to it.
    pub direction: Direction,
    /// The other end.
    pub peer: Peer,
    /// Arrival of the first packet, in the time of the capture.
    #[cfg_attr(
        feature = "gateway",
        serde(rename = "first_seconds", serialize_with = "as_seconds")
    )]
    pub first: Duration,
    /// From the first packet to the last.
    #[cfg_attr(
        feature = "gateway",
        serde(rename = "seconds", serialize_with = "as_seconds")
    )]
    pub duration: Duration,
    /// Packets that arrived.
    pub packets: u64,
    /// Packets that the sequence numbers promise.
    pub expected: u64,
    /// The difference of both, which duplicates lower (RFC 3550 §6.4.1).
    pub lost: i64,
    /// The share of the expected packets that never arrived.
    pub loss: f64,
    /// Packets that arrived behind a later one.
    pub reordered: u64,
    /// Packets that arrived once more.
    pub duplicates: u64,
    /// The clock of the stamps.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_clock"))]
    pub clock: Option<Clock>,
    /// Jitter by this clock, in seconds.
    #[cfg_attr(
        feature = "gateway",
        serde(rename = "jitter_seconds", serialize_with = "as_jitter")
    )]
    pub jitter: Option<Jitter>,
    /// True if the policy forwards its last packet.
    pub tunnels: bool,
    /// The same, if the policy had `media.match = "ice"`.
    pub tunnels_with_ice: bool,
}

impl StreamReport {
    pub(super) fn new(stream: &MeasuredStream<Fate>, policy: &Policy) -> Self {
        let MeasuredStream {
            flow,
            source: ssrc,
            measured,
            note,
        } = stream;
        let (source, destination) = (flow.source(), flow.destination());
        let ends = Ends::of(policy, source.ip(), destination.ip());
        Self {
            source,
            destination,
            ssrc: *ssrc,
            payload_type: measured.payload_type(),
            pool: ends.pool,
            direction: ends.direction,
            peer: ends.peer,
            first: measured.first(),
            duration: measured.duration(),
            packets: measured.received(),
            expected: measured.expected(),
            lost: measured.lost(),
            loss: measured.loss(),
            reordered: measured.reordered(),
            duplicates: measured.duplicates(),
            clock: measured.clock(),
            jitter: measured.jitter(),
            tunnels: note.tunnels,
            tunnels_with_ice: note.tunnels_with_ice,
        }
    }

    fn last(&self) -> Duration {
        self.first + self.duration
    }

    /// Its two addresses, in the same order for both directions.
    fn hosts(&self) -> (IpAddr, IpAddr) {
        let (source, destination) = (self.source.ip(), self.destination.ip());
        (source.min(destination), source.max(destination))
    }
}

impl QualityReport {
    pub(super) fn new(
        mut streams: Vec<StreamReport>,
        evicted: u64,
        unlisted: u64,
        recognition: MediaMatch,
    ) -> Self {
        streams.sort_by_key(|it| (it.first, it.source, it.destination, it.ssrc));
        Self {
            calls: calls(&streams, recognition),
            groups: groups(&streams),
            streams,
            evicted,
            unlisted,
        }
    }
}

/// Sums streams by their ends.
fn groups(streams: &[StreamReport]) -> Vec<StreamGroup> {
    let mut groups = BTreeMap::<Ends, Vec<&StreamReport>>::new();
    for stream in streams {
        let &StreamReport {
            pool,
            direction,
            peer,
            ..
        } = stream;
        let ends = Ends {
            pool,
            direction,
            peer,
        };
        groups.entry(ends).or_default().push(stream);
    }
    let group = |(ends, streams): (Ends, Vec<&StreamReport>)| {
        let losses = sorted(streams.iter().map(|it| it.loss));
        StreamGroup {
            pool: ends.pool,
            direction: ends.direction,
            peer: ends.peer,
            streams: streams.len() as u64,
            median_loss: quantile(&losses, 0.5).unwrap_or_default(),
            p95_loss: quantile(&losses, 0.95).unwrap_or_default(),
            median_jitter: median_jitter(&streams),
            longest: streams
                .iter()
                .map(|it| it.duration)
                .max()
                .unwrap_or_default(),
        }
    };
    groups.into_iter().map(group).collect()
}

/// Sums the calls of clients.
fn calls(streams: &[StreamReport], recognition: MediaMatch) -> Option<CallReport> {
    let of_clients = streams.iter().filter(|it| it.pool.is_some());
    let of_clients: Vec<&StreamReport> = of_clients.collect();
    let first = of_clients.iter().map(|it| it.first).min()?;
    let last = of_clients.iter().map(|it| it.last()).max()?;
    let mut by_hosts = BTreeMap::<_, Vec<Vec<&StreamReport>>>::new();
    for stream in &of_clients {
        let calls = by_hosts.entry(stream.hosts()).or_default();
        // Streams come in the order of their start.
        let current = calls.last_mut().filter(|call| {
            let end = call.iter().map(|it| it.last()).max().unwrap_or_default();
            stream.first <= end + FLOW_IDLE
        });
        match current {
            Some(call) => call.push(stream),
            None => calls.push(vec![stream]),
        }
    }
    let count = |takes_the_tunnel: fn(&StreamReport) -> bool| {
        let calls = by_hosts.values().flatten();
        let tunneled = calls.filter(|call| {
            let sent = call
                .iter()
                .filter(|it| it.direction == Direction::FromClient);
            // A direction that is cut off ends the other: only what clients send counts, if it was seen.
            match sent.clone().count() {
                0 => call.iter().any(|it| takes_the_tunnel(it)),
                _ => sent.clone().any(|it| takes_the_tunnel(it)),
            }
        });
        tunneled.count() as u64
    };
    let mut measured = of_clients.clone();
    measured.retain(|it| it.direction == Direction::FromClient);
    if measured.is_empty() {
        measured = of_clients;
    }
    let losses = sorted(measured.iter().map(|it| it.loss));
    Some(CallReport {
        count: by_hosts.values().flatten().count() as u64,
        tunnel: count(|it| it.tunnels),
        tunnel_with_ice: count(|it| it.tunnels_with_ice),
        r#match: recognition,
        time: last - first,
        median_loss: quantile(&losses, 0.5).unwrap_or_default(),
        median_jitter: median_jitter(&measured),
    })
}

fn median_jitter(streams: &[&StreamReport]) -> Option<f64> {
    let jitter = streams.iter().filter_map(|it| it.jitter);
    quantile(&sorted(jitter.map(|it| it.mean)), 0.5)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The least value that a `share` of the `sorted` ones does not exceed.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(feature = "gateway")]
fn as_seconds<S: serde::Serializer>(time: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_f64(time.as_secs_f64())
}

#[cfg(feature = "gateway")]
fn as_pool<S: serde::Serializer>(pool: &Option<IpNet>, out: S) -> Result<S::Ok, S::Error> {
    match pool {
        Some(pool) => out.collect_str(pool),
        None => out.serialize_none(),
    }
}

#[cfg(feature = "gateway")]
fn as_word<S: serde::Serializer>(word: &MediaMatch, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(word.word())
}

#[cfg(feature = "gateway")]
fn as_clock<S: serde::Serializer>(clock: &Option<Clock>, out: S) -> Result<S::Ok, S::Error> {
    use serde::Serialize as _;
    let fields = clock.map(|it| serde_json::json!({ "rate": it.rate, "basis": it.basis.word() }));
    fields.serialize(out)
}

#[cfg(feature = "gateway")]
fn as_jitter<S: serde::Serializer>(jitter: &Option<Jitter>, out: S) -> Result<S::Ok, S::Error> {
    use serde::Serialize as _;
    let fields =
        jitter.map(|it| serde_json::json!({ "mean": it.mean, "max": it.max, "last": it.last }));
    fields.serialize(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_least_value_that_the_share_does_not_exceed() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(10.0));
        assert_eq!(quantile(&values, 0.95), Some(19.0));
        assert_eq!(quantile(&values[..3], 0.5), Some(2.0));
        assert_eq!(quantile(&values[..1], 0.95), Some(1.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}

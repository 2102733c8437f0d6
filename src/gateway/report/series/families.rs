//! [`Families`]: writes families of series, each with its help and its type.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, MetricEncoder,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::gateway::push::{PushState, PushStatus};
use crate::gateway::report::status::{
    DnsStatus, EnforcementStatus, FleetStatus, HistogramStatus, LateStatus, MediaStatus,
    QualityStatus, RejectionStatus, Reloads,
};
use crate::gateway::tun::quality::{JITTER_BOUNDS, LOSS_BOUNDS};
use crate::packet::media::Evidence;
use crate::packet::reject::RejectionKind;

/// Writes families of series, one after the other.
pub(super) struct Families<'a, 'e>(pub(super) &'a mut DescriptorEncoder<'e>);

impl Families<'_, '_> {
    /// Writes the outcomes of policies.
    pub(super) fn policies(&mut self, reloads: &Reloads, generation: u64) -> fmt::Result {
        self.counters(
            "policy_reloads",
            "Reloads of the policy, taken or refused.",
            [
                ([("result", "taken")], reloads.taken),
                ([("result", "refused")], reloads.refused),
            ],
        )?;
        self.gauge(
            "policy_last_reload_successful",
            "1 unless the last policy read was refused.",
            u32::from(reloads.last_error.is_none()),
        )?;
        self.gauge(
            "policy_generation",
            "Generation of the policy in force: 1 from the start, one more with each reload that is taken.",
            generation,
        )
    }

    /// Writes the digest of the policy in force, and the release of a fleet that it is.
    pub(super) fn release(
        &mut self,
        digest: Option<&str>,
        fleet: Option<&FleetStatus>,
    ) -> fmt::Result {
        let release = fleet.and_then(|fleet| fleet.release.as_ref());
        let serial = release.map_or(String::new(), |it| it.serial.to_string());
        let sha256 = release.map_or(digest, |it| Some(&it.sha256));
        let channel = release.map_or("", |it| &it.channel);
        self.gauges(
            "policy_info",
            "1, with the release that is in force: its serial, the digest of its policy, and its channel; of a policy without a fleet \
             the digest of its file.",
            [(
                [
                    ("serial", serial.as_str()),
                    ("sha256", sha256.unwrap_or_default()),
                    ("channel", channel),
                ],
                1_u32,
            )],
        )?;
        let contact = fleet.and_then(|fleet| fleet.last_contact_seconds);
        contact.map_or(Ok(()), |seconds| {
            self.gauge(
                "fleet_last_contact_seconds",
                "Seconds since the store of the fleet answered the agent; absent without an agent.",
                seconds,
            )
        })
    }

    /// Writes the pushes of routes; without targets, nothing.
    pub(super) fn pushes(&mut self, pushes: &[PushStatus]) -> fmt::Result {
        if pushes.is_empty() {
            return Ok(());
        }
        self.counters(
            "route_pushes",
            "Pushes of routes to the targets of routes.push, done or failed.",
            [
                (
                    [("result", "done")],
                    pushes.iter().map(|it| it.pushed).sum::<u64>(),
                ),
                (
                    [("result", "failed")],
                    pushes.iter().map(|it| it.failed).sum(),
                ),
            ],
        )?;
        let is_behind = |it: &&PushStatus| it.state == PushState::Failed;
        self.gauge(
            "route_push_targets_failed",
            "Targets of routes.push that have older routes, since the last push to them failed; `offramp status` names them.",
            pushes.iter().filter(is_behind).count(),
        )
    }

    /// Writes whether the policy takes effect, and what it did not drop.
    pub(super) fn enforcement(&mut self, enforcement: &EnforcementStatus) -> fmt::Result {
        self.gauge(
            "policy_enforced",
            "1 if the policy takes effect for all clients; 0 under gateway.enforce = false or gateway.pilot.",
            u32::from(enforcement.gap.is_none()),
        )?;
        self.counter(
            "not_enforced_packets",
            "Packets that were forwarded though their verdict is drop, since the policy is not enforced for their client.",
            enforcement.packets,
        )?;
        self.counter(
            "not_enforced_bytes",
            "Bytes of these packets.",
            enforcement.bytes,
        )?;
        let left = enforcement.trial.and_then(|trial| trial.seconds_left);
        left.map_or(Ok(()), |left| {
            self.gauge(
                "trial_left_seconds",
                "Seconds until the policy is enforced no longer, unless it is kept (offramp keep); absent without a trial.",
                left,
            )
        })
    }

    /// Writes the interfaces that were up before what enters there was judged.
    pub(super) fn late(&mut self, late: &LateStatus) -> fmt::Result {
        self.counter(
            "late_interfaces",
            "Interfaces of the VPN that were up before their program was attached.",
            late.interfaces,
        )?;
        self.counter(
            "late_packets",
            "Packets that had entered there by then: not judged, or stopped where the gateway fails closed.",
            late.packets,
        )?;
        self.gauge(
            "late_interface_longest_seconds",
            "The longest time that such an interface was up, from when the gateway heard of it.",
            millionths(late.longest_microseconds),
        )
    }

    /// Writes the answers to clients whose packets were dropped.
    pub(super) fn rejections(&mut self, rejections: &RejectionStatus) -> fmt::Result {
        self.counters(
            "rejections",
            "Answers sent to clients whose packets were dropped, by kind.",
            [
                ([("kind", RejectionKind::Reset.word())], rejections.rst),
                (
                    [("kind", RejectionKind::Unreachable.word())],
                    rejections.unreachable,
                ),
            ],
        )?;
        self.counter(
            "rejections_suppressed",
            "Answers not sent: beyond the rate, or to a source that is not routed to the interface it came from.",
            rejections.suppressed,
        )
    }

    /// Writes what was recognized as media, and the memory that it takes.
    pub(super) fn media(&mut self, media: &MediaStatus) -> fmt::Result {
        let evidence = Evidence::TABLE.iter().map(|row| {
            let occurred = media.evidence.iter();
            let of_row = occurred.filter(|it| it.evidence == row.word);
            let packets: u64 = of_row.map(|it| it.packets).sum();
            ([("evidence", row.word)], packets)
        });
        self.counters(
            "media_packets",
            "Packets dropped as media, by the evidence in them or in an earlier packet of their flow.",
            evidence,
        )?;
        self.gauge(
            "flows",
            "Flows to media ports in the flow table; an idle one stays until another needs its place.",
            media.flows,
        )?;
        self.counter(
            "evicted_flows",
            "Flows evicted for lack of room before they were idle: their media is recognized again at its next connectivity check.",
            media.evicted_flows,
        )?;
        self.quality(&media.quality)
    }

    /// Writes the quality of RTP streams.
    fn quality(&mut self, quality: &QualityStatus) -> fmt::Result {
        self.gauge(
            "rtp_streams",
            "RTP streams of clients that are forwarded at the moment.",
            quality.streams,
        )?;
        self.counter(
            "evicted_rtp_streams",
            "RTP streams whose measurement ended early for lack of room.",
            quality.evicted_streams,
        )?;
        let groups = || quality.groups.iter();
        self.histogram(
            "rtp_stream_loss_ratio",
            "The share of packets lost before the gateway, of RTP streams that were forwarded and have ended.",
            Buckets::of_streams(groups().map(|it| &it.loss_millionths), &LOSS_BOUNDS),
        )?;
        self.histogram(
            "rtp_stream_jitter_seconds",
            "The mean jitter (RFC 3550) of RTP streams that were forwarded and have ended.",
            Buckets::of_streams(groups().map(|it| &it.jitter_microseconds), &JITTER_BOUNDS),
        )
    }

    /// Writes the outcomes of DNS queries, and the counters of their log.
    pub(super) fn names(&mut self, dns: &DnsStatus) -> fmt::Result {
        self.counters(
            "dns_queries",
            "DNS queries, by outcome.",
            dns.outcomes
                .iter()
                .map(|it| ([("outcome", &*it.outcome)], it.queries)),
        )?;
        self.histogram(
            "dns_answer_seconds",
            "Time from a DNS query to its answer.",
            Buckets::of_answers(dns),
        )?;
        self.gauge(
            "dns_threads",
            "Threads that answer DNS queries; each client meets one of them.",
            u32::try_from(dns.threads).unwrap_or(u32::MAX),
        )?;
        self.counter(
            "dns_crowded_out_connections",
            "Connections of DNS clients closed to make room for others.",
            dns.crowded_out_connections,
        )?;
        self.counter(
            "dns_not_enforced_queries",
            "DNS queries answered with names that the policy hides, since it is not enforced for their client.",
            dns.not_enforced,
        )?;
        let Some(log) = &dns.query_log else {
            return Ok(());
        };
        self.counters(
            "dns_log_lines",
            "Lines of the DNS query log: written, or lost because writing failed.",
            [
                ([("result", "written")], log.written),
                ([("result", "lost")], log.lost),
            ],
        )?;
        self.gauge(
            "dns_log_failed",
            "1 while the DNS query log cannot be written.",
            u32::from(log.error.is_some()),
        )
    }

    /// Writes the program's version and its start time.
    pub(super) fn program(&mut self, version: &str, start_time: f64) -> fmt::Result {
        self.gauge(
            "start_time_seconds",
            "Start time of the process, in seconds since 1970.",
            start_time,
        )?;
        self.gauges(
            "build_info",
            "1, with the version of the program.",
            [([("version", version)], 1_u32)],
        )
    }

    pub(super) fn counters<'l, V: EncodeCounterValue, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result
    where
        ConstCounter<V>: EncodeMetric,
    {
        let series = series
            .into_iter()
            .map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family(name, help, MetricType::Counter, series)
    }

    pub(super) fn gauges<'l, V: EncodeGaugeValue, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result
    where
        ConstGauge<V>: EncodeMetric,
    {
        let series = series
            .into_iter()
            .map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(name, help, MetricType::Gauge, series)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(NO_LABELS, value)])
    }

    fn histogram(&mut self, name: &str, help: &str, values: Buckets) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Histogram,
            std::iter::once((NO_LABELS, values)),
        )
    }

    pub(super) fn gauge<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        value: V,
    ) -> fmt::Result
    where
        ConstGauge<V>: EncodeMetric,
    {
        self.gauges(name, help, [(NO_LABELS, value)])
    }

    fn family<'l, M: EncodeMetric, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        series: impl Iterator<Item = (Labels<'l, N>, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in series {
            value.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A histogram: the number of values up to each bound, and beyond.
#[derive(Debug)]
struct Buckets {
    bounded: Vec<(f64, u64)>,
    count: u64,
    sum: f64,
}

impl Buckets {
    /// Of the time that DNS answers took.
    fn of_answers(dns: &DnsStatus) -> Self {
        let latency = &dns.latency;
        let bounded = latency.iter().filter_map(|it| {
            let bound = it.up_to_microseconds?;
            Some((millionths(bound), it.answers))
        });
        Self {
            bounded: bounded.collect(),
            count: latency.iter().map(|it| it.answers).sum(),
            sum: millionths(dns.latency_microseconds),
        }
    }

    /// Of streams in groups, with these bounds in millionths.
    fn of_streams<'s>(groups: impl Iterator<Item = &'s HistogramStatus>, bounds: &[u64]) -> Self {
        let mut sums = Self {
            bounded: bounds.iter().map(|&bound| (millionths(bound), 0)).collect(),
            count: 0,
            sum: 0.0,
        };
        for group in groups {
            let bounded = group.buckets.iter().filter(|it| it.up_to.is_some());
            for ((_, sum), bucket) in sums.bounded.iter_mut().zip(bounded) {
                *sum += bucket.streams;
            }
            sums.count += group.streams();
            sums.sum += millionths(group.sum);
        }
        sums
    }
}

impl EncodeMetric for Buckets {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // The encoder adds the bucket without a bound, which has all of them.
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.count, &self.bounded, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

fn millionths(number: u64) -> f64 {
    number as f64 / 1e6
}

/// Names and values of the labels of a series.
pub(super) type Labels<'l, const N: usize> = [(&'static str, &'l str); N];

const NO_LABELS: Labels<'static, 0> = [];

//! The verdicts of one client's packets, as lines on a connection of the control socket, until the trace ends.
//!
//! The first line says what is traced and what is not seen, the last one why the trace has ended. A client of the socket
//! ends it by closing its half of the connection.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::gateway::record::trace::{TraceReader, Traces};
use crate::gateway::record::{JudgedPacket, PacketFacts};

/// The trace that a client of the control socket asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRequest {
    /// The source of the packets.
    pub client: IpAddr,
    /// Seconds after which it ends.
    pub seconds: u32,
    /// Packets after which it ends.
    pub packets: u32,
}

impl TraceRequest {
    /// Seconds that a trace may last.
    pub const MAX_SECONDS: u32 = 3_600;
    /// Packets that a trace may show.
    pub const MAX_PACKETS: u32 = 100_000;
    /// The word of the request.
    const WORD: &str = "trace";

    /// Reads the line of a request; `None` if it is of another kind.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next() != Some(Self::WORD) {
            return None;
        }
        let request = Self {
            client: words.next()?.parse().ok()?,
            seconds: words.next()?.parse().ok()?,
            packets: words.next()?.parse().ok()?,
        };
        let is_bounded = (1..=Self::MAX_SECONDS).contains(&request.seconds)
            && (1..=Self::MAX_PACKETS).contains(&request.packets);
        is_bounded.then_some(request)
    }

    /// The line of the request.
    pub(super) fn line(&self) -> String {
        let Self {
            client,
            seconds,
            packets,
        } = self;
        format!("{} {client} {seconds} {packets}", Self::WORD)
    }
}

/// A line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum TraceLine {
    /// The first.
    Begin(TraceBegin),
    /// A packet.
    Packet(Box<TracedPacket>),
    /// The last.
    End(TraceEnd),
}

/// Head of a trace: its client, its bounds, and the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceBegin {
    /// The source of the packets.
    pub client: IpAddr,
    /// Seconds after which the trace ends.
    pub seconds: u32,
    /// Packets after which it ends.
    pub packets: u32,
    /// Packets that are shown in a second at most.
    pub packets_per_second: u32,
    /// The policy file.
    pub policy: String,
    /// Generation of the policy in force.
    pub generation: u64,
    /// `ebpf` or `nftables`.
    pub diversion: String,
    /// `gateway.divert`: what is led to the filter.
    pub scope: String,
    /// True if everything passes unjudged at the moment, by `offramp bypass on`.
    pub bypassed: bool,
}

/// A packet of the client that was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedPacket {
    /// RFC 3339, in UTC.
    pub time: String,
    /// `tcp`, `udp`, or the number of another one.
    pub protocol: Option<String>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination.
    pub destination: Option<IpAddr>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Bytes; a super-packet is one packet here.
    pub length: usize,
    /// `forward` or `drop`.
    pub verdict: String,
    /// The reason.
    pub reason: String,
    /// False if a packet to be dropped was forwarded, since the policy is not enforced for the client.
    pub enforced: bool,
    /// The entry of the policy that decided: `server`, `media`, …
    pub kind: Option<String>,
    /// The operator's name for it.
    pub rule: Option<String>,
    /// Its line in the policy file.
    pub line: Option<u32>,
    /// The evidence of media, where the policy asks for it.
    pub evidence: Option<String>,
    /// The packet that showed it: this `packet`, or an earlier one of its `flow`.
    pub evidence_by: Option<String>,
    /// The protocol that the first byte of a UDP payload announces.
    pub payload: Option<String>,
    /// The defect of the header.
    pub malformed: Option<String>,
    /// Generation of the policy that judged it.
    pub generation: u64,
    /// Packets of the client that were left out since the line before.
    pub left_out: u64,
}

impl TracedPacket {
    /// `None` for a free place, which no reader gets.
    fn of(packet: &JudgedPacket, left_out: u64) -> Option<Self> {
        let by = packet.by.as_ref()?;
        let verdict = packet.verdict;
        let facts = PacketFacts::of(packet.received());
        let rule = verdict.rule.and_then(|rule| by.rules.rule(rule));
        let at = packet.at.max(SystemTime::UNIX_EPOCH);
        Some(Self {
            time: humantime::format_rfc3339_millis(at).to_string(),
            protocol: facts.protocol,
            source_port: facts.source_port,
            destination: facts.destination,
            destination_port: facts.destination_port,
            length: packet.length,
            verdict: verdict.action.to_string(),
            reason: verdict.reason.to_string(),
            enforced: packet.is_enforced(by),
            kind: rule.map(|rule| rule.kind.name().to_owned()),
            rule: rule.map(|rule| rule.name.clone()),
            line: rule.and_then(|rule| rule.line),
            evidence: verdict.media.map(|it| it.evidence.word().to_owned()),
            evidence_by: verdict.media.map(|it| it.by.word().to_owned()),
            payload: facts.payload.map(str::to_owned),
            malformed: facts.malformed,
            generation: by.generation.0,
            left_out,
        })
    }
}

/// The end of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEnd {
    /// Why it has ended.
    pub reason: TraceEndReason,
    /// The reason in words.
    pub why: String,
    /// Packets shown.
    pub packets: u64,
    /// Packets of the client that were left out: beyond the rate.
    pub left_out: u64,
}

/// The reason why a trace has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceEndReason {
    /// Its time is over.
    Time,
    /// It has shown as many packets as were asked for.
    Packets,
    /// Whoever asked for it has ended it.
    Asked,
    /// The gateway stops.
    GatewayStops,
    /// It has not begun.
    Refused,
}

impl TraceEnd {
    fn new(reason: TraceEndReason, why: impl Into<String>, packets: u64, left_out: u64) -> Self {
        Self {
            reason,
            why: why.into(),
            packets,
            left_out,
        }
    }

    /// The end of a trace that has not begun, since `why`.
    pub fn refused(why: impl Into<String>) -> Self {
        Self::new(TraceEndReason::Refused, why, 0, 0)
    }
}

/// Tells a client of the control socket that its trace has not begun, since `why`.
pub async fn refuse(mut stream: UnixStream, why: String) {
    _ = send(&mut stream, &[TraceLine::End(TraceEnd::refused(why))]).await;
}

/// Sends the packets of `reader` until the trace ends; `stops` turns true when the gateway stops.
pub async fn serve(
    mut stream: UnixStream,
    reader: TraceReader,
    begin: TraceBegin,
    mut stops: watch::Receiver<bool>,
) {
    let (seconds, limit) = (begin.seconds, u64::from(begin.packets));
    let over = Instant::now() + Duration::from_secs(seconds.into());
    if !send(&mut stream, &[TraceLine::Begin(begin)]).await {
        return;
    }
    let mut tick = tokio::time::interval(Traces::TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut shown, mut told) = (0, 0);
    let (reason, why) = loop {
        let ended = tokio::select! {
            _ = tick.tick() => None,
            () = tokio::time::sleep_until(over) => {
                Some((TraceEndReason::Time, format!("{seconds} seconds are over")))
            }
            // It may have gone; then nothing can be told.
            _ = wait_for_end(&mut stream) => {
                Some((TraceEndReason::Asked, "it was ended by whoever asked for it".to_owned()))
            }
            _ = stops.wait_for(|stops| *stops) => {
                Some((TraceEndReason::GatewayStops, "the gateway stops".to_owned()))
            }
        };
        reader.begin_tick();
        let mut lines = Vec::new();
        while shown < limit {
            let left_out = reader.left_out();
            let packet = reader.next(|packet| TracedPacket::of(packet, left_out - told));
            let Some(packet) = packet.flatten() else {
                break;
            };
            told = left_out;
            shown += 1;
            lines.push(TraceLine::Packet(Box::new(packet)));
        }
        if !send(&mut stream, &lines).await {
            return;
        }
        if shown == limit {
            let why = format!("{limit} packets are shown");
            break (TraceEndReason::Packets, why);
        }
        if let Some(ended) = ended {
            break ended;
        }
    };
    let end = TraceEnd::new(reason, why, shown, reader.left_out());
    drop(reader);
    _ = send(&mut stream, &[TraceLine::End(end)]).await;
}

/// Waits until the client of the socket closes its half of the connection.
async fn wait_for_end(stream: &mut UnixStream) {
    let mut bytes = [0; 64];
    while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
}

/// Writes `lines`; returns `false` to a client that has gone or does not read.
async fn send(stream: &mut UnixStream, lines: &[TraceLine]) -> bool {
    let mut text = Vec::new();
    for line in lines {
        if serde_json::to_writer(&mut text, line).is_err() {
            return false;
        }
        text.push(b'\n');
    }
    let written = tokio::time::timeout(PATIENCE, stream.write_all(&text)).await;
    matches!(written, Ok(Ok(())))
}

/// The time that a client of the socket may take to read what there is.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_it_is_written_and_is_bounded() {
        let request = TraceRequest {
            client: "fd00:1:2:3:4:5:6:7".parse().expect("an address"),
            seconds: 3_600,
            packets: 100_000,
        };
        assert_eq!(TraceRequest::parse(&request.line()), Some(request));
        for line in [
            "status",
            "trace",
            "trace 172.16.1.10",
            "trace 172.16.1.10 60",
            "trace 172.16.1.10 0 5",
            "trace 172.16.1.10 3601 5",
            "trace 172.16.1.10 60 100001",
            "trace somebody 60 5",
        ] {
            assert_eq!(TraceRequest::parse(line), None, "{line}");
        }
    }
}

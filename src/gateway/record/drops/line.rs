//! A line of the drop log: one JSON object for a sample.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::Serialize;

use crate::gateway::record::judged::{JudgedPacket, PacketFacts, PolicyNames};

/// One line, all of its keys always there.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// RFC 3339, in UTC.
    time: String,
    reason: &'static str,
    /// False if the packet was forwarded all the same, since the policy is not enforced for its client.
    enforced: bool,
    /// The entry of the policy that decided: `server`, `media`, …
    kind: Option<&'static str>,
    /// The operator's name for it.
    rule: Option<&'a str>,
    source: Option<IpAddr>,
    source_port: Option<u16>,
    destination: Option<IpAddr>,
    destination_port: Option<u16>,
    /// `tcp`, `udp`, or the number of another one.
    protocol: Option<String>,
    /// Of the packet, in bytes; a super-packet is one packet here.
    length: usize,
    /// Of the policy.
    generation: u64,
    /// Suppressed packets, dropped for the same reason since the last line.
    #[serde(rename = "unwritten")]
    suppressed: u64,
    /// For media that the policy recognizes by evidence: `stun-check`, …
    evidence: Option<&'static str>,
    /// The packet that showed it: this `packet`, or an earlier one of its `flow`.
    evidence_by: Option<&'static str>,
    /// The protocol that the first byte of a UDP payload announces (RFC 7983): `stun`, `dtls`, `rtp`, …
    payload: Option<&'static str>,
    /// The defect of the header.
    malformed: Option<String>,
}

/// Appends the line of `packet`, which `by` has judged.
pub(super) fn push(out: &mut Vec<u8>, packet: &JudgedPacket, by: &PolicyNames, suppressed: u64) {
    let rule = packet.verdict.rule.and_then(|rule| by.rules.rule(rule));
    // The format begins in 1970, as the clocks of Linux do, and ends long after them.
    let at = packet.at.max(SystemTime::UNIX_EPOCH);
    let facts = PacketFacts::of(packet.received());
    let line = Line {
        time: humantime::format_rfc3339_micros(at).to_string(),
        reason: packet.verdict.reason.name(),
        enforced: packet.is_enforced(by),
        kind: rule.map(|rule| rule.kind.name()),
        rule: rule.map(|rule| rule.name.as_str()),
        source: facts.source,
        source_port: facts.source_port,
        destination: facts.destination,
        destination_port: facts.destination_port,
        protocol: facts.protocol,
        length: packet.length,
        generation: by.generation.0,
        suppressed,
        evidence: packet.verdict.media.map(|it| it.evidence.word()),
        evidence_by: packet.verdict.media.map(|it| it.by.word()),
        payload: facts.payload,
        malformed: facts.malformed,
    };
    serde_json::to_writer(&mut *out, &line).expect("plain fields, into memory");
    out.push(b'\n');
}

//! [`JudgedPacket`]: the beginning of a packet and its verdict, on its way from the worker that judged it.
//!
//! They are recycled: a fixed number is made at the start, and a worker fills a free one. Filling allocates nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use crate::filter::{CompiledPolicy, Generation, RuleTable, is_enforced_for};
use crate::packet::media::payload_kind;
use crate::packet::{Received, Transport};
use crate::policy::Enforcement;
use crate::verdict::{Reason, Verdict};

/// Bytes of a packet that its line is made of: IPv6 with several extension headers, and ports behind them.
pub(super) const LINE_SNAP_LENGTH: usize = 128;

/// A packet that a worker has judged.
#[derive(Debug)]
pub struct JudgedPacket {
    /// Time at which its batch was judged.
    pub at: SystemTime,
    /// Its verdict.
    pub verdict: Verdict,
    /// The policy that gave it; `None` only while the place is free.
    pub by: Option<Arc<PolicyNames>>,
    /// Bytes that it had; a super-packet is one packet here.
    pub length: usize,
    bytes: Vec<u8>,
    snap_length: usize,
}

impl JudgedPacket {
    /// Makes a free place for the first `snap_length` bytes of a packet.
    pub(super) fn with_room_for(snap_length: usize) -> Self {
        Self {
            at: SystemTime::UNIX_EPOCH,
            verdict: Verdict::drop(Reason::Malformed),
            by: None,
            length: 0,
            bytes: Vec::with_capacity(snap_length),
            snap_length,
        }
    }

    /// Copies the beginning of `packet`, which was judged at `at`, as much as there is room for.
    pub(super) fn fill(
        &mut self,
        packet: &Received<'_>,
        verdict: Verdict,
        by: &Arc<PolicyNames>,
        at: SystemTime,
    ) {
        self.at = at;
        self.verdict = verdict;
        self.by = Some(Arc::clone(by));
        self.length = packet.length_on_wire;
        self.bytes.clear();
        let kept = packet.bytes.len().min(self.snap_length);
        self.bytes.extend_from_slice(&packet.bytes[..kept]);
    }

    /// Frees the place. The names of a policy that is no longer in force end here, and not in a worker.
    pub(super) fn clear(&mut self) {
        self.by = None;
    }

    /// Returns its first bytes, as many as the snap length allows.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns `true` if the policy takes effect for its client; else it was forwarded, whatever the verdict.
    pub fn is_enforced(&self, by: &PolicyNames) -> bool {
        is_enforced_for(&by.enforcement, self.received())
    }

    /// Returns the packet, as far as it was kept.
    pub fn received(&self) -> Received<'_> {
        Received::captured(&self.bytes, self.length, Duration::ZERO)
    }
}

/// The names by which a policy's verdicts are reported.
#[derive(Debug)]
pub struct PolicyNames {
    /// The generation of the policy.
    pub generation: Generation,
    /// The names of its rules.
    pub rules: RuleTable,
    /// The clients for whom it takes effect.
    pub enforcement: Enforcement,
    /// The prefixes of its clients.
    pub clients: Vec<IpNet>,
}

impl PolicyNames {
    /// Returns those of `policy`, enforced as its file says.
    pub fn of(policy: &CompiledPolicy) -> Self {
        Self::enforced(policy, policy.policy().gateway.enforcement.clone())
    }

    /// Returns those of `policy`, which takes effect for these clients.
    pub fn enforced(policy: &CompiledPolicy, enforcement: Enforcement) -> Self {
        let pools = policy.policy().vpn.client_subnets.iter();
        Self {
            generation: policy.generation(),
            rules: policy.rules().clone(),
            enforcement,
            clients: pools.map(|pool| pool.value).collect(),
        }
    }

    /// Returns `true` if `address` is one of a client.
    pub fn is_client(&self, address: IpAddr) -> bool {
        self.clients.iter().any(|pool| pool.contains(&address))
    }
}

/// The facts about a packet that its headers state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::gateway) struct PacketFacts {
    pub(in crate::gateway) source: Option<IpAddr>,
    pub(in crate::gateway) source_port: Option<u16>,
    pub(in crate::gateway) destination: Option<IpAddr>,
    pub(in crate::gateway) destination_port: Option<u16>,
    /// `tcp`, `udp`, or the number of another one.
    pub(in crate::gateway) protocol: Option<String>,
    /// The protocol that the first byte of a UDP payload announces (RFC 7983).
    pub(in crate::gateway) payload: Option<&'static str>,
    /// The defect of the header.
    pub(in crate::gateway) malformed: Option<String>,
}

impl PacketFacts {
    /// Reads the headers of `packet`.
    pub(in crate::gateway) fn of(packet: Received<'_>) -> Self {
        let mut facts = Self::default();
        let packet = match packet.parse() {
            Ok(packet) => packet,
            Err(error) => {
                facts.malformed = Some(error.to_string());
                return facts;
            }
        };
        facts.payload = payload_kind(&packet);
        facts.source = Some(packet.addresses().source());
        facts.destination = Some(packet.addresses().destination());
        match packet.transport() {
            Transport::Ports {
                protocol,
                source,
                destination,
            } => {
                facts.protocol = Some(protocol.to_string());
                facts.source_port = Some(source);
                facts.destination_port = Some(destination);
            }
            Transport::TruncatedHeader(protocol) | Transport::NonFirst(protocol) => {
                facts.protocol = Some(protocol.to_string());
            }
            Transport::Other(number) => facts.protocol = Some(number.to_string()),
            Transport::TruncatedChain | Transport::UnknownNonFirst => {}
        }
        facts
    }
}

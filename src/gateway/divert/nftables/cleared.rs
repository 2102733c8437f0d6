//! [`ClearedFlows`]: the flows whose packets are not marked any more, since the filter has cleared them.
//!
//! ```text
//!  worker ── clear, a packet ──▶ counted ── the 32nd ──▶ waiting ── a batch, at most every 50 ms ──▶ nft: add element
//!         └─ forget ───────────────────────────────────▶ waiting ──▶ nft: delete element
//! ```
//!
//! A flow is an element of a set of the table of marks, and lapses after a minute without a packet. The set is named
//! after the generation of its policy, so that what the policy before has cleared cannot enter it. A short flow is
//! judged whole: a batch costs more than a few packets. When the kernel takes over, packets may overtake those that are
//! still with the filter, once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{debug, warn};

use super::nft;
use super::nft::run_nft;
use crate::address::Family;
use crate::filter::Generation;
use crate::gateway::divert::FlowCounts;
use crate::gateway::tun::ClearFlows;
use crate::packet::media::FlowKey;
use crate::verdict::Verdict;

/// The flows that workers have cleared, on their way to the kernel.
#[derive(Debug, Default)]
pub(super) struct ClearedFlows {
    state: Mutex<State>,
    waiting: Notify,
    cleared: AtomicU64,
    refused: AtomicU64,
    is_refusing: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// That of the table's sets; `None` without sets.
    generation: Option<Generation>,
    /// Packets of each flow that the filter has cleared since it waited last.
    packets: HashMap<FlowKey, u32>,
    /// Flows that each client had cleared since `begun`.
    clients: HashMap<IpAddr, u32>,
    begun: Option<Instant>,
    changes: HashMap<FlowKey, Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Delete,
}

impl ClearedFlows {
    /// Has flows cleared for the sets of this generation; `None`: there are no sets.
    pub(super) fn follow(&self, generation: Option<Generation>) {
        *self.state() = State {
            generation,
            ..State::default()
        };
    }

    /// Flows cleared so far.
    pub(super) fn counts(&self) -> FlowCounts {
        FlowCounts {
            cleared: self.cleared.load(Ordering::Relaxed),
            evicted: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Hands the flows to the kernel, for ever.
    pub(super) async fn hand_over(self: Arc<Self>) {
        loop {
            self.waiting.notified().await;
            tokio::time::sleep(BATCH_TIME).await;
            let Some((script, count)) = self.state().batch() else {
                continue;
            };
            match run_nft(move || nft::run_script(&script)).await {
                Ok(()) => {
                    self.cleared.fetch_add(count, Ordering::Relaxed);
                    self.is_refusing.store(false, Ordering::Relaxed);
                }
                // The table was replaced meanwhile, or is away; `repair` looks after it.
                Err(error) if error.is_missing() => debug!("flows are not cleared: {error}"),
                Err(error) => {
                    self.refused.fetch_add(count, Ordering::Relaxed);
                    if !self.is_refusing.swap(true, Ordering::Relaxed) {
                        warn!("flows that are no media go on through the filter: {error}");
                    }
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves counts that are right for all before it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a packet of a cleared flow. Returns `true` if the flow is to be handed to the kernel.
    fn count(&mut self, flow: &FlowKey) -> bool {
        if self.packets.len() >= MAX_COUNTED && !self.packets.contains_key(flow) {
            self.packets.clear();
        }
        let packets = self.packets.entry(*flow).or_default();
        *packets += 1;
        // Where the kernel has not taken it, or it has lapsed, as many come once more.
        let is_enough = *packets >= PACKETS;
        if is_enough {
            *packets = 0;
        }
        is_enough
    }

    /// Takes one from the share of a client; `false` if it has none left.
    fn take_share(&mut self, client: IpAddr, now: Instant) -> bool {
        if self.begun.is_none_or(|begun| now - begun >= MINUTE) {
            self.begun = Some(now);
            self.clients.clear();
        }
        let taken = self.clients.entry(client).or_default();
        *taken += 1;
        *taken <= SHARE
    }

    /// Takes all that waits, as `nft` reads it, and the number of flows that it adds.
    fn batch(&mut self) -> Option<(String, u64)> {
        let generation = self.generation?;
        let changes = std::mem::take(&mut self.changes);
        let mut script = String::new();
        let mut added = 0;
        for family in Family::BOTH {
            let set = set_name(family, generation);
            let of = |change: Change| {
                let chosen = changes.iter();
                let chosen = chosen.filter(move |(flow, it)| {
                    **it == change && Family::from(flow.destination().ip()) == family
                });
                chosen.map(|(flow, _)| element(flow)).collect::<Vec<_>>()
            };
            let (add, delete) = (of(Change::Add), of(Change::Delete));
            added += add.len() as u64;
            // Adding one that is there changes nothing, and deleting one that is not there is an error.
            let steps = [("add", &add), ("add", &delete), ("delete", &delete)];
            for (verb, elements) in steps.into_iter().filter(|(_, it)| !it.is_empty()) {
                // Writing to a string never fails.
                _ = writeln!(
                    script,
                    "{verb} element inet {} {set} {{ {} }}",
                    nft::TABLE,
                    elements.join(", ")
                );
            }
        }
        (!script.is_empty()).then_some((script, added))
    }
}

impl ClearFlows for ClearedFlows {
    fn clear(&self, generation: Generation, flow: &FlowKey, _verdict: Verdict) {
        let mut state = self.state();
        if state.generation != Some(generation) || !state.count(flow) {
            return;
        }
        if state.changes.len() >= MAX_BATCH || !state.take_share(flow.source().ip(), Instant::now())
        {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.changes.entry(*flow).or_insert(Change::Add);
        drop(state);
        self.waiting.notify_one();
    }

    fn forget(&self, generation: Generation, flow: &FlowKey) {
        let mut state = self.state();
        if state.generation != Some(generation) {
            return;
        }
        state.packets.remove(flow);
        state.changes.insert(*flow, Change::Delete);
        drop(state);
        self.waiting.notify_one();
    }
}

/// The name of the set of a family and of a generation.
pub(super) fn set_name(family: Family, generation: Generation) -> String {
    format!("cleared_ip{}_{}", family.suffix(), generation.0)
}

/// The definition of a set, as [`crate::render::nft::NftTable::set`] takes it.
pub(super) fn set_definition(family: Family, generation: Generation) -> String {
    let address = format!("ip{}_addr", family.suffix());
    format!(
        "\tset {} {{\n\t\ttype inet_proto . {address} . {address} . inet_service . inet_service\n\
         \t\tsize {SIZE}\n\t\tflags dynamic,timeout\n\t\ttimeout {}s\n\t}}\n",
        set_name(family, generation),
        MINUTE.as_secs()
    )
}

/// The key of the sets: the fields of a packet.
pub(super) const fn key(family: Family) -> &'static str {
    match family {
        Family::V4 => "meta l4proto . ip saddr . ip daddr . th sport . th dport",
        Family::V6 => "meta l4proto . ip6 saddr . ip6 daddr . th sport . th dport",
    }
}

fn element(flow: &FlowKey) -> String {
    let (source, destination) = (flow.source(), flow.destination());
    format!(
        "{} . {} . {} . {} . {}",
        flow.protocol().number(),
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    )
}

/// Packets of a flow that the filter has cleared before the kernel passes the rest.
const PACKETS: u32 = 32;
/// The time in which flows come together for a batch.
const BATCH_TIME: Duration = Duration::from_millis(50);
/// The most changes in a batch: `nft` takes a tenth of a second for 4,000.
const MAX_BATCH: usize = 4_096;
/// The most flows whose packets are counted; then it begins anew.
const MAX_COUNTED: usize = 16_384;
/// Flows that a set has room for.
const SIZE: u32 = 65_536;
/// The most flows of a client that are handed over in a minute.
const SHARE: u32 = 1_024;
/// As long as the filter remembers a flow.
const MINUTE: Duration = crate::packet::media::FLOW_IDLE;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Protocol;
    use crate::verdict::{Action, Reason};

    const GENERATION: Generation = Generation(7);

    fn flow(client: [u8; 4], port: u16) -> FlowKey {
        let host = std::net::Ipv4Addr::new(10, 9, 0, 1);
        let client = std::net::Ipv4Addr::from(client);
        FlowKey::new(Protocol::Tcp, (client.into(), port), (host.into(), 3_389))
    }

    fn cleared() -> ClearedFlows {
        let flows = ClearedFlows::default();
        flows.follow(Some(GENERATION));
        flows
    }

    fn clear(flows: &ClearedFlows, flow: &FlowKey, packets: u32) {
        let verdict = Verdict {
            action: Action::Forward,
            reason: Reason::Default,
            ..Verdict::drop(Reason::Media)
        };
        for _ in 0..packets {
            flows.clear(GENERATION, flow, verdict);
        }
    }

    fn batch(flows: &ClearedFlows) -> Option<(String, u64)> {
        flows.state().batch()
    }

    #[test]
    fn a_flow_is_handed_over_once_it_is_worth_it_and_again_where_it_comes_back() {
        let (flows, one) = (cleared(), flow([172, 16, 1, 10], 1_000));
        clear(&flows, &one, PACKETS - 1);
        assert_eq!(batch(&flows), None);
        let add = "add element inet offramp cleared_ipv4_7 { 6 . 172.16.1.10 . 10.9.0.1 . 1000 . 3389 }\n";
        for packets in [1, PACKETS] {
            clear(&flows, &one, packets);
            assert_eq!(batch(&flows), Some((add.to_owned(), 1)));
            assert_eq!(batch(&flows), None);
        }
    }

    #[test]
    fn what_another_policy_has_cleared_is_not_handed_over() {
        let (flows, one) = (cleared(), flow([172, 16, 1, 10], 1_000));
        clear(&flows, &one, PACKETS);
        flows.follow(Some(Generation(8)));
        clear(&flows, &one, PACKETS);
        assert_eq!(batch(&flows), None);
    }

    #[test]
    fn a_flow_that_shows_media_is_taken_back_whether_the_kernel_has_it_or_not() {
        let (flows, one) = (cleared(), flow([172, 16, 1, 10], 1_000));
        clear(&flows, &one, PACKETS);
        flows.forget(GENERATION, &one);
        let (script, added) = batch(&flows).expect("a change");
        let verbs: Vec<&str> = script
            .lines()
            .filter_map(|it| it.split(' ').next())
            .collect();
        assert_eq!((verbs, added), (vec!["add", "delete"], 0));
    }

    #[test]
    fn a_client_has_no_more_than_its_share() {
        let flows = cleared();
        for port in 0..2 * SHARE as u16 {
            clear(&flows, &flow([172, 16, 1, 10], port), PACKETS);
        }
        clear(&flows, &flow([172, 16, 1, 11], 1), PACKETS);
        let (_, added) = batch(&flows).expect("changes");
        assert_eq!(added, u64::from(SHARE) + 1);
        assert_eq!(flows.counts().evicted, u64::from(SHARE));
    }

    #[test]
    fn flows_without_end_take_bounded_memory() {
        let flows = cleared();
        for client in 0..20_000_u32 {
            let [_, _, high, low] = client.to_be_bytes();
            clear(&flows, &flow([172, 16, high, low], 1), PACKETS);
        }
        let state = flows.state();
        assert!(state.packets.len() <= MAX_COUNTED);
        assert_eq!(state.changes.len(), MAX_BATCH);
    }
}

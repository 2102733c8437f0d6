//! [`Machine`]: a gateway in memory to which everything happens in any order, beside a model of what it promises.
//!
//! ```text
//!                 ┌▶ packets, lost, twice, cut short or out of order ─▶ Published, Live, ClearFlows ─┐
//!  bytes ─▶ steps ┼▶ a policy, a refused file, addresses of the host, a trial ─▶ reload              ├─▶ equal to the model?
//!                 └▶ queries, replies of upstreams, none, time ─▶ the core of the DNS server ────────┘
//! ```
//!
//! The same bytes are the same run, so a run that fails can be kept. The parts are the gateway's own; the device, the upstreams
//! and the clock are played. The model is slow and obvious: the reference filter, sums, and the clients that wait.

mod device;
mod model;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arbitrary::{Result, Unstructured};

use self::device::{Checked, SimulatedDevice};
use self::model::Model;
pub use self::model::Reached;
use super::resolver::simulated::SimulatedResolver;
use super::tun::ClearFlows;
use super::tun::counters::VerdictCounters;
use super::tun::publish::{Live, Published};
use crate::datapath::{FaultRates, Faulty, worker};
use crate::filter::strategy::{Arrival, arrivals, give_names, policy};
use crate::filter::{CompiledPolicy, Generation};
use crate::packet::media::{FlowKey, Segment};
use crate::policy::{self, Enforcement, EnforcementOff, Policy, Sourced};
use crate::random::Random;
use crate::verdict::Verdict;

/// A gateway in memory, and the model of it.
#[derive(Debug)]
pub struct Machine {
    now: Duration,
    generation: u64,
    policy: Policy,
    own: Vec<IpAddr>,
    enforcement: Enforcement,
    published: Arc<Published>,
    counters: Arc<VerdictCounters>,
    live: Live,
    cleared: Arc<Cleared>,
    /// Packets that come again.
    pool: Vec<Arrival>,
    model: Model,
    resolver: SimulatedResolver,
}

/// Runs a machine for as long as `bytes` suffice.
///
/// # Panics
/// If it differs from its model. The fuzz target calls this.
pub fn fuzz_machine(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    let Ok(mut machine) = Machine::new(&mut bytes) else {
        return;
    };
    while !bytes.is_empty() && machine.step(&mut bytes).is_ok() {}
    machine.end(&mut Reached::default());
}

/// Runs a machine for `steps` steps that `seed` chooses, and adds to `reached` how far it came.
///
/// # Panics
/// If it differs from its model.
pub fn run_machine(seed: u64, steps: usize, reached: &mut Reached) {
    let mut random = Random(seed);
    let mut bytes = vec![0; BYTES_OF_STEP];
    let mut draw = |bytes: &mut Vec<u8>| {
        for word in bytes.chunks_mut(8) {
            let drawn = random.next_u64().to_le_bytes();
            word.copy_from_slice(&drawn[..word.len()]);
        }
    };
    draw(&mut bytes);
    let machine = Machine::new(&mut Unstructured::new(&bytes));
    let mut machine = machine.expect("simple choices take over where bytes run out");
    for _ in 0..steps {
        draw(&mut bytes);
        // A step that the bytes do not suffice for is a smaller one.
        _ = machine.step(&mut Unstructured::new(&bytes));
    }
    machine.end(reached);
}

/// More than a policy with names takes.
const BYTES_OF_STEP: usize = 2_048;

impl Machine {
    /// Starts a gateway with a policy.
    ///
    /// # Errors
    /// `bytes` do not suffice for one.
    pub fn new(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let policy = policy_with_names(bytes)?;
        let enforcement = policy.gateway.enforcement.clone();
        let compiled = compiled(&policy, 1, &[]);
        let published = Arc::new(Published::new(compiled, None, WORKERS));
        let counters = Arc::new(VerdictCounters::default());
        let cleared = Arc::new(Cleared::default());
        let flows: Arc<dyn ClearFlows> = Arc::clone(&cleared) as _;
        let live = Live::new(
            Arc::clone(&published),
            0,
            Arc::clone(&counters),
            Arc::default(),
        );
        Ok(Self {
            now: Duration::from_secs(1_000),
            generation: 1,
            own: Vec::new(),
            published,
            counters,
            live: live.with_flows(Some(flows)),
            cleared,
            pool: Vec::new(),
            model: Model::new(&policy, &[], &enforcement),
            resolver: SimulatedResolver::new(&policy, &enforcement),
            policy,
            enforcement,
        })
    }

    /// Takes a step.
    ///
    /// # Errors
    /// `bytes` do not suffice for it.
    ///
    /// # Panics
    /// If the gateway differs from its model.
    pub fn step(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        match bytes.int_in_range(0..=31u8)? {
            0..=13 => self.packets(bytes)?,
            14..=21 => self.resolver.ask(bytes, self.now)?,
            22..=26 => self.resolver.reply(bytes, self.now)?,
            27 => self.reload(bytes)?,
            28 => self.refused_reload(bytes)?,
            29 => self.own_addresses(bytes)?,
            30 => self.trial(bytes)?,
            _ => self.now += *bytes.choose(&PAUSES)?,
        }
        self.model.compare(&self.counters, &self.published);
        Ok(())
    }

    /// Has everybody answered who still waits; adds to `reached` how far it came.
    ///
    /// # Panics
    /// If somebody is not.
    pub fn end(mut self, reached: &mut Reached) {
        reached.answers += self.resolver.end(self.now);
        self.model.tell(reached);
    }

    /// Has up to 64 packets arrive, new ones and some that came before.
    fn packets(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        if self.pool.is_empty() || bytes.int_in_range(0..=7u8)? == 0 {
            let new = arrivals(bytes, &self.policy)?;
            self.pool.extend(new);
            let surplus = self.pool.len().saturating_sub(POOL);
            self.pool.drain(..surplus);
        }
        let mut arrived = Vec::new();
        for _ in 0..bytes.int_in_range(1..=64u8)? {
            let mut arrival = bytes.choose(&self.pool)?.clone();
            self.now += Duration::from_millis(bytes.int_in_range(0..=30u64)?);
            // The clock of a worker may be behind another's.
            let behind = Duration::from_millis(bytes.int_in_range(0..=3u64)?);
            arrival.now = self.now.saturating_sub(behind);
            match self.cleared.takes(&arrival, self.published.generation()) {
                Some(verdict) => self.model.passed(&arrival, verdict),
                None => arrived.push(arrival),
            }
        }
        let rates = match bytes.int_in_range(0..=3u8)? {
            0 => FaultRates {
                lost: bytes.arbitrary()?,
                duplicated: bytes.arbitrary()?,
                reordered: bytes.arbitrary()?,
                short: bytes.int_in_range(0..=40u8)?,
                idle: bytes.arbitrary()?,
                error: 0,
            },
            _ => FaultRates::default(),
        };
        let mut device = Faulty::new(SimulatedDevice::new(&arrived), rates, bytes.arbitrary()?);
        let mut checked = Checked {
            live: &mut self.live,
            model: &mut self.model,
        };
        worker::run(&mut device, &mut checked).expect("a device without errors");
        Ok(())
    }

    /// Exchanges the policy, as its file says it: by way of its text.
    fn reload(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        let written = policy_with_names(bytes)?;
        let text = written.to_string();
        // Names may contradict each other, which the reader refuses and the parts behind it do not mind.
        let read = policy::parse("machine.toml", text.as_bytes()).map_or(written, |(read, _)| read);
        // Some packets of the policy before come again.
        self.pool.truncate(bytes.int_in_range(0..=POOL)?);
        self.enforcement = read.gateway.enforcement.clone();
        self.policy = read;
        self.publish();
        Ok(())
    }

    /// Offers a file with a mistake; if it means something all the same, it is a reload.
    fn refused_reload(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        let mut text = self.policy.to_string().into_bytes();
        let at = bytes.int_in_range(0..=text.len() - 1)?;
        text[at] = bytes.arbitrary()?;
        if let Ok((read, _)) = policy::parse("machine.toml", &text) {
            self.enforcement = read.gateway.enforcement.clone();
            self.policy = read;
            self.publish();
        }
        Ok(())
    }

    /// Gives the host other addresses, some of which packets go to.
    fn own_addresses(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        self.own.clear();
        for _ in 0..bytes.int_in_range(0..=4u8)? {
            if self.pool.is_empty() {
                break;
            }
            let packet = bytes.choose(&self.pool)?.received().parse();
            self.own
                .extend(packet.map(|packet| packet.addresses().destination()));
        }
        self.publish();
        Ok(())
    }

    /// Begins, keeps or ends a trial.
    fn trial(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        let off = [
            None,
            Some(EnforcementOff::File),
            Some(EnforcementOff::TrialOver),
        ];
        self.enforcement.off = *bytes.choose(&off)?;
        self.enforcement.pilot.clear();
        if bytes.arbitrary()? {
            let subnets = &self.policy.vpn.client_subnets;
            self.enforcement.pilot.push(*bytes.choose(subnets)?);
        }
        self.published.enforce(self.enforcement.clone());
        self.model.enforce(&self.enforcement);
        self.resolver.follow(&self.policy, &self.enforcement);
        Ok(())
    }

    fn publish(&mut self) {
        self.generation += 1;
        let compiled = compiled(&self.policy, self.generation, &self.own);
        self.published
            .publish(compiled, self.enforcement.clone(), None);
        self.model.adopt(&self.policy, &self.own, &self.enforcement);
        self.resolver.follow(&self.policy, &self.enforcement);
    }
}

fn policy_with_names(bytes: &mut Unstructured<'_>) -> Result<Policy> {
    let mut policy = policy(bytes)?;
    give_names(bytes, &mut policy)?;
    policy.dns.upstreams.push(Sourced {
        value: SocketAddr::from(([192, 0, 2, 53], 53)),
        line: 2,
    });
    policy.dns.queries_per_second = *bytes.choose(&[1, 100, 10_000])?;
    policy.dns.cache_entries = *bytes.choose(&[0, 2, 4_096])?;
    Ok(policy)
}

fn compiled(policy: &Policy, generation: u64, own: &[IpAddr]) -> CompiledPolicy {
    CompiledPolicy::at_gateway(policy.clone(), Generation(generation), own)
        .expect("a generated policy is small")
}

/// Flows that a diversion passes by itself, as the programs in the kernel do.
#[derive(Debug, Default)]
struct Cleared(Mutex<HashMap<FlowKey, ClearedFlow>>);

#[derive(Debug, Clone, Copy)]
struct ClearedFlow {
    generation: Generation,
    verdict: Verdict,
    /// The time of the last packet; none has passed yet if it is `None`.
    seen: Option<Duration>,
}

impl ClearFlows for Cleared {
    fn clear(&self, generation: Generation, flow: &FlowKey, verdict: Verdict) {
        let cleared = ClearedFlow {
            generation,
            verdict,
            seen: None,
        };
        self.flows().insert(*flow, cleared);
    }

    fn forget(&self, _generation: Generation, flow: &FlowKey) {
        self.flows().remove(flow);
    }
}

impl Cleared {
    fn flows(&self) -> MutexGuard<'_, HashMap<FlowKey, ClearedFlow>> {
        self.0.lock().expect("nobody panics while it is locked")
    }

    /// Passes a packet of a flow that was cleared by this generation; returns its verdict.
    fn takes(&self, arrival: &Arrival, generation: Generation) -> Option<Verdict> {
        let (key, segment) = Segment::of_plain(&arrival.packet)?;
        let mut flows = self.flows();
        let flow = flows.get_mut(&key)?;
        let idle = arrival.now.saturating_sub(flow.seen.unwrap_or(arrival.now));
        if flow.generation != generation || idle > FLOW_IDLE {
            return None;
        }
        flow.seen = Some(arrival.now);
        let verdict = flow.verdict;
        match segment {
            // RFC 8489 §5, by itself and in the frames of TURN.
            Segment::Udp { payload, .. } => {
                let is_check = payload.len() >= 20
                    && [4, 8, 16].iter().any(|&at| payload[at..at + 4] == COOKIE);
                (!is_check).then_some(verdict)
            }
            Segment::Tcp { is_start, .. } => {
                if is_start {
                    flows.remove(&key);
                }
                (!is_start).then_some(verdict)
            }
        }
    }
}

/// As long as the programs keep a flow without packets.
const FLOW_IDLE: Duration = Duration::from_secs(60);
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Workers among whom memory is divided; one of them is played.
const WORKERS: usize = 16;
/// Packets that may come again.
const POOL: usize = 64;
/// Pauses around the lifetimes of fragments, flows and cached failures.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(900),
    Duration::from_millis(1_100),
    Duration::from_secs(29),
    Duration::from_secs(31),
    Duration::from_secs(59),
    Duration::from_secs(400),
];

#[cfg(test)]
mod tests {
    use super::{Reached, run_machine};
    use crate::verdict::Reason;

    #[test]
    fn whatever_happens_in_whatever_order_the_gateway_is_as_its_model_says() {
        let mut reached = Reached::default();
        for seed in 1..=20 {
            println!("seed {seed}");
            run_machine(seed, 500, &mut reached);
        }
        let reasons = reached.verdicts.iter().map(|(reason, _)| reason);
        assert!(
            reached.passed > 0 && reached.spared > 0 && reached.answers > 0,
            "{reached:?}"
        );
        assert_eq!(
            reasons.collect::<std::collections::HashSet<_>>().len(),
            Reason::ALL.len(),
            "{reached:?}"
        );
    }

    #[test]
    #[ignore = "minutes, each night: `CARGO_PROFILE_DEV_OPT_LEVEL=1 cargo test --lib -- --ignored a_million_steps`"]
    fn a_million_steps_of_a_hundred_seeds_find_nothing() {
        for seed in 1_000..1_100 {
            println!("seed {seed}");
            run_machine(seed, 10_000, &mut Reached::default());
        }
    }
}

//! Leads packets of VPN clients to the filter: the rest of the gateway uses [`Divert`] only.
//!
//! ```text
//!  policy ─▶ DivertPlan ─▶ install ─▶ change, repair  (as often as it takes)
//!                                        ├─▶ stop ─▶ remove   a clean stop: nothing is left behind
//!                                        └─▶ abandon          the filter ends against its will: the fail mode holds
//! ```
//!
//! A diversion decides which packets the filter sees, and may only let packets pass: drops are the filter's alone.
//! [`ebpf`] has programs at the interfaces of the VPN; [`nftables`] marks packets and routes the marked ones to the
//! filter's device.

pub mod ebpf;
pub mod firewall;
pub mod netlink;
pub mod nftables;
mod selftest;
pub mod settings;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use caps::Capability;

use crate::filter::CompiledPolicy;
use crate::packet::Traffic;
use crate::packet::virtio::Framing;
use crate::policy::{DivertScope, FailMode};
use crate::verdict::Verdict;

use self::firewall::Firewalls;
use self::netlink::Netlink;
pub use self::selftest::SelfTestOutcome;
use self::settings::DeviceSetting;
pub use super::host::interfaces::names;
use super::tun::{Feedback, TunDevice};
use crate::verify::Finding;
use crate::verify::probe::SelfTestPacket;

/// The kernel state that one policy needs. It prints as the commands that an operator would type.
pub trait DivertPlan: Clone + fmt::Display + Send + 'static {
    /// Derives the plan from `policy`.
    fn of(policy: &CompiledPolicy) -> Self;

    /// Summarizes the plan in terms that hold for every implementation.
    fn summary(&self) -> DivertSummary;

    /// The keys of the policy file that differ from `running` and take effect at the next start only.
    fn keys_for_restart(&self, running: &Self) -> Vec<&'static str>;
}

/// A way of leading packets to the filter; a value is an installed diversion.
///
/// The futures need not be [`Send`]: control is a runtime of one thread.
#[expect(
    async_fn_in_trait,
    reason = "control runs on one thread, so nobody needs to name or send the futures"
)]
pub trait Divert: Sized + 'static {
    /// The kernel state that a policy needs.
    type Plan: DivertPlan;
    /// The part of the kernel's state that takes more rights than a running gateway keeps.
    type Prepared;
    /// The reason why the kernel's part cannot be set up, changed or removed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Its name, as `gateway.diversion` has it.
    const NAME: &'static str;
    /// The frames of the filter's device.
    const FRAMING: Framing;
    /// True if what the filter forwards goes through the backlog of a processor.
    const USES_BACKLOG: bool;

    /// The least time between two of the self-tests that are made again and again.
    const SELF_TEST_PAUSE: Duration;

    /// The kernel settings that the filter's device needs.
    const SETTINGS: &'static [DeviceSetting];

    /// The programs that an installed diversion runs.
    fn programs() -> Vec<PathBuf>;

    /// The capabilities that an installed diversion needs.
    fn capabilities() -> Vec<Capability>;

    /// The folders that an installed diversion writes to.
    fn written() -> Vec<PathBuf>;

    /// Checks that this thread, with the rights it has left, could still change the diversion; changes nothing.
    ///
    /// # Errors
    /// [`Divert::Error`].
    fn check_rights() -> Result<(), Self::Error>;

    /// Checks this host for anything that would break a diversion of this kind, before it starts.
    async fn check_start(plan: &Self::Plan, netlink: &Netlink) -> Vec<Finding>;

    /// Checks this host for anything that would break `plan`, at a start, at a reload, and while it is installed.
    async fn check_plan(plan: &Self::Plan, netlink: &Netlink) -> Vec<Finding>;

    /// Checks the host's firewalls for rules that would break `plan`; `present` are the host's interfaces.
    fn check_firewalls(
        plan: &Self::Plan,
        firewalls: &Firewalls,
        present: &[String],
    ) -> Vec<Finding>;

    /// Returns `true` if a firewall of the host would let pass behind the filter what it stops without offramp.
    fn opens(plan: &Self::Plan, firewalls: &Firewalls, present: &[String]) -> bool;

    /// Finds conditions that the kernel tells of the installed diversion itself.
    async fn observe(&self) -> Vec<Finding>;

    /// Leads nothing to the filter while a firewall would let pass behind it what it stops without; what would be diverted
    /// passes unjudged, or is stopped, as the fail mode has it.
    ///
    /// # Errors
    /// [`Divert::Error`].
    async fn stand_aside(&mut self, on: bool) -> Result<(), Self::Error>;

    /// The interfaces from which the host's firewalls see clients' packets that the filter does not drop.
    fn inputs(plan: &Self::Plan) -> Vec<String>;

    /// Does what takes more rights than a running gateway keeps; `device` exists, and has no reader yet.
    ///
    /// # Errors
    /// [`Divert::Error`], with nothing left behind.
    fn prepare(plan: &Self::Plan, device: &TunDevice) -> Result<Self::Prepared, Self::Error>;

    /// The reports that workers are to make.
    fn feedback(prepared: &Self::Prepared) -> Feedback;

    /// Diverts the traffic of `plan` to its device, which exists and has a reader. Takes over the leftovers of a killed
    /// process.
    ///
    /// # Errors
    /// [`Divert::Error`], with everything undone except what the fail mode keeps closed.
    async fn install(
        netlink: Netlink,
        plan: Self::Plan,
        prepared: Self::Prepared,
    ) -> Result<Self, Self::Error>;

    /// Returns the plan in force.
    fn plan(&self) -> &Self::Plan;

    /// Returns the traffic that the kernel has forwarded by verdicts of the plan in force since it was asked last.
    fn passed(&self) -> Vec<(Verdict, Traffic)>;

    /// Takes note that interfaces may have come or gone; the kernel has told so at the time `heard`.
    ///
    /// # Errors
    /// [`Divert::Error`].
    async fn follow(&mut self, heard: Instant) -> Result<(), Self::Error>;

    /// Replaces the plan; traffic that both plans divert is diverted without a gap. Returns what [`Divert::passed`] would
    /// have returned last of the plan before.
    ///
    /// # Errors
    /// [`Divert::Error`], with the plan before in force, as far as the kernel takes it back.
    async fn change(&mut self, plan: Self::Plan) -> Result<Vec<(Verdict, Traffic)>, Self::Error>;

    /// Compares the kernel's state with the installed one, and restores it. Describes the missing or changed parts;
    /// `None` if there are none.
    ///
    /// # Errors
    /// [`Divert::Error`] where it cannot be compared or restored.
    async fn repair(&mut self) -> Result<Option<String>, Self::Error>;

    /// Has each of `packets` enter at each interface of the VPN as a client's would, and follows it through the filter; `None` if it
    /// has no way to do so now.
    async fn self_test(&mut self, packets: &[SelfTestPacket]) -> Option<SelfTestOutcome>;

    /// Has everything pass unjudged, or has traffic judged again.
    ///
    /// # Errors
    /// [`Divert::Error`].
    async fn bypass(&mut self, on: bool) -> Result<(), Self::Error>;

    /// Packets that passed without a verdict since the start, because a worker did not read them in time.
    fn unread(&self) -> Traffic;

    /// Interfaces that were up before what enters there was judged; `None` if a diversion of this kind need not attach to them.
    fn late(&self) -> Option<LateInterfaces>;

    /// Flows that the kernel passes since the filter has cleared them; `None` if a diversion of this kind asks every time.
    fn flows(&self) -> Option<FlowCounts>;

    /// Ends the diversion: no more packets are led to the device.
    ///
    /// # Errors
    /// [`Divert::Error`].
    async fn stop(&mut self) -> Result<(), Self::Error>;

    /// Removes everything else that was added; the device goes with its last reader.
    ///
    /// # Errors
    /// [`Divert::Error`].
    async fn remove(self) -> Result<(), Self::Error>;

    /// Leaves the kernel as the fail mode requires while the filter is away unintentionally.
    ///
    /// # Errors
    /// [`Divert::Error`] where the kernel refuses it.
    async fn abandon(&mut self) -> Result<(), Self::Error>;

    /// Removes the leftovers of any process from the kernel, except devices.
    ///
    /// # Errors
    /// [`Divert::Error`].
    async fn remove_leftovers(netlink: &Netlink) -> Result<(), Self::Error>;
}

/// Flows that were cleared since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowCounts {
    /// Flows cleared, the same one again after it had lapsed included.
    pub cleared: u64,
    /// Of these: judged again before they had lapsed, for lack of room.
    pub evicted: u64,
}

/// Interfaces of the VPN that have come since the start and were up before what enters there was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LateInterfaces {
    /// How many.
    pub count: u64,
    /// The packets that had entered there.
    pub packets: u64,
    /// The longest time that an interface was up, from when the gateway heard of it.
    pub longest: Duration,
}

/// A plan in numbers and names, for status, logs and link changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DivertSummary {
    /// The interfaces on which clients' packets enter; a trailing `*` matches any suffix.
    pub interfaces: Vec<String>,
    /// The filter's tun device.
    pub device: String,
    /// The share of the traffic that is diverted.
    pub scope: DivertScope,
    /// Prefixes that can lead to the filter; 0 where everything does.
    pub prefixes: usize,
    /// The fate of diverted packets while nobody reads them.
    pub on_failure: FailMode,
}

/// The finding for an interface of the VPN that is a port of a bridge.
fn bridge_port(name: &str) -> Finding {
    Finding::host_error(
        format!("{name} is a port of a bridge: what enters there is the bridge's"),
        "name the bridge in vpn.interfaces, and not its port",
    )
}

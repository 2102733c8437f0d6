//! [`Installation`]: the programs at the interfaces, from their start to their end.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aya::programs::tc::SchedClassifierLink;
use caps::Capability;
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::warn;

use super::EbpfPlan;
use super::entries::{self, Entries};
use super::guard::Guard;
use super::programs::{self, Programs, ProgramsError, Target};
use super::version::may_change_maps;
use crate::filter::KernelTables;
use crate::gateway::divert::firewall::Firewalls;
use crate::gateway::divert::netlink::{Link, Netlink, NetlinkError};
use crate::gateway::divert::nftables::nft::{self, NftError, run_nft};
use crate::gateway::divert::selftest::{LIMIT, Turn, disagreement};
use crate::gateway::divert::settings::{DeviceSetting, Unset};
use crate::gateway::divert::{Divert, FlowCounts, LateInterfaces, SelfTestOutcome};
use crate::gateway::tun::{ArrivedProbe, DeviceWriter, Feedback, ProbeHeader, TunDevice};
use crate::packet::Traffic;
use crate::packet::virtio::Framing;
use crate::policy::FailMode;
use crate::verdict::Verdict;
use crate::verify::Finding;
use crate::verify::probe::SelfTestPacket;

/// The programs of a plan, at the interfaces of the VPN and at the filter's device.
#[derive(Debug)]
pub struct Installation {
    netlink: Netlink,
    plan: EbpfPlan,
    prepared: Prepared,
    /// The program at the filter's device, for as long as this is held.
    _leave: SchedClassifierLink,
    entries: Entries,
    /// Not in force under `on_failure = "open"`.
    guard: Guard,
    /// True if everything passes by command.
    bypassed: bool,
    late: LateInterfaces,
    /// The traffic of each verdict in force that was reported before.
    reported: RefCell<Vec<Traffic>>,
    /// Interfaces at which the last self-test failed, by index.
    suspects: BTreeSet<u32>,
    /// The interface that the next self-test begins with.
    turn: Turn,
}

/// The programs, loaded but not attached.
#[derive(Debug)]
pub struct Prepared {
    programs: Programs,
    writer: DeviceWriter,
    feedback: Feedback,
    arrivals: UnboundedReceiver<ArrivedProbe>,
}

/// The reason why the programs could not be loaded, attached or changed.
#[derive(Debug, thiserror::Error)]
pub enum EbpfError {
    /// Links.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The programs and maps.
    #[error("eBPF: {0}")]
    Programs(#[from] ProgramsError),
    /// The program at the filter's device.
    #[error("eBPF: no program can be attached to {device}: {source}")]
    Attach {
        /// The device.
        device: String,
        /// The reason.
        source: ProgramsError,
    },
    /// No file can keep the programs attached.
    #[error("on_failure = \"closed\" would not hold after a kill: {folder}: {0}", folder = entries::FOLDER)]
    Files(std::io::Error),
    /// The guard of interfaces without a program.
    #[error("interfaces without a program cannot be guarded (on_failure = \"closed\"): {0}")]
    Guard(#[from] NftError),
    /// The device lacks what the programs need.
    #[error("eBPF: the device {0} cannot be used: {1}")]
    Device(String, std::io::Error),
}

impl Divert for Installation {
    type Plan = EbpfPlan;
    type Prepared = Prepared;
    type Error = EbpfError;

    const NAME: &'static str = "ebpf";
    const FRAMING: Framing = Framing::Ethernet;
    const USES_BACKLOG: bool = true;
    const SETTINGS: &'static [DeviceSetting] = &SETTINGS;
    const SELF_TEST_PAUSE: Duration = Duration::ZERO;

    /// Those that list the host's firewalls.
    fn programs() -> Vec<PathBuf> {
        Firewalls::programs()
    }

    /// Before Linux 5.19 a process without CAP_BPF may not even change a map.
    fn capabilities() -> Vec<Capability> {
        let mut kept = vec![Capability::CAP_NET_ADMIN];
        if !may_change_maps() {
            kept.push(Capability::CAP_BPF);
        }
        kept
    }

    fn written() -> Vec<PathBuf> {
        vec![entries::FOLDER.into()]
    }

    fn check_rights() -> Result<(), EbpfError> {
        Ok(())
    }

    async fn check_start(_plan: &EbpfPlan, _netlink: &Netlink) -> Vec<Finding> {
        Vec::new()
    }

    async fn check_plan(plan: &EbpfPlan, netlink: &Netlink) -> Vec<Finding> {
        match netlink.links().await {
            Ok(links) => {
                let of_clients = links.iter().filter(|link| plan.is_of_clients(&link.name));
                of_clients.filter_map(entries::unusable).collect()
            }
            Err(error) => vec![Finding::from(&error)],
        }
    }

    /// Forwarded packets enter where they came from: no firewall sees a difference.
    fn check_firewalls(_: &EbpfPlan, _: &Firewalls, _: &[String]) -> Vec<Finding> {
        Vec::new()
    }

    fn opens(_: &EbpfPlan, _: &Firewalls, _: &[String]) -> bool {
        false
    }

    async fn observe(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn stand_aside(&mut self, _on: bool) -> Result<(), EbpfError> {
        Ok(())
    }

    fn inputs(plan: &EbpfPlan) -> Vec<String> {
        plan.interfaces.clone()
    }

    fn prepare(plan: &EbpfPlan, device: &TunDevice) -> Result<Prepared, EbpfError> {
        let failed = |error| EbpfError::Device(plan.device.clone(), error);
        let index = nix::net::if_::if_nametoindex(plan.device.as_str());
        let target = Target {
            index: index.map_err(|error| failed(error.into()))?,
            queues: device.queues(),
        };
        let mut programs = Programs::load(target, programs::ROOM, plan.on_failure)?;
        if device.queues() > 1 {
            device.steer(programs.steering()?).map_err(failed)?;
        }
        let (feedback, arrivals) = Feedback::with_probes();
        let feedback = feedback.with_flows(programs.flows().clone());
        feedback.note_in(programs.control().clone());
        Ok(Prepared {
            programs,
            writer: device.writer().map_err(failed)?,
            feedback,
            arrivals,
        })
    }

    fn feedback(prepared: &Prepared) -> Feedback {
        prepared.feedback.clone()
    }

    async fn install(
        netlink: Netlink,
        plan: EbpfPlan,
        mut prepared: Prepared,
    ) -> Result<Self, EbpfError> {
        let device = plan.device.as_str();
        // Before the device is up, or it sends packets of its own at once.
        for Unset { setting, source } in netlink.set_device(device, &SETTINGS).await? {
            warn!(
                "{} cannot be set to {}: {source}; the gateway works without: the kernel may send packets of its own to {device}, \
                 which the filter ignores",
                setting.key(device),
                setting.value()
            );
        }
        netlink.set_up_tap(device).await?;
        note_size(&plan.tables);
        prepared.programs.enforce(&plan.tables);
        let leave = prepared.programs.attach_leave(&plan.device);
        let leave = leave.map_err(|source| EbpfError::Attach {
            device: plan.device.clone(),
            source,
        })?;
        let mut installation = Self {
            netlink,
            plan,
            prepared,
            _leave: leave,
            entries: Entries::default(),
            guard: Guard::default(),
            bypassed: false,
            late: LateInterfaces::default(),
            reported: RefCell::default(),
            suspects: BTreeSet::new(),
            turn: Turn::default(),
        };
        if installation.plan.on_failure == FailMode::Open {
            // Of an earlier process that was to fail closed. Without nft there was none.
            _ = run_nft(nft::remove).await;
        }
        installation.attach(None).await?;
        Ok(installation)
    }

    fn plan(&self) -> &EbpfPlan {
        &self.plan
    }

    async fn change(&mut self, plan: EbpfPlan) -> Result<Vec<(Verdict, Traffic)>, EbpfError> {
        let before = self.plan.tables.clone();
        let plan = EbpfPlan {
            device: self.plan.device.clone(),
            on_failure: self.plan.on_failure,
            ..plan
        };
        let verdicts = before.verdicts().len();
        let programs = &mut self.prepared.programs;
        note_size(&plan.tables);
        programs.enforce(&plan.tables);
        let sums = programs.passed_before(verdicts);
        let last = self.increments(&before, sums);
        // The counters of the new tables begin at zero.
        self.reported.borrow_mut().clear();
        self.plan = plan;
        self.attach(None).await?;
        Ok(last)
    }

    fn passed(&self) -> Vec<(Verdict, Traffic)> {
        let tables = &self.plan.tables;
        let sums = self.prepared.programs.passed(tables.verdicts().len());
        self.increments(tables, sums)
    }

    async fn follow(&mut self, heard: Instant) -> Result<(), EbpfError> {
        self.attach(Some(heard)).await?;
        Ok(())
    }

    /// Attaches the programs anew where the last self-test failed, and restores the guard.
    async fn repair(&mut self) -> Result<Option<String>, EbpfError> {
        let suspects = std::mem::take(&mut self.suspects).into_iter();
        let names = suspects.filter_map(|index| self.entries.forget(index));
        let names = names.collect::<Vec<_>>();
        let mut changed = Vec::new();
        if !names.is_empty() {
            changed.push(format!("the program at {}", names.join(", ")));
        }
        // A table that was just written for other interfaces is as it should be.
        if !self.attach(None).await? {
            changed.extend(self.guard.repair().await?);
        }
        Ok((!changed.is_empty()).then(|| changed.join(", ")))
    }

    async fn self_test(&mut self, packets: &[SelfTestPacket]) -> Option<SelfTestOutcome> {
        // Those of an earlier one that came too late.
        while self.prepared.arrivals.try_recv().is_ok() {}
        let up = self.interfaces_that_are_up().await;
        let before = self.turn;
        let interfaces = self.entries.interfaces().filter(|(index, _)| up(*index));
        let interfaces = self.turn.take(interfaces);
        let failed = self.entries.failed();
        let mut failures: Vec<String> = failed
            .map(|(name, why)| {
                format!(
                    "no program is attached to {name}, so what enters there is not judged: {why}"
                )
            })
            .collect();
        let mut awaited = Vec::new();
        for (index, name) in &interfaces {
            for packet in packets {
                let frame = ProbeHeader::frame(*index, &packet.packet);
                match self.prepared.writer.write(&frame) {
                    Ok(()) => awaited.push((*index, name, packet)),
                    Err(error) => {
                        failures.push(format!("no packet can be sent to {name}: {error}"))
                    }
                }
            }
        }
        let deadline = tokio::time::Instant::now() + LIMIT;
        while !awaited.is_empty() {
            let arrival = tokio::time::timeout_at(deadline, self.prepared.arrivals.recv()).await;
            let Ok(Some(arrival)) = arrival else { break };
            let is_of = |(index, _, sent): &(u32, _, &SelfTestPacket)| {
                *index == arrival.interface && sent.packet == arrival.packet
            };
            if let Some(at) = awaited.iter().position(is_of) {
                let (_, name, sent) = awaited.swap_remove(at);
                failures.extend(disagreement(name, sent, &arrival));
            }
        }
        if !awaited.is_empty() {
            // It may have gone down, or away, meanwhile.
            let up = self.interfaces_that_are_up().await;
            for (index, name, sent) in awaited.into_iter().filter(|it| up(it.0)) {
                self.suspects.insert(index);
                failures.push(format!(
                    "a packet to {} that enters at {name} does not reach the filter",
                    sent.to
                ));
            }
        }
        if !failures.is_empty() {
            // The same interfaces are tested again, until they pass.
            self.turn = before;
        }
        Some(SelfTestOutcome {
            failures,
            untested: Vec::new(),
        })
    }

    async fn bypass(&mut self, on: bool) -> Result<(), EbpfError> {
        self.prepared.programs.bypass(on);
        self.bypassed = on;
        if on {
            self.guard.remove().await?;
        } else {
            self.attach(None).await?;
        }
        Ok(())
    }

    fn late(&self) -> Option<LateInterfaces> {
        Some(self.late)
    }

    fn unread(&self) -> Traffic {
        self.prepared.programs.unread()
    }

    fn flows(&self) -> Option<FlowCounts> {
        Some(self.prepared.programs.flows().counts())
    }

    async fn stop(&mut self) -> Result<(), EbpfError> {
        self.prepared.programs.bypass(true);
        self.entries.release();
        Ok(self.guard.remove().await?)
    }

    async fn remove(self) -> Result<(), EbpfError> {
        Ok(())
    }

    /// Closed, the programs stay and lead to a device that is gone, and the guard stays with them.
    async fn abandon(&mut self) -> Result<(), EbpfError> {
        match self.plan.on_failure {
            FailMode::Open => self.stop().await,
            FailMode::Closed => Ok(()),
        }
    }

    async fn remove_leftovers(netlink: &Netlink) -> Result<(), EbpfError> {
        entries::remove_leftovers(&netlink.interfaces().await?);
        Ok(())
    }
}

impl Installation {
    /// Attaches the programs to interfaces that lack them, then has the guard let them in; returns `true` if that took another
    /// guard. `heard` is the time when the kernel told of a change.
    async fn attach(&mut self, heard: Option<Instant>) -> Result<bool, EbpfError> {
        let links = self.netlink.links().await?;
        let programs = &mut self.prepared.programs;
        let attached = self.entries.follow(&self.plan, programs, &links);
        if let Some(heard) = heard {
            for link in attached.into_iter().filter(|it| it.is_up) {
                self.note_late(link, heard.elapsed());
            }
        }
        if self.plan.on_failure == FailMode::Open || self.bypassed {
            return Ok(false);
        }
        Ok(self
            .guard
            .follow(&self.plan, self.entries.interfaces())
            .await?)
    }

    /// Takes note of an interface that was up before it had a program.
    fn note_late(&mut self, link: &Link, time: Duration) {
        let late = &mut self.late;
        late.count += 1;
        late.packets += link.received;
        late.longest = late.longest.max(time);
        if link.received > 0 || time > SHORT {
            let fate = match self.plan.on_failure {
                FailMode::Open => "and were not judged",
                FailMode::Closed => "and were stopped",
            };
            warn!(
                "{} was up for {} ms or more before packets from it were judged: {} had entered by then {fate}",
                link.name,
                time.as_millis(),
                link.received
            );
        }
    }

    /// The traffic of each verdict since it was reported last, given its sums by now.
    fn increments(&self, tables: &KernelTables, sums: Vec<Traffic>) -> Vec<(Verdict, Traffic)> {
        let before = self.reported.replace(sums.clone()).into_iter();
        let before = before.chain(std::iter::repeat(Traffic::default()));
        let verdicts = tables.verdicts().iter().copied();
        let since = sums.into_iter().zip(before).map(|(now, before)| Traffic {
            packets: now.packets.saturating_sub(before.packets),
            bytes: now.bytes.saturating_sub(before.bytes),
        });
        let increments = verdicts.zip(since);
        increments
            .filter(|(_, traffic)| traffic.packets > 0)
            .collect()
    }

    /// Returns a function of an interface's index: `true` if the interface is there and up. At others nothing enters, and no packet of a
    /// self-test. All are, where the kernel does not say.
    async fn interfaces_that_are_up(&self) -> impl Fn(u32) -> bool + use<> {
        let links = self.netlink.links().await.ok();
        move |index| {
            let links = links.as_deref();
            links.is_none_or(|all| all.iter().any(|link| link.index == index && link.is_up))
        }
    }
}

/// Logs it if the programs have no room for all that a policy forwards for certain.
fn note_size(tables: &KernelTables) {
    if tables.is_partial() {
        warn!(
            "the policy has more prefixes or rules than the programs have room for: packets to some of them go to the filter, \
             which costs more, though it could be known that they are forwarded"
        );
    }
}

/// The settings of the filter's device: nothing but the filter is to send or receive there.
pub(super) const SETTINGS: [DeviceSetting; 2] =
    [DeviceSetting::NO_IPV6_ADDRESS, DeviceSetting::IPV6_OFF];

/// The time within which an interface without packets is not worth a line of the log.
const SHORT: Duration = Duration::from_millis(5);

//! [`Installation`]: the programs at the interfaces, from their start to their end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::programs::tc::SchedClassifierLink;
use tracing::{info, warn};

use super::EbpfPlan;
use super::programs::{Headers, Programs, ProgramsError, Room, Target};
use crate::gateway::divert::netlink::{Link, LinkKind, Netlink, NetlinkError};
use crate::gateway::divert::{Divert, names};
use crate::gateway::tun::{Acknowledgements, TunDevice};
use crate::packet::Traffic;
use crate::packet::virtio::Framing;
use crate::verdict::Verdict;
use crate::verify::Finding;

/// The programs of a plan, at the interfaces of the VPN and at the filter's device.
#[derive(Debug)]
pub struct Installation {
    netlink: Netlink,
    plan: EbpfPlan,
    programs: Programs,
    /// The number of workers.
    target: Target,
    acknowledgements: Acknowledgements,
    leave: Option<SchedClassifierLink>,
    /// The interfaces that the entry program is attached to, by index.
    entries: BTreeMap<u32, Entry>,
    /// The traffic of each verdict in force that was reported before.
    reported: RefCell<Vec<Traffic>>,
}

/// The entry program at an interface.
#[derive(Debug)]
struct Entry {
    name: String,
    headers: Headers,
    link: SchedClassifierLink,
}

/// The programs, loaded but not attached.
#[derive(Debug)]
pub struct Prepared {
    programs: Programs,
    target: Target,
    acknowledgements: Acknowledgements,
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
    /// The program at one interface.
    #[error("eBPF: no program can be attached to {interface}: {source}")]
    Attach {
        /// The interface.
        interface: String,
        /// The reason.
        source: ProgramsError,
    },
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

    fn settings(device: &str) -> Vec<(String, &'static str)> {
        // Nothing but the filter is to send or receive there.
        vec![(format!("net/ipv6/conf/{device}/disable_ipv6"), "1")]
    }

    fn programs() -> Vec<PathBuf> {
        Vec::new()
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
                of_clients.filter_map(unusable).collect()
            }
            Err(error) => vec![Finding::from(&error)],
        }
    }

    fn prepare(plan: &EbpfPlan, device: &TunDevice) -> Result<Prepared, EbpfError> {
        let failed = |error| EbpfError::Device(plan.device.clone(), error);
        let target = Target {
            index: nix::net::if_::if_nametoindex(plan.device.as_str())
                .map_err(|error| failed(error.into()))?,
            workers: device.queues(),
        };
        let mut programs = Programs::load(target, Room::of(&plan.tables), plan.on_failure)?;
        if device.queues() > 1 {
            device.steer(programs.steering()?).map_err(failed)?;
        }
        let acknowledgements = Acknowledgements::default();
        acknowledgements.go_to(programs.control().clone());
        Ok(Prepared {
            programs,
            target,
            acknowledgements,
        })
    }

    fn acknowledgements(prepared: &Prepared) -> Acknowledgements {
        prepared.acknowledgements.clone()
    }

    async fn install(
        netlink: Netlink,
        plan: EbpfPlan,
        prepared: Prepared,
    ) -> Result<Self, EbpfError> {
        let mut installation = Self {
            netlink,
            reported: RefCell::default(),
            programs: prepared.programs,
            target: prepared.target,
            acknowledgements: prepared.acknowledgements,
            leave: None,
            entries: BTreeMap::new(),
            plan,
        };
        installation
            .netlink
            .set_up_tap(&installation.plan.device)
            .await?;
        installation.enforce();
        let device = installation.plan.device.clone();
        let leave = installation.programs.attach_leave(&device);
        installation.leave = Some(leave.map_err(|source| EbpfError::Attach {
            interface: device,
            source,
        })?);
        installation.attach_missing().await?;
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
        let old = if self.programs.room().fits(&plan.tables) {
            self.programs.enforce(&plan.tables);
            self.programs.passed_before(before.verdicts().len())
        } else {
            let old = self.exchange_programs(&plan)?;
            old.passed(before.verdicts().len())
        };
        let last = self.increments(&before, old);
        self.plan = plan;
        self.attach_missing().await?;
        Ok(last)
    }

    fn passed(&self) -> Vec<(Verdict, Traffic)> {
        let tables = &self.plan.tables;
        let now = self.programs.passed(tables.verdicts().len());
        self.increments(tables, now)
    }

    async fn follow(&mut self) -> Result<(), EbpfError> {
        self.attach_missing().await
    }

    async fn repair(&mut self) -> Result<Option<String>, EbpfError> {
        self.attach_missing().await?;
        Ok(None)
    }

    async fn stop(&mut self) -> Result<(), EbpfError> {
        self.programs.bypass(true);
        Ok(())
    }

    async fn remove(self) -> Result<(), EbpfError> {
        Ok(())
    }

    async fn abandon(&mut self) -> Result<(), EbpfError> {
        Ok(())
    }

    async fn remove_leftovers(_netlink: &Netlink) -> Result<(), EbpfError> {
        Ok(())
    }
}

impl Installation {
    fn enforce(&mut self) {
        self.programs.enforce(&self.plan.tables);
        self.reported.borrow_mut().clear();
    }

    /// Loads programs with room for `plan`, and has them take the place of those in force; returns these.
    fn exchange_programs(&mut self, plan: &EbpfPlan) -> Result<Programs, EbpfError> {
        let room = Room::of(&plan.tables);
        let mut programs = Programs::load(self.target, room, plan.on_failure)?;
        programs.enforce(&plan.tables);
        self.acknowledgements.go_to(programs.control().clone());
        if let Some(link) = self.leave.take() {
            self.leave = Some(programs.take_over(link, None)?);
        }
        for (index, entry) in std::mem::take(&mut self.entries) {
            let link = programs.take_over(entry.link, Some((index, entry.headers)))?;
            self.entries.insert(index, Entry { link, ..entry });
        }
        Ok(std::mem::replace(&mut self.programs, programs))
    }

    /// Attaches the entry program to the interfaces of clients that lack it, and forgets those that are gone.
    async fn attach_missing(&mut self) -> Result<(), EbpfError> {
        let links = self.netlink.links().await?;
        let plan = &self.plan;
        let programs = &mut self.programs;
        self.entries.retain(|index, entry| {
            let stays = links.iter().any(|link| {
                link.index == *index && link.name == entry.name && plan.is_of_clients(&link.name)
            });
            if !stays {
                programs.forget(*index);
            }
            stays
        });
        let missing = links.iter().filter(|link| {
            plan.is_of_clients(&link.name) && !self.entries.contains_key(&link.index)
        });
        let missing: Vec<_> = missing.collect();
        for link in missing {
            let Some(headers) = headers_of(link) else {
                // Reported at the start, or at the reload that named it.
                continue;
            };
            match programs.attach_entry(&link.name, link.index, headers) {
                Ok(attached) => {
                    info!("packets that enter from {} are judged", link.name);
                    let entry = Entry {
                        name: link.name.clone(),
                        headers,
                        link: attached,
                    };
                    self.entries.insert(link.index, entry);
                }
                // It may be gone again.
                Err(error) => warn!("packets from {} are not judged: {error}", link.name),
            }
        }
        Ok(())
    }

    /// The traffic of each verdict since it was reported last, given its sum `now`.
    fn increments(
        &self,
        tables: &crate::filter::KernelTables,
        now: Vec<Traffic>,
    ) -> Vec<(Verdict, Traffic)> {
        let before = self.reported.replace(now.clone());
        let before = before
            .into_iter()
            .chain(std::iter::repeat(Traffic::default()));
        let verdicts = tables.verdicts().iter().copied();
        let increments =
            verdicts
                .zip(now.into_iter().zip(before))
                .map(|(verdict, (now, before))| {
                    let traffic = Traffic {
                        packets: now.packets.saturating_sub(before.packets),
                        bytes: now.bytes.saturating_sub(before.bytes),
                    };
                    (verdict, traffic)
                });
        increments
            .filter(|(_, traffic)| traffic.packets > 0)
            .collect()
    }
}

impl EbpfPlan {
    fn is_of_clients(&self, interface: &str) -> bool {
        interface != self.device && self.interfaces.iter().any(|name| names(name, interface))
    }
}

/// The headers of packets that enter at `link`; `None` if the programs do not know them.
fn headers_of(link: &Link) -> Option<Headers> {
    match link.kind {
        LinkKind::Ethernet(address) if !link.is_bridge_port => Some(Headers::Ethernet(address)),
        LinkKind::Ip => Some(Headers::Ip),
        LinkKind::Ethernet(_) | LinkKind::Other(_) => None,
    }
}

fn unusable(link: &Link) -> Option<Finding> {
    let name = &link.name;
    match &link.kind {
        LinkKind::Ethernet(_) if link.is_bridge_port => Some(Finding::host_error(
            format!("{name} is a port of a bridge: what enters there is the bridge's"),
            "name the bridge in vpn.interfaces, and not its port",
        )),
        LinkKind::Other(kind) => Some(Finding::host_error(
            format!("{name} is an interface of kind {kind}, whose packets offramp does not read"),
            "[gateway] diversion = \"nftables\" takes every interface that IP packets enter from",
        )),
        _ => None,
    }
}

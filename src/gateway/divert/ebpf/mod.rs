//! The diversion by eBPF: programs at the interfaces of the VPN lead packets to the filter and back.
//!
//! [`EbpfPlan`] is the plan that follows from a policy, [`Installation`] the programs in the kernel.
//!
//! ```text
//!  tun0, vpns* ──▶ entry ──┬── forwarded for certain ──▶ the stack: firewall, routing, NAT
//!       ▲                  └── anything else
//!       │                          │ offramp0, a tap
//!    marked                        ▼
//!       └───────── leave ◀─── filter: forward ─▶ drop
//! ```
//!
//! The entry program looks up what the policy forwards for certain ([`KernelTables`]), counts and passes it, and leads
//! everything else to the filter's device. What the filter forwards enters again at the interface where it came from, so
//! no firewall, route, reverse path filter or NAT of the host sees a difference: no rule of theirs has to be changed.
//!
//! The interface travels in the Ethernet header of the tap, in place of the destination. A tun would lose it, and to take
//! it from a route of the source would let a client send as another. The programs only ever pass packets or lead them on:
//! drops are the filter's alone.
//!
//! A worker that reads nothing for a quarter of a second, because it was stopped or hangs, is
//! noticed by the entry program itself: it passes everything (`on_failure = "open"`) until the worker reads again.
//!
//! Under `on_failure = "closed"` a table of nftables, the one exception, stops what enters from an interface of the VPN that
//! has no program, because it has just appeared or the gateway is away (`guard`).

#[cfg(any(test, feature = "fuzzing"))]
pub mod agreement;
mod attach;
mod entries;
mod flows;
mod guard;
mod install;
mod programs;
#[cfg(test)]
mod tests;
mod version;

pub use install::{EbpfError, Installation};

use std::fmt;
use std::sync::Arc;

use super::{DivertPlan, DivertSummary};
use super::{names, netlink};
use crate::filter::{CompiledPolicy, KernelTables};
use crate::plan::diverted;
use crate::policy::{DivertScope, FailMode, GatewayOptions};

/// The programs and tables that one policy needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EbpfPlan {
    /// The interfaces on which clients' packets enter; a trailing `*` matches any suffix.
    pub interfaces: Vec<String>,
    /// The share of the traffic that is diverted.
    pub scope: DivertScope,
    /// The fate of diverted packets while nobody reads them.
    pub on_failure: FailMode,
    /// The filter's tap device.
    pub device: String,
    /// Prefixes that a rule speaks of; 0 where everything is diverted.
    prefixes: usize,
    /// The packets that the policy forwards for certain.
    tables: Arc<KernelTables>,
}

impl DivertPlan for EbpfPlan {
    fn of(policy: &CompiledPolicy) -> Self {
        let gateway = &policy.policy().gateway;
        // The tables leave spoofed sources to the judge, who drops them.
        let (tables, prefixes) = match gateway.divert {
            DivertScope::All => (KernelTables::empty(policy.generation()), 0),
            DivertScope::Policy | DivertScope::Suspects => {
                let prefixes = diverted(policy.policy()).prefixes().count();
                (KernelTables::within(programs::ROOM, policy), prefixes)
            }
        };
        let interfaces = policy.policy().vpn.interfaces.iter();
        Self {
            interfaces: interfaces.map(|name| name.value.clone()).collect(),
            scope: gateway.divert,
            on_failure: gateway.on_failure,
            device: gateway.device.as_ref().map_or_else(
                || GatewayOptions::DEVICE.to_owned(),
                |device| device.value.clone(),
            ),
            prefixes,
            tables: Arc::new(tables),
        }
    }

    fn summary(&self) -> DivertSummary {
        DivertSummary {
            interfaces: self.interfaces.clone(),
            device: self.device.clone(),
            scope: self.scope,
            prefixes: self.prefixes,
            on_failure: self.on_failure,
        }
    }

    fn keys_for_restart(&self, running: &Self) -> Vec<&'static str> {
        let keys = [
            ("gateway.device", running.device != self.device),
            ("gateway.on_failure", running.on_failure != self.on_failure),
        ];
        let changed = keys.iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| *key).collect()
    }
}

impl EbpfPlan {
    /// Returns `true` if clients' packets enter at `interface`.
    fn is_of_clients(&self, interface: &str) -> bool {
        interface != self.device && self.interfaces.iter().any(|name| names(name, interface))
    }
}

/// Prints what is done; programs have no command of their own.
impl fmt::Display for EbpfPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.device;
        writeln!(out, "# the filter's device, which ends with the process")?;
        writeln!(out, "ip tuntap add dev {device} mode tap vnet_hdr")?;
        for setting in install::SETTINGS {
            writeln!(out, "sysctl -w {}={}", setting.key(device), setting.value())?;
        }
        writeln!(
            out,
            "ip link set {device} mtu {} txqueuelen {} up",
            netlink::TAP_MTU,
            netlink::DEVICE_TX_QUEUE
        )?;
        writeln!(
            out,
            "\n# programs (eBPF), before those of others, where packets enter from"
        )?;
        for interface in &self.interfaces {
            writeln!(
                out,
                "#   {interface}: passes what the policy forwards for certain, leads the rest to {device}"
            )?;
        }
        writeln!(
            out,
            "#   {device}: leads what the filter forwards back to its interface"
        )?;
        if self.on_failure == FailMode::Closed {
            writeln!(
                out,
                "# files in {} keep them attached if the process is killed",
                entries::FOLDER
            )?;
            writeln!(
                out,
                "\n# drops what enters from interfaces without a program; those with one are accepted before, by their index\n\
                 nft -f - <<'END'\n{}END\n",
                guard::table(&self.interfaces, std::iter::empty())
            )?;
        }
        writeln!(
            out,
            "# firewall, routes, reverse path filters and NAT stay as they are"
        )
    }
}

/// Loads the programs and gives them up again; checks that what fails closed can be kept so.
///
/// # Errors
/// The reason why they cannot be used here: the kernel, or the rights of this process.
pub fn try_out(on_failure: FailMode) -> Result<(), EbpfError> {
    if on_failure == FailMode::Closed {
        entries::check_files().map_err(EbpfError::Files)?;
    }
    let target = programs::Target {
        index: 1,
        queues: 1,
    };
    programs::Programs::load(target, programs::LITTLE_ROOM, FailMode::Open)?;
    Ok(())
}

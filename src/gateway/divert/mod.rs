//! Leads packets of VPN clients to the filter: [`Divert`] is all that the rest of the gateway knows of it.
//!
//! ```text
//!  policy ─▶ DivertPlan ─▶ install ─▶ change, repair  (as often as it takes)
//!                                        ├─▶ stop ─▶ remove   a clean stop: nothing is left behind
//!                                        └─▶ abandon          the filter ends against its will: the fail mode holds
//! ```
//!
//! A diversion decides which packets the filter sees, and may only let packets pass: drops are the filter's alone.
//! [`nftables`] marks packets and routes the marked ones to the filter's device.

pub mod netlink;
pub mod nftables;

use std::fmt;

use crate::policy::{DivertScope, FailMode, Policy};

use self::netlink::Netlink;
use super::host::finding::Finding;

/// What one policy asks of the kernel. It prints as the commands that an operator would type.
pub trait DivertPlan: Clone + fmt::Display {
    /// Works out what `policy` asks for.
    fn of(policy: &Policy) -> Self;

    /// What the plan comes to, whatever the means.
    fn summary(&self) -> DivertSummary;

    /// The keys of the policy file that differ from `running` and take effect at the next start only.
    fn keys_for_restart(&self, running: &Self) -> Vec<&'static str>;
}

/// A way of leading packets to the filter; a value of it is a diversion that is installed.
///
/// The futures need not be [`Send`]: control is a runtime of one thread.
#[expect(
    async_fn_in_trait,
    reason = "control runs on one thread, so nobody needs to name or send the futures"
)]
pub trait Divert: Sized {
    /// What a policy asks of the kernel.
    type Plan: DivertPlan;
    /// Why the kernel's part cannot be set up, changed or removed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Looks on this host for what would break a diversion of this kind before it starts.
    async fn check_start(plan: &Self::Plan, netlink: &Netlink) -> Vec<Finding>;

    /// Looks for what would break `plan` at a start or at a reload.
    async fn check_plan(plan: &Self::Plan, netlink: &Netlink) -> Vec<Finding>;

    /// Diverts what `plan` asks for to its device, which exists and has a reader. Takes over what a killed process left.
    ///
    /// # Errors
    /// [`Divert::Error`], with everything undone but for what the fail mode keeps closed.
    async fn install(netlink: Netlink, plan: Self::Plan) -> Result<Self, Self::Error>;

    /// The plan that is in force.
    fn plan(&self) -> &Self::Plan;

    /// Exchanges the plan; what both plans divert is diverted all the time.
    ///
    /// # Errors
    /// [`Divert::Error`], with the plan before in force, as far as the kernel takes it back.
    async fn change(&mut self, plan: Self::Plan) -> Result<(), Self::Error>;

    /// Compares what the kernel has with what was installed, and restores it. Returns what was missing or changed, in words;
    /// `None` where nothing was.
    ///
    /// # Errors
    /// [`Divert::Error`] where it cannot be compared or restored.
    async fn repair(&mut self) -> Result<Option<String>, Self::Error>;

    /// Ends the diversion: from here on nothing more is led to the device.
    ///
    /// # Errors
    /// [`Divert::Error`].
    async fn stop(&mut self) -> Result<(), Self::Error>;

    /// Removes everything else that was added; the device goes with its last reader.
    ///
    /// # Errors
    /// [`Divert::Error`].
    async fn remove(self) -> Result<(), Self::Error>;

    /// Leaves the kernel as the fail mode asks for, while the filter is away against its will.
    ///
    /// # Errors
    /// [`Divert::Error`] where the kernel refuses it.
    async fn abandon(&mut self) -> Result<(), Self::Error>;

    /// Removes what any process has left in the kernel, but for devices.
    ///
    /// # Errors
    /// [`Divert::Error`].
    async fn remove_leftovers(netlink: &Netlink) -> Result<(), Self::Error>;
}

/// A plan in numbers and names, for status, logs and link changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DivertSummary {
    /// Where clients' packets enter; a trailing `*` matches any rest.
    pub interfaces: Vec<String>,
    /// The filter's tun device.
    pub device: String,
    /// How much is diverted.
    pub scope: DivertScope,
    /// Prefixes that can lead to the filter; 0 where everything does.
    pub prefixes: usize,
    /// What happens to diverted packets while nobody reads them.
    pub on_failure: FailMode,
}

/// Whether `pattern`, an entry of `vpn.interfaces`, names `interface`: a trailing `*` matches any rest.
pub fn names(pattern: &str, interface: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => interface.starts_with(stem),
        None => interface == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn an_interface_is_named_by_its_name_or_by_its_stem() {
        let named = |pattern, interfaces: [&str; 4]| interfaces.map(|name| names(pattern, name));
        assert_eq!(
            named("tun0", ["tun0", "tun", "tun00", "xtun0"]),
            [true, false, false, false]
        );
        assert_eq!(
            named("vpns*", ["vpns", "vpns12", "vpn", "xvpns0"]),
            [true, true, false, false]
        );
    }
}

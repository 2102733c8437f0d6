//! A plan, in the words of the program that acts on it.
//!
//! ```text
//!               ┌─ includes ─┐
//!  RoutePlan ──▶│            │──▶ one file a target: write ──▶ text ──▶ read ──▶ Pushed ──▶ the same addresses
//!               └─ excludes ─┘
//! ```
//!
//! A target says what must enter the tunnel (*include*), or what must not (*exclude*), or either. Each knows its limits:
//! a text that its program would cut or refuse is not written, and one that some clients cannot take comes with a
//! warning. [`read`] reads such a file back, also one that people edited, and tells which addresses it would send into
//! the tunnel: addresses are compared, never lines. Names have targets of their own, in [`names`], and so have rules for
//! other firewalls, in [`rules`].

mod budget;
mod cisco;
mod dhcp;
mod json;
mod lists;
pub mod names;
pub mod nft;
mod ocserv;
mod openvpn;
mod plain;
pub(crate) mod pushed;
pub mod reference;
pub mod rules;
mod strongswan;
mod target;
mod windows;
mod wireguard;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use thiserror::Error;

pub use budget::{Limit, Measure, Measures};
pub use names::{NameTarget, NamesError, NamesFile, names_difference, render_names};
pub use pushed::{Pushed, ReadError};
pub use target::{Form, Target};

use crate::address::PrefixSet;
use crate::plan::{PlanDifference, RoutePlan};

/// What a rendering leaves to the operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The form; the target's own choice without one.
    pub form: Option<Form>,
    /// The router of a DHCP route: the concentrator's address in the tunnel.
    pub via: Option<Ipv4Addr>,
    /// What the target calls its connection or policy; a name by custom without one.
    pub name: Option<String>,
}

/// A plan in the words of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The file.
    pub text: String,
    /// The form it has; of IPv4, where the families differ.
    pub form: Form,
    /// Its size, as the target counts.
    pub measures: Measures,
    /// What there is to say about it.
    pub warnings: Vec<String>,
}

/// Why a plan cannot be written for a target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The plan must not be used.
    #[error("{0}")]
    Refused(String),
    /// An empty list would be taken for everything.
    #[error(
        "no address that {target} can say enters the tunnel, and programs take an empty list for everything"
    )]
    NothingEnters {
        /// The target.
        target: Target,
    },
    /// The target has no such form.
    #[error("{target} has no {form} form: {why}")]
    NoSuchForm {
        /// The target.
        target: Target,
        /// The form.
        form: Form,
        /// Why not.
        why: &'static str,
    },
    /// The target needs the router.
    #[error("{target} needs the concentrator's address in the tunnel: write --via ADDRESS")]
    NoVia {
        /// The target.
        target: Target,
    },
    /// A name that the target cannot have.
    #[error("`{name}` cannot be a name in {target}: {why}")]
    BadName {
        /// The target.
        target: Target,
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// Past a limit.
    #[error("{target} takes {most} {measure} at most ({whose}); this plan has {count}{shrink}")]
    OverBudget {
        /// The target.
        target: Target,
        /// What is counted.
        measure: Measure,
        /// How many there are.
        count: usize,
        /// How many it takes.
        most: usize,
        /// Whose limit it is.
        whose: &'static str,
        /// What would shrink it.
        shrink: String,
    },
}

/// Writes `plan` for `target`.
///
/// # Errors
/// [`RenderError`] where the plan must not be used, or the target cannot say it.
pub fn render(
    target: Target,
    plan: &RoutePlan,
    options: &Options,
) -> Result<Rendered, RenderError> {
    if let Some(error) = plan.error() {
        return Err(RenderError::Refused(error.message().to_owned()));
    }
    // ocserv gives a client without routes the default route, an ASA's empty list is refused, an empty selector is any.
    let says_nothing = if target.says_v6() {
        plan.tunnel.is_empty()
    } else {
        !plan.tunnel.has_v4()
    };
    if says_nothing {
        return Err(RenderError::NothingEnters { target });
    }
    let mut rendered = write(target, plan, options)?;
    budget::check(target, plan, options, &mut rendered)?;
    for (family, says, has) in [
        ("IPv4", target.says_v4(), plan.tunnel.has_v4()),
        ("IPv6", target.says_v6(), plan.tunnel.has_v6()),
    ] {
        if has && !says {
            rendered.warnings.push(format!(
                "{target} cannot say {family} routes: push those of this plan by another way"
            ));
        }
    }
    Ok(rendered)
}

/// The size of `plan` as `target` counts, whatever its limits.
///
/// # Errors
/// [`RenderError`] where the target cannot say it.
pub fn measures(
    target: Target,
    plan: &RoutePlan,
    options: &Options,
) -> Result<Measures, RenderError> {
    write(target, plan, options).map(|rendered| rendered.measures)
}

/// How a file that sends `tunnel` into the tunnel differs from `plan`, in what `target` can say.
pub fn difference(target: Target, plan: &RoutePlan, tunnel: &PrefixSet) -> Option<PlanDifference> {
    if target.says_v6() {
        return plan.differs(tunnel);
    }
    // The other family is pushed by another way.
    plan.differs(&tunnel.only_v4().union(&plan.tunnel.only_v6()))
}

/// The text, whatever its size.
fn write(target: Target, plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    match target {
        Target::OpenVpn
        | Target::OpenVpnCcd
        | Target::OpenVpnClientConnect
        | Target::OpenVpnPushUpdate => openvpn::write(target, plan, options),
        Target::Ocserv => ocserv::write(plan, options),
        Target::WireGuard => wireguard::write(plan, options),
        Target::StrongSwan | Target::StrongSwanUnity => strongswan::write(target, plan, options),
        Target::WindowsProfileXml => windows::write_xml(plan, options),
        Target::WindowsPowerShell => windows::write_powershell(plan, options),
        Target::CiscoAsa => cisco::write(plan, options),
        Target::Kea | Target::Dnsmasq => dhcp::write(target, plan, options),
        Target::Prefixes => plain::write(plan, options),
        Target::Json => json::write(plan, options),
    }
}

/// Reads a file that `target` reads: which prefixes it sends into the tunnel, and which it keeps out. Lines that are no
/// routes are skipped.
///
/// # Errors
/// [`ReadError`] at the first route that has no meaning.
pub fn read(target: Target, text: &str) -> Result<Pushed, ReadError> {
    match target {
        Target::OpenVpn
        | Target::OpenVpnCcd
        | Target::OpenVpnClientConnect
        | Target::OpenVpnPushUpdate => openvpn::read(target, text),
        Target::Ocserv => ocserv::read(text),
        Target::WireGuard => wireguard::read(text),
        Target::StrongSwan | Target::StrongSwanUnity => strongswan::read(target, text),
        Target::WindowsProfileXml => windows::read_xml(text),
        Target::WindowsPowerShell => windows::read_powershell(text),
        Target::CiscoAsa => cisco::read(text),
        Target::Kea | Target::Dnsmasq => dhcp::read(target, text),
        Target::Prefixes => plain::read(text),
        Target::Json => json::read(text),
    }
}

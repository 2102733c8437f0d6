//! Routes: the addresses that enter the tunnel, for VPN servers, DHCP servers and clients.
//!
//! A target lists the prefixes that enter the tunnel (*include*), or those that do not (*exclude*), or has both forms.
//! Each file is read back as [`Pushed`] and compared with the plan by addresses.

pub mod cisco_asa;
pub mod cloudflare_warp;
pub mod cloudflare_warp_terraform;
mod dhcp;
pub mod dnsmasq;
pub mod fortigate_ipsec;
pub mod globalprotect;
#[cfg(feature = "xml")]
pub mod globalprotect_xml;
pub mod json;
pub mod kea;
mod lists;
pub mod meraki;
pub mod netbird;
pub mod ocserv;
pub mod ocserv_group;
pub mod openvpn;
pub mod openvpn_ccd;
pub mod openvpn_client_connect;
pub mod openvpn_push_update;
pub mod prefixes;
mod pushed;
pub mod radius;
pub mod strongswan;
pub mod strongswan_unity;
pub mod tailscale;
pub mod tailscale_approvers;
pub mod windows_powershell;
#[cfg(feature = "xml")]
pub mod windows_profilexml;
pub mod wireguard;

#[cfg(test)]
mod tests;

pub use lists::MARK;
pub use pushed::Pushed;

use super::{Options, RenderError, Rendered, Target, Write, budget};
use crate::plan::RoutePlan;

/// The targets of routes, in the order of lists.
pub const TARGETS: &[&Target] = &[
    &openvpn::TARGET,
    &openvpn_ccd::TARGET,
    &openvpn_client_connect::TARGET,
    &openvpn_push_update::TARGET,
    &ocserv::TARGET,
    &ocserv_group::TARGET,
    &radius::TARGET,
    &wireguard::TARGET,
    &strongswan::TARGET,
    &strongswan_unity::TARGET,
    #[cfg(feature = "xml")]
    &windows_profilexml::TARGET,
    &windows_powershell::TARGET,
    &cisco_asa::TARGET,
    &globalprotect::TARGET,
    #[cfg(feature = "xml")]
    &globalprotect_xml::TARGET,
    &fortigate_ipsec::TARGET,
    &cloudflare_warp::TARGET,
    &cloudflare_warp_terraform::TARGET,
    &kea::TARGET,
    &dnsmasq::TARGET,
    &tailscale::TARGET,
    &tailscale_approvers::TARGET,
    &netbird::TARGET,
    &meraki::TARGET,
    &prefixes::TARGET,
    &json::TARGET,
];

/// Writes `plan`, if `target` can say it within its limits.
pub(super) fn render(
    target: &'static Target,
    plan: &RoutePlan,
    options: &Options,
) -> Result<Rendered, RenderError> {
    let Write::Routes(write) = target.write else {
        return Err(RenderError::NeedsPolicy { target });
    };
    if let Some(error) = plan.error() {
        return Err(RenderError::Refused(error.message().to_owned()));
    }
    // ocserv gives a client without routes the default route, an ASA's empty list is refused, an empty selector is any.
    let families = target.families;
    let said = [
        ("IPv4", families.has_v4(), plan.tunnel.has_v4()),
        ("IPv6", families.has_v6(), plan.tunnel.has_v6()),
    ];
    if !said.iter().any(|(_, says, enters)| *says && *enters) {
        return Err(RenderError::NothingEnters { target });
    }
    let mut rendered = write(plan, options)?;
    budget::check(target, plan, options, &mut rendered)?;
    for (family, says, enters) in said {
        if enters && !says {
            rendered.warnings.push(format!(
                "{target} cannot express {family} routes: push those of this plan in another way"
            ));
        }
    }
    Ok(rendered)
}

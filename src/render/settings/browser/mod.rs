//! Policies of browsers that decide which way the media of calls takes.
//!
//! ```text
//!  Edge, Windows         WebRtcRespectOsRoutingTableEnabled   each remote address by its route: split and full tunnels
//!  Edge, macOS           WebRtcLocalhostIpHandling ─┐
//!  Chrome, all systems   WebRtcIPHandling ──────────┴──────── the default route's interface: split tunnels alone
//! ```
//!
//! Sources: "Microsoft Edge Browser Policy Documentation" (2024-10-22), "Split tunnel VPN support for WebRTC" (2024-07-18),
//! "Configure Microsoft Edge policy settings for macOS using a property list" (2024-01-10); Chromium's policy templates,
//! `WebRtcIPHandling` and `WebRtcLocalIpsAllowedUrls` (read 2026-11); RFC 8828 §5.2, whose modes 1 to 4 are the values of the latter two.
//!
//! Mode 2, `default_public_and_private_interfaces`, follows the kernel's routing table and offers the addresses of the default
//! route's interface alone. Outside a split tunnel that is the client's own network. In a full tunnel it is the tunnel, so the
//! setting would keep calls inside. `WebRtcLocalIpsAllowedUrls` shows local addresses to web pages and chooses no way, so no file has
//! it. Edge has no such setting for Linux, and `WebRtcRespectOsRoutingTableEnabled` for Windows alone.

pub mod chrome_json;
#[cfg(feature = "xml")]
pub mod chrome_plist;
pub mod chrome_registry;
#[cfg(feature = "xml")]
pub mod edge_plist;
pub mod edge_registry;
#[cfg(feature = "xml")]
mod plist;
mod registry;

#[cfg(all(test, feature = "xml"))]
mod tests;

use crate::policy::{Policy, TunnelMode};
use crate::render::{Naming, RenderError, Target};

/// Browsers have one set of policies.
const NAMING: Naming = Naming::Fixed;

/// Policies that decide which way calls take; readers report no others.
const DECIDING: [&str; 4] = [
    "WebRtcRespectOsRoutingTableEnabled",
    "WebRtcIPHandling",
    "WebRtcIPHandlingUrl",
    "WebRtcLocalhostIpHandling",
];

/// Value of the policies that choose interfaces: RFC 8828 §5.2, mode 2.
const MODE_2: &str = "default_public_and_private_interfaces";

/// Lines about the policies that choose interfaces.
const ABOUT_INTERFACES: [&str; 4] = [
    "WebRTC takes the way that the routing table has, and offers the addresses of the default route's interface alone (RFC 8828,",
    "section 5.2, mode 2): in a split tunnel that of the client's own network, so no call is offered the tunnel's address.",
    "It does not stop a call to an internal address, which the routing table leads into the tunnel: the gateway's filter does.",
    "It is for split tunnels: where everything enters the tunnel, the same setting would keep calls inside.",
];

/// Refuses a policy that chooses interfaces for a tunnel that takes everything.
fn for_split_tunnels(target: &'static Target, policy: &Policy) -> Result<(), RenderError> {
    match policy.routes.tunnel {
        TunnelMode::Split => Ok(()),
        TunnelMode::Full => Err(RenderError::NoSetting {
            target,
            origin: policy.origin.clone(),
            why: "its tunnel takes everything, so the interface of the default route is the tunnel's; for Edge on Windows, which follows \
                  exclusions, render edge-registry",
        }),
    }
}

/// A policy and its value, as a setting.
fn setting(name: &str, value: &str) -> Option<String> {
    DECIDING.contains(&name).then(|| format!("{name} {value}"))
}

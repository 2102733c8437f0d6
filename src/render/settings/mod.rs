//! Settings: VPN clients and browsers that decide by themselves which way calls take.
//!
//! Each file is read back as a set of settings, a line of text each, and compared with the policy by them.

pub mod browser;
pub mod cisco_asa_dynamic;
mod domains;
#[cfg(feature = "xml")]
pub mod windows_profilexml_device;

// The files of all features.
#[cfg(all(test, feature = "xml"))]
mod tests;

use super::Target;

/// The targets of settings, in the order of lists.
pub const TARGETS: &[&Target] = &[
    &cisco_asa_dynamic::TARGET,
    #[cfg(feature = "xml")]
    &windows_profilexml_device::TARGET,
    &browser::edge_registry::TARGET,
    #[cfg(feature = "xml")]
    &browser::edge_plist::TARGET,
    &browser::chrome_registry::TARGET,
    #[cfg(feature = "xml")]
    &browser::chrome_plist::TARGET,
    &browser::chrome_json::TARGET,
];

//! Settings: VPN clients and browsers that decide by themselves which way calls take.
//!
//! Each file is read back as a set of settings, a line of text each, and compared with the policy by them.

pub mod cisco_asa_dynamic;
mod domains;

#[cfg(test)]
mod tests;

use super::Target;

/// The targets of settings, in the order of lists.
pub const TARGETS: &[&Target] = &[&cisco_asa_dynamic::TARGET];

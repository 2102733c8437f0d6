//! Rules: the filter's verdicts and the clients' own rules, for other firewalls.
//!
//! ```text
//!  Policy ──▶ Ruleset       ──▶ nftables, iptables, ASA, FortiOS, RouterOS, pf, MX, CSV   on the gateway
//!         ──▶ EndpointRules ──▶ Windows Firewall: PowerShell, netsh, registry, Intune   on the clients
//! ```
//!
//! Every file says at its head how it is loaded and how it is removed; loading it again replaces the rules of the last
//! load. What a firewall cannot say is written there, too.

pub mod cisco_asa_filter;
pub mod fortigate_policy;
pub mod ip6tables;
pub mod ipset;
pub mod iptables;
pub mod meraki_l3;
pub mod mikrotik;
pub mod nft_text;
pub mod nftables;
pub mod nftables_conntrack;
pub mod opnsense;
pub mod pfsense;
pub(super) mod powershell;
pub mod rules_csv;
mod windows;
pub mod windows_firewall;
pub mod windows_firewall_gpo;
pub mod windows_intune;
pub mod windows_netsh;
pub mod windows_registry;
pub mod windows_registry_remove;
pub mod windows_remediation;
pub mod windows_remediation_detect;
pub mod windows_task;

#[cfg(test)]
mod tests;

use super::{Naming, RenderError, Target};
use crate::message::shorten;

/// The targets of rules, in the order of lists.
pub const TARGETS: &[&Target] = &[
    &nftables::TARGET,
    &nftables_conntrack::TARGET,
    &ipset::TARGET,
    &iptables::TARGET,
    &ip6tables::TARGET,
    &cisco_asa_filter::TARGET,
    &fortigate_policy::TARGET,
    &mikrotik::TARGET,
    &pfsense::TARGET,
    &opnsense::TARGET,
    &meraki_l3::TARGET,
    &rules_csv::TARGET,
    &windows_firewall::TARGET,
    &windows_remediation_detect::TARGET,
    &windows_remediation::TARGET,
    &windows_task::TARGET,
    &windows_firewall_gpo::TARGET,
    &windows_netsh::TARGET,
    &windows_registry::TARGET,
    &windows_registry_remove::TARGET,
    &windows_intune::TARGET,
];

/// The name of what the file makes: the operator's, if the target can have it; empty where names are fixed.
pub(super) fn name_of(
    target: &'static Target,
    naming: Naming,
    chosen: Option<&str>,
) -> Result<String, RenderError> {
    let refused = |name: &str, why| RenderError::BadName {
        target,
        name: shorten(name),
        why,
    };
    let (name, refuses) = match (naming, chosen) {
        (Naming::Fixed, None) => return Ok(String::new()),
        (Naming::Fixed, Some(name)) => {
            let why = "its names are fixed, so that the next file finds what this one made";
            return Err(refused(name, why));
        }
        (Naming::Chosen { default, refuses }, None) => (default, refuses),
        (Naming::Chosen { refuses, .. } | Naming::Required { refuses, .. }, Some(name)) => {
            (name, refuses)
        }
        (Naming::Required { example, .. }, None) => {
            return Err(RenderError::NoName { target, example });
        }
    };
    let why = if name.trim().is_empty() || name.len() > MAX_NAME {
        Some("it is empty or longer than 60 bytes")
    } else if name.chars().any(char::is_control) {
        Some("it is one line of text")
    } else {
        refuses(name)
    };
    match why {
        None => Ok(name.to_owned()),
        Some(why) => Err(refused(name, why)),
    }
}

/// Returns `true` if `name` is made of letters, digits, `-` and `_`.
pub(super) fn is_word(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The first line of a file: its origin.
pub(super) fn head(origin: &str) -> String {
    format!(
        "Written by offramp from {}; changes here are lost.",
        one_line(origin)
    )
}

/// Text that came from elsewhere, without what would end a line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { '?' } else { char })
        .collect()
}

/// A comment of a rule, `most` bytes at most. Quotes and backslashes would end it, or be read as something else.
fn comment(title: &str, most: usize) -> String {
    let plain: String = title
        .chars()
        .map(|char| match char {
            '"' => '\'',
            '\\' => '/',
            char if char.is_control() => '?',
            char => char,
        })
        .collect();
    cut(&plain, most).to_owned()
}

/// The first `most` bytes of `text`, of whole characters.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Bytes of a name; a group policy of an ASA takes 64.
const MAX_NAME: usize = 60;

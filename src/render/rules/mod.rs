//! The filter's verdicts and the clients' own rules, in the words of other firewalls.
//!
//! ```text
//!  Policy ──▶ Ruleset       ──▶ nftables, ipset and iptables, Cisco ASA, CSV       on the gateway
//!         ──▶ EndpointRules ──▶ Windows Firewall: PowerShell, netsh, registry, Intune   on the clients
//! ```
//!
//! Every file says at its head how it is loaded and how it is removed; loading it again replaces what the last one did.
//! What a firewall cannot say is written there, too.

mod asa;
mod csv;
mod intune;
mod ipset;
mod iptables;
mod netsh;
mod nftables;
mod powershell;
mod registry;
mod target;
mod windows;

#[cfg(test)]
mod tests;

use thiserror::Error;

pub use target::RuleTarget;

use crate::plan::{EndpointRules, Ruleset};
use crate::policy::Policy;

/// A file of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedRules {
    /// The file.
    pub text: String,
    /// How many rules it has.
    pub count: usize,
    /// What there is to say about it.
    pub warnings: Vec<String>,
}

/// Why rules cannot be written for a target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuleError {
    /// There is nothing to write.
    #[error(
        "{origin} has no [[endpoint]]: say which programs Windows Firewall keeps off the tunnel"
    )]
    NoEndpoint {
        /// The policy file.
        origin: String,
    },
    /// No rule is left that this target could say.
    #[error("{target} can say none of the rules of {origin}: {why}")]
    NothingToSay {
        /// The target.
        target: RuleTarget,
        /// The policy file.
        origin: String,
        /// Why not.
        why: &'static str,
    },
    /// The target needs a name, and has none by custom.
    #[error("{target} needs a name: write --name {example}")]
    NoName {
        /// The target.
        target: RuleTarget,
        /// One that it could have.
        example: &'static str,
    },
    /// A name that the target cannot have.
    #[error("`{name}` cannot be a name in {target}: {why}")]
    BadName {
        /// The target.
        target: RuleTarget,
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
}

/// Writes the rules of `policy` for `target`; `name` is what the target calls them, a name by custom without one.
///
/// # Errors
/// [`RuleError`] where the target cannot say them.
pub fn render_rules(
    target: RuleTarget,
    policy: &Policy,
    name: Option<&str>,
) -> Result<RenderedRules, RuleError> {
    match target {
        RuleTarget::Nftables => for_gateway(target, policy, name, |rules, _| {
            nftables::write(rules, nftables::Tracking::None)
        }),
        RuleTarget::NftablesConntrack => for_gateway(target, policy, name, |rules, _| {
            nftables::write(rules, nftables::Tracking::Replies)
        }),
        RuleTarget::Ipset => for_gateway(target, policy, name, |rules, _| ipset::write(rules)),
        RuleTarget::Iptables => for_gateway(target, policy, name, |rules, _| {
            iptables::write(rules, iptables::Family::V4)
        }),
        RuleTarget::Ip6tables => for_gateway(target, policy, name, |rules, _| {
            iptables::write(rules, iptables::Family::V6)
        }),
        RuleTarget::CiscoAsaFilter => for_gateway(target, policy, name, asa::write),
        RuleTarget::RulesCsv => for_gateway(target, policy, name, |rules, _| csv::write(rules)),
        RuleTarget::WindowsFirewall => for_clients(target, policy, name, powershell::write_local),
        RuleTarget::WindowsFirewallGpo => for_clients(target, policy, name, powershell::write_gpo),
        RuleTarget::WindowsNetsh => for_clients(target, policy, name, netsh::write),
        RuleTarget::WindowsRegistry => for_clients(target, policy, name, registry::write),
        RuleTarget::WindowsRegistryRemove => {
            for_clients(target, policy, name, registry::write_removal)
        }
        RuleTarget::WindowsIntune => for_clients(target, policy, name, intune::write),
    }
}

fn for_gateway(
    target: RuleTarget,
    policy: &Policy,
    name: Option<&str>,
    write: impl FnOnce(&Ruleset, &str) -> String,
) -> Result<RenderedRules, RuleError> {
    let name = match (target.default_name(), name) {
        (Some(_), _) => name_of(target, name)?,
        (None, None) => String::new(),
        (None, Some(name)) => {
            let name = super::pushed::shorten(name);
            let why = "its names are fixed, so that the next file finds what this one made";
            return Err(RuleError::BadName { target, name, why });
        }
    };
    let ruleset = Ruleset::of(policy);
    Ok(RenderedRules {
        text: write(&ruleset, &name),
        count: ruleset.rules.len(),
        warnings: Vec::new(),
    })
}

fn for_clients(
    target: RuleTarget,
    policy: &Policy,
    name: Option<&str>,
    write: impl FnOnce(&EndpointRules, &str) -> Result<RenderedRules, RuleError>,
) -> Result<RenderedRules, RuleError> {
    let rules = EndpointRules::of(policy);
    if rules.rules.is_empty() {
        let origin = policy.origin.clone();
        return Err(RuleError::NoEndpoint { origin });
    }
    write(&rules, &name_of(target, name)?)
}

/// The name to use: the operator's, if the target can have it.
fn name_of(target: RuleTarget, name: Option<&str>) -> Result<String, RuleError> {
    let name = match (name, target.default_name()) {
        (Some(name), _) => name,
        (None, Some(name)) => name,
        (None, None) => {
            return Err(RuleError::NoName {
                target,
                example: r"'contoso.com\Lync over VPN'",
            });
        }
    };
    let why = if name.trim().is_empty() || name.len() > LONGEST_NAME {
        Some("it is empty or longer than 60 bytes")
    } else if name.chars().any(char::is_control) {
        Some("it is one line of text")
    } else {
        target.forbids(name)
    };
    match why {
        None => Ok(name.to_owned()),
        Some(why) => Err(RuleError::BadName {
            target,
            name: super::pushed::shorten(name),
            why,
        }),
    }
}

/// The first line of a file: what it is.
fn head(origin: &str) -> String {
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
const LONGEST_NAME: usize = 60;

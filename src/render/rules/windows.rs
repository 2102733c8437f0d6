//! Windows Firewall: the choice of rules, their names and descriptions, for all its targets.

use ipnet::IpNet;

use super::{is_word, one_line};
use crate::address::PrefixSet;
use crate::plan::{Direction, EndpointRule, EndpointRules};
use crate::policy::{InterfaceType, Product};
use crate::render::{Naming, RenderError, Rendered, Target};

/// The group of the rules, by which they are removed.
pub(super) const GROUP: Naming = Naming::Chosen {
    default: "offramp",
    refuses: |name| {
        (!is_word(&name.replace([' ', '.'], "-"))).then_some(
            "it names a group of rules, which is removed by its name: letters, digits, space, . - and _",
        )
    },
};

/// The rules that a target can say, with their numbers, and what there is to say about the others.
pub(super) struct Chosen<'r> {
    pub(super) rules: Vec<(usize, &'r EndpointRule)>,
    pub(super) warnings: Vec<String>,
}

impl<'r> Chosen<'r> {
    /// All of them: the target looks paths up on the client.
    pub(super) fn all(rules: &'r EndpointRules) -> Self {
        Self {
            rules: (1..).zip(&rules.rules).collect(),
            warnings: warnings(&rules.rules),
        }
    }

    /// Those whose path is the same on every client, and that `says` accepts.
    pub(super) fn fixed(
        target: &'static Target,
        rules: &'r EndpointRules,
        says: impl Fn(&str) -> bool,
    ) -> Result<Self, RenderError> {
        let numbered = (1..).zip(&rules.rules);
        let (left, chosen): (Vec<_>, Vec<_>) =
            numbered.partition(|(_, rule)| rule.is_looked_up() || !says(&rule.program));
        if chosen.is_empty() {
            return Err(RenderError::NothingToSay {
                target,
                origin: rules.origin.clone(),
                why: "their paths differ from client to client; windows-firewall looks them up there",
            });
        }
        let mut warnings = warnings(&rules.rules);
        warnings.extend(left.iter().map(|(_, rule)| {
            let why = if rule.is_looked_up() {
                "its path differs from client to client; windows-firewall looks it up there"
            } else {
                "its path has characters that this file cannot have; windows-firewall can write it"
            };
            format!("{target} leaves out `{}`: {why}", rule.program)
        }));
        Ok(Self {
            rules: chosen,
            warnings,
        })
    }

    pub(super) fn rendered(self, text: String) -> Rendered {
        Rendered {
            warnings: self.warnings,
            ..Rendered::of_rules(text, self.rules.len() * Direction::BOTH.len())
        }
    }
}

/// Warnings about rules that may not match, whatever the target.
fn warnings(rules: &[EndpointRule]) -> Vec<String> {
    let mut warnings = Vec::new();
    if rules
        .iter()
        .any(|rule| rule.interface_type == InterfaceType::RemoteAccess)
    {
        warnings.push(
            "interface_type \"remote-access\" is Windows' own VPN alone: adapters of OpenVPN, WireGuard, AnyConnect and GlobalProtect are not of it, \
             and their rules would never match; write \"any\" for them, the local address keeps the rules to the tunnel"
                .to_owned(),
        );
    }
    let mut products: Vec<Product> = rules.iter().filter_map(|rule| rule.product).collect();
    products.dedup();
    for product in products {
        if let Some(caveat) = product.caveat() {
            warnings.push(format!("{product}: {caveat}"));
        }
    }
    warnings
}

/// The name of a rule where people see it.
pub(super) fn display_name(group: &str, rule: &EndpointRule) -> String {
    format!(
        "{group}: {}, {}",
        one_line(&rule.endpoint),
        rule.file_name()
    )
}

/// The description of a rule.
pub(super) fn description(origin: &str, rule: &EndpointRule) -> String {
    format!(
        "Keeps {} off the VPN, so that media takes its direct path. Written by offramp from {}, line {}.",
        one_line(&rule.endpoint),
        one_line(origin),
        rule.line
    )
}

/// Addresses as Windows reads them: a prefix, or an address alone.
pub(super) fn addresses(set: &PrefixSet) -> Vec<String> {
    let written = |prefix: IpNet| {
        if prefix.prefix_len() == prefix.max_prefix_len() {
            prefix.addr().to_string()
        } else {
            prefix.to_string()
        }
    };
    set.prefixes().map(written).collect()
}

/// Text for files that Windows reads in the code page of the machine.
pub(super) fn ascii(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_ascii() { char } else { '?' })
        .collect()
}

/// A line of a text file of Windows.
pub(super) const END: &str = "\r\n";

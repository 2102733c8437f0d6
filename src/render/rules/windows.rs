//! Windows Firewall: the choice of rules, their names and descriptions, for all its targets.

use ipnet::IpNet;

use super::{is_word, one_line};
use crate::address::PrefixSet;
use crate::plan::{BlockedTraffic, Direction, EndpointRule, EndpointRules, EndpointSubject};
use crate::policy::{InterfaceType, Product, Protocol};
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

    /// Those that `refuses` gives no reason against.
    pub(super) fn those(
        target: &'static Target,
        rules: &'r EndpointRules,
        refuses: impl Fn(&EndpointRule) -> Option<&'static str>,
    ) -> Result<Self, RenderError> {
        let mut chosen = Vec::new();
        let mut warnings = warnings(&rules.rules);
        let mut last = "";
        for (number, rule) in (1..).zip(&rules.rules) {
            let Some(why) = refuses(rule) else {
                chosen.push((number, rule));
                continue;
            };
            last = why;
            let left_out = match &rule.subject {
                EndpointSubject::Program(path) => {
                    format!("{target} leaves out `{path}`: {why}")
                }
                EndpointSubject::AppId(_)
                | EndpointSubject::Package(_)
                | EndpointSubject::Everything => {
                    format!(
                        "{target} leaves out [[endpoint]] \"{}\": {why}",
                        rule.endpoint
                    )
                }
            };
            if !warnings.contains(&left_out) {
                warnings.push(left_out);
            }
        }
        if chosen.is_empty() {
            return Err(RenderError::NothingToSay {
                target,
                origin: rules.origin.clone(),
                why: last,
            });
        }
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

    /// Lines for the head of a file: what makes its rules void, and which paths nobody has confirmed.
    pub(super) fn voids(&self) -> Vec<String> {
        let has = |is: fn(&EndpointRule) -> bool| self.rules.iter().any(|(_, rule)| is(rule));
        let mut lines = Vec::new();
        if has(EndpointRule::is_looked_up) {
            lines.push(
                "void after an update of a client whose path has its version: windows-remediation (Intune) or windows-task writes them again"
                    .to_owned(),
            );
        }
        if has(|rule| matches!(rule.subject, EndpointSubject::AppId(_))) {
            lines.push(
                "void until a policy of App Control for Business tags the processes, and for those that were started before it"
                    .to_owned(),
            );
        }
        if has(|rule| matches!(rule.subject, EndpointSubject::Package(_))) {
            lines.push(
                "unverified: a packaged client that runs with full trust, as Teams does, may not match its package; look at blocked connections before you rely on it"
                    .to_owned(),
            );
        }
        if has(|rule| rule.subject == EndpointSubject::Everything) {
            lines.push(
                "void unless the client keeps to these ports (Teams: meeting settings, \"Specify port ranges\"); blocks every other program that happens to use them"
                    .to_owned(),
            );
        }
        for (product, source) in unverified(&self.rules) {
            lines.push(format!("unverified paths of {product}: {source}"));
        }
        lines
    }
}

/// Reason against a rule in a file that has no words for tags and packages, and whose paths have to satisfy `says`.
pub(super) fn needs_a_fixed_path(
    rule: &EndpointRule,
    says: impl Fn(&str) -> bool,
) -> Option<&'static str> {
    match &rule.subject {
        EndpointSubject::Program(_) if rule.is_looked_up() => {
            Some("its path differs from client to client; windows-firewall looks it up there")
        }
        EndpointSubject::Program(path) if !says(path) => Some(
            "its path has characters that this file cannot have; windows-firewall can write it",
        ),
        EndpointSubject::Program(_) | EndpointSubject::Everything => None,
        EndpointSubject::AppId(_) => {
            Some("it goes by an AppId tag, which this file cannot say; windows-firewall can")
        }
        EndpointSubject::Package(_) => Some(
            "it goes by a package, which this file cannot say; windows-firewall and windows-intune can",
        ),
    }
}

/// Products with unverified paths, and as much as is known of them.
fn unverified(rules: &[(usize, &EndpointRule)]) -> Vec<(Product, &'static str)> {
    let mut products: Vec<Product> = rules.iter().filter_map(|(_, it)| it.product).collect();
    products.dedup();
    let unverified = products
        .into_iter()
        .filter(|it| it.source().is_unverified());
    unverified.map(|it| (it, it.source().text())).collect()
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
        let source = product.source();
        if source.is_unverified() {
            warnings.push(format!(
                "{product}: its paths are unverified, look for the programs on a client: {}",
                source.text()
            ));
        }
    }
    warnings
}

/// The name of a rule where people see it.
pub(super) fn display_name(group: &str, rule: &EndpointRule) -> String {
    let traffic = match &rule.traffic {
        BlockedTraffic::All => "",
        BlockedTraffic::Ports { protocol, .. } => match protocol {
            Protocol::Tcp => ", TCP",
            Protocol::Udp => ", UDP",
        },
    };
    format!(
        "{group}: {}, {}{traffic}",
        one_line(&rule.endpoint),
        rule.short_subject()
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

//! Cisco ASA and FTD: domains that Secure Client keeps out of the tunnel, by dynamic split exclude tunneling.
//!
//! ```text
//!  webvpn
//!   anyconnect-custom-attr dynamic-split-exclude-domains
//!  anyconnect-custom-data dynamic-split-exclude-domains LIST a.com,b.com ◀─┐
//!  group-policy NAME attributes                                            │
//!   anyconnect-custom dynamic-split-exclude-domains value LIST ────────────┘
//! ```
//!
//! The client takes a domain for every name below it, and excludes the addresses that such names resolve to. The values of
//! several lines with one name are joined as they are, so each but the first begins with its comma.
//!
//! Teams is left out. Microsoft, "Implementing VPN split tunneling for Microsoft 365" (2020-09-22 and later): some VPN clients can route
//! by URL, but Teams media has none, so its routing must go by IP subnets. The target `cisco-asa` excludes those.
//!
//! Limits: 420 characters of a value on one line (Cisco ASA Series Command Reference, A-H, `anyconnect-custom-data`), and in all
//! 5,000 that AnyConnect up to 4.9 takes, 20,000 from 4.10 on, before it truncates without a word (AnyConnect Administrator Guides 4.9 and
//! 4.10, "Configure VPN Access"). These pages could not be read here; the numbers are as others cite them (2026-11), so the whole
//! command is kept below the limit of its value, and a test proves that the domains of all vendors stay below the smaller sum.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::domains::{VendorDomains, lies_in};
use crate::policy::{Policy, TunnelMode};
use crate::render::routes::cisco_asa::read::Config;
use crate::render::rules::{head, is_word};
use crate::render::{Families, Naming, Read, ReadError, RenderError, Rendered, Target, Write};

/// Dynamic split exclude tunneling of an ASA.
pub const TARGET: Target = Target {
    name: "cisco-asa-dynamic",
    about: "domains of the vendors in `[[profile]]` that Cisco Secure Client keeps out of the tunnel (dynamic split tunneling); Teams goes by address",
    accepted_by: "a second reader; no ASA was tried, and the limits are as others cite Cisco's pages (unverified)",
    caveats: "lines of one name add up: remove the list first where it exists",
    file: "asa-dynamic-split.txt",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Settings(
        Naming::Chosen {
            default: "OFFRAMP",
            refuses: |name| {
                (!is_word(name)).then_some("it names a group policy: letters, digits, - and _")
            },
        },
        write,
    ),
    read: Read::Settings(read),
};

fn write(policy: &Policy, name: &str) -> Result<Rendered, RenderError> {
    let found = VendorDomains::of(policy);
    let domains: Vec<&str> = found.all().collect();
    if domains.is_empty() {
        return Err(RenderError::NoSetting {
            target: &TARGET,
            origin: policy.origin.clone(),
            why: "write a [[profile]] with vendor = \"zoom\" or another that publishes names; Teams is excluded by address, not by name",
        });
    }
    let list = format!("{name}-DOMAINS");
    let mut text = format!(
        "! {}\n! {} domains that stay outside the tunnel, and every name below them.\n!\n\
         ! load it  remove what is there first, below: lines of one name add up; then paste this\n\
         ! remove   group-policy {name} attributes\n!           no anyconnect-custom {EXCLUDE}\n\
         !          no anyconnect-custom-data {EXCLUDE} {list}\n!\n\
         ! Addresses stay outside by the target cisco-asa, with the same name: this list is for servers that a vendor moves.\n\
         ! The addresses are those that the client sees DNS answer with: a program that asks over HTTPS by itself may pass by the\n\
         ! list (unverified).\n",
        head(&policy.origin),
        domains.len(),
    );
    if found.has_microsoft {
        text.push_str(
            "! Teams is left out: its media has no name, and Microsoft has it excluded by IP subnets\n\
             ! (Microsoft, \"Implementing VPN split tunneling for Microsoft 365\"). The target cisco-asa does so.\n",
        );
    }
    for vendor in &found.lists {
        _ = writeln!(text, "! {vendor}");
    }
    _ = writeln!(
        text,
        "webvpn\n anyconnect-custom-attr {EXCLUDE} description names that stay outside the tunnel"
    );
    let command = format!("anyconnect-custom-data {EXCLUDE} {list} ");
    for line in lines(&command, &domains, MAX_LINE) {
        _ = writeln!(text, "{line}");
    }
    _ = writeln!(
        text,
        "group-policy {name} internal\ngroup-policy {name} attributes\n anyconnect-custom {EXCLUDE} value {list}"
    );
    Ok(Rendered {
        warnings: warnings(policy, &found, &domains),
        ..Rendered::of_names(text)
    })
}

fn warnings(policy: &Policy, found: &VendorDomains, domains: &[&str]) -> Vec<String> {
    let mut warnings = Vec::new();
    if found.has_microsoft {
        warnings.push(format!(
            "{TARGET} leaves out Teams, whose media has no name: exclude it by address, with cisco-asa"
        ));
    }
    for name in &found.wildcards {
        warnings.push(format!(
            "{TARGET} leaves out {name}: a domain has no wildcard inside"
        ));
    }
    for title in &found.without {
        warnings.push(format!(
            "{TARGET} leaves out {title}, which publishes no names: exclude it by address, with cisco-asa"
        ));
    }
    for domain in domains {
        let internal = policy.dns.sip_domains.iter().map(|it| it.value.as_str());
        for own in internal.filter(|own| lies_in(own, domain)) {
            warnings.push(format!(
                "{TARGET} keeps {domain} out of the tunnel, and dns.sip_domains has {own}: names of yours would leave the tunnel, too"
            ));
        }
    }
    if policy.routes.tunnel == TunnelMode::Split {
        warnings.push(format!(
            "{TARGET} is of use where the tunnel takes everything: with routes.tunnel = \"split\" these servers are outside \
             already, unless a corporate subnet has their addresses"
        ));
    }
    warnings
}

/// The commands that make a list: each has `most` characters at most, unless a single domain is longer.
fn lines(command: &str, domains: &[&str], most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for domain in domains {
        match lines.last_mut() {
            None => lines.push(format!("{command}{domain}")),
            Some(line) if line.len() + 1 + domain.len() <= most => {
                line.push(',');
                line.push_str(domain);
            }
            Some(_) => lines.push(format!("{command},{domain}")),
        }
    }
    lines
}

fn read(text: &str, name: Option<&str>) -> Result<BTreeSet<String>, ReadError> {
    let config = Config::parse(text);
    let policy = config.policy(name)?;
    let mut settings = BTreeSet::new();
    for (attribute, side) in [(EXCLUDE, "outside"), (INCLUDE, "inside")] {
        let Some(line) = config.attribute(policy, &["anyconnect-custom", attribute]) else {
            continue;
        };
        let list = match line.words[..] {
            [_, _, "none"] => continue,
            [_, _, "value", list] => list,
            _ => {
                return Err(line.error(format!("write anyconnect-custom {attribute} value LIST")));
            }
        };
        let Some(value) = config.custom_data(attribute, list) else {
            return Err(line.error(format!(
                "there is no anyconnect-custom-data {attribute} {list} in this file"
            )));
        };
        let domains = value.split(',').map(str::trim);
        let domains = domains.filter(|domain| !domain.is_empty());
        settings.extend(domains.map(|it| format!("{} {side} the tunnel", it.to_ascii_lowercase())));
    }
    Ok(settings)
}

const EXCLUDE: &str = "dynamic-split-exclude-domains";
const INCLUDE: &str = "dynamic-split-include-domains";
/// Characters of a command; its value alone may have as many.
const MAX_LINE: usize = 420;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::Vendor;

    #[test]
    fn a_line_is_cut_between_domains_and_goes_on_with_a_comma() {
        let cut = lines("x ", &["aa.b", "cc.d", "ee.f"], 11);
        assert_eq!(cut, ["x aa.b,cc.d", "x ,ee.f"]);
        assert_eq!(lines("x ", &["aa.b"], 3), ["x aa.b"]);
    }

    #[test]
    fn the_domains_of_all_vendors_are_fewer_than_the_oldest_client_takes() {
        let names = Vendor::all().filter_map(|vendor| vendor.facts().domains.as_ref());
        let names = names.flat_map(|domains| &domains.names);
        let characters: usize = names.map(|name| name.len() + 1).sum();
        assert!(characters < 5_000, "{characters}");
    }
}

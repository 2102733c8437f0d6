//! Windows Firewall by Intune: a device configuration, as Microsoft Graph takes it.
//!
//! `windows10EndpointProtectionConfiguration` with `windowsFirewallRule`s, of Graph's beta version: version 1.0 has no
//! firewall rules.

use serde_json::{Value, json};

use super::head;
use super::windows::{Chosen, GROUP, addresses, description, display_name, needs_a_fixed_path};
use crate::address::PortSet;
use crate::plan::{BlockedTraffic, Direction, EndpointRules, EndpointSubject};
use crate::policy::{FirewallProfile, InterfaceType, Protocol};
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Windows Firewall by Intune. JSON has no comments: no line begins with two slashes.
pub const TARGET: Target = Target {
    name: "windows-intune",
    about: "the same rules for Intune: a device configuration for Microsoft Graph (beta)",
    accepted_by: "a second reader of its JSON; no Intune was tried",
    caveats: "package rules may not match a full-trust MSIX (unverified)",
    file: "offramp-firewall-intune.json",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::ClientRules(GROUP, write),
    read: Read::Lines { comment: "//" },
};

fn write(rules: &EndpointRules, name: &str) -> Result<Rendered, RenderError> {
    let chosen = Chosen::those(&TARGET, rules, |rule| match &rule.subject {
        EndpointSubject::Package(_) => None,
        EndpointSubject::AppId(_) => Some(
            "Graph's windowsFirewallRule has no AppId tag; Intune's own firewall rules policy has the setting \"Policy App Id\", windows-firewall writes it",
        ),
        EndpointSubject::Program(_) | EndpointSubject::Everything => {
            needs_a_fixed_path(rule, |_| true)
        }
    })?;
    let mut written: Vec<Value> = Vec::new();
    for (_, rule) in &chosen.rules {
        for direction in Direction::BOTH {
            let of_direction = direction.name();
            let mut it = json!({
                "@odata.type": "#microsoft.graph.windowsFirewallRule",
                "displayName": format!("{} ({of_direction})", display_name(name, rule)),
                "description": description(&rules.origin, rule),
                "action": "blocked",
                "trafficDirection": of_direction,
                "profileTypes": match rule.profile {
                    FirewallProfile::Domain => "domain",
                    FirewallProfile::Private => "private",
                    FirewallProfile::Public => "public",
                    FirewallProfile::Any => "notConfigured",
                },
                "interfaceTypes": match rule.interface_type {
                    InterfaceType::RemoteAccess => "remoteAccess",
                    InterfaceType::Wired => "lan",
                    InterfaceType::Wireless => "wireless",
                    InterfaceType::Any => "notConfigured",
                },
                "localAddressRanges": addresses(&rule.local),
                "remoteAddressRanges": addresses(&rule.remote),
            });
            match &rule.subject {
                EndpointSubject::Program(path) => it["filePath"] = json!(path),
                EndpointSubject::Package(name) => it["packageFamilyName"] = json!(name),
                EndpointSubject::AppId(_) | EndpointSubject::Everything => {}
            }
            if let BlockedTraffic::Ports {
                protocol,
                local,
                remote,
            } = &rule.traffic
            {
                // Numbers of IANA.
                it["protocol"] = json!(match protocol {
                    Protocol::Tcp => 6,
                    Protocol::Udp => 17,
                });
                for (key, ports) in [("localPortRanges", local), ("remotePortRanges", remote)] {
                    if !PortSet::is_all(ports) {
                        let ranges = ports.ranges().iter().map(ToString::to_string);
                        it[key] = ranges.collect();
                    }
                }
            }
            written.push(it);
        }
    }
    let count = written.len();
    let voids: String = chosen
        .voids()
        .iter()
        .map(|line| format!(" {line}."))
        .collect();
    let configuration = json!({
        "@odata.type": "#microsoft.graph.windows10EndpointProtectionConfiguration",
        "displayName": name,
        "description": format!(
            "{}{voids} Load it: POST to https://graph.microsoft.com/beta/deviceManagement/deviceConfigurations, then assign it. Remove it: delete the configuration.",
            head(&rules.origin)
        ),
        "firewallRules": written,
    });
    let mut rendered = chosen.rendered(format!("{configuration:#}\n"));
    if count > MAX_RULES {
        rendered.warnings.push(format!(
            "Intune takes {MAX_RULES} firewall rules in one configuration; these are {count}"
        ));
    }
    Ok(rendered)
}

/// Elements of `firewallRules`.
const MAX_RULES: usize = 150;

//! Windows Firewall by Intune: a device configuration, as Microsoft Graph takes it.
//!
//! `windows10EndpointProtectionConfiguration` with `windowsFirewallRule`s, of Graph's beta version: version 1.0 has no
//! firewall rules.

use serde_json::{Value, json};

use super::head;
use super::windows::{Chosen, GROUP, addresses, description, display_name};
use crate::plan::{Direction, EndpointRules};
use crate::policy::{FirewallProfile, InterfaceType};
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Windows Firewall by Intune. JSON has no comments: no line begins with two slashes.
pub const TARGET: Target = Target {
    name: "windows-intune",
    about: "the same rules for Intune: a device configuration for Microsoft Graph (beta)",
    accepted_by: "a second reader of its JSON; no Intune was tried",
    caveats: "",
    file: "offramp-firewall-intune.json",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::ClientRules(GROUP, write),
    read: Read::Lines { comment: "//" },
};

fn write(rules: &EndpointRules, name: &str) -> Result<Rendered, RenderError> {
    let chosen = Chosen::fixed(&TARGET, rules, |_| true)?;
    let mut written: Vec<Value> = Vec::new();
    for (_, rule) in &chosen.rules {
        for direction in Direction::BOTH {
            let of_direction = direction.name();
            written.push(json!({
                "@odata.type": "#microsoft.graph.windowsFirewallRule",
                "displayName": format!("{} ({of_direction})", display_name(name, rule)),
                "description": description(&rules.origin, rule),
                "filePath": rule.program,
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
            }));
        }
    }
    let count = written.len();
    let configuration = json!({
        "@odata.type": "#microsoft.graph.windows10EndpointProtectionConfiguration",
        "displayName": name,
        "description": format!(
            "{} Load it: POST to https://graph.microsoft.com/beta/deviceManagement/deviceConfigurations, then assign it. Remove it: delete the configuration.",
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

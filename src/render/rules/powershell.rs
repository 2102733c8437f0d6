//! Windows Firewall by PowerShell's NetSecurity module: the local store, and a group policy.
//!
//! The rules are data at the head of the script. A run removes the group's rules and adds those of the file, so that it can
//! be run again; `-Remove` stops in between. Paths with a `*` are looked up where the script runs.

use std::fmt::Write as _;

use super::windows::{Chosen, addresses, description, display_name};
use super::{RenderedRules, RuleError, RuleTarget, head};
use crate::plan::EndpointRules;
use crate::policy::{FirewallProfile, InterfaceType};

pub(super) fn write_local(rules: &EndpointRules, group: &str) -> Result<RenderedRules, RuleError> {
    let chosen = Chosen::all(rules);
    let mut text = format!(
        "#Requires -RunAsAdministrator\n# {}\n# Windows Firewall: two block rules a program, in and out.\n#\n\
         # load it  powershell -ExecutionPolicy Bypass -File offramp-firewall.ps1            again after each change\n\
         # remove   powershell -ExecutionPolicy Bypass -File offramp-firewall.ps1 -Remove\n\
         # watch    Get-NetFirewallRule -Group {}\n\
         [CmdletBinding()]\nparam([switch]$Remove)\n$ErrorActionPreference = 'Stop'\n\
         $store = @{{ PolicyStore = 'PersistentStore' }}\n",
        head(&rules.origin),
        quoted(group)
    );
    data(&mut text, rules, &chosen, group);
    text.push_str(REPLACE);
    Ok(chosen.rendered(marked(text)))
}

pub(super) fn write_gpo(rules: &EndpointRules, gpo: &str) -> Result<RenderedRules, RuleError> {
    let chosen = Chosen::fixed(RuleTarget::WindowsFirewallGpo, rules, |_| true)?;
    let mut text = format!(
        "# {}\n# Windows Firewall in a group policy: two block rules a program, in and out.\n#\n\
         # load it  powershell -ExecutionPolicy Bypass -File offramp-firewall-gpo.ps1            again after each change\n\
         # remove   powershell -ExecutionPolicy Bypass -File offramp-firewall-gpo.ps1 -Remove\n\
         # The group policy has to be there (New-GPO), linked where the VPN's clients are.\n\
         [CmdletBinding()]\nparam([switch]$Remove)\n$ErrorActionPreference = 'Stop'\n\
         $store = @{{ GPOSession = Open-NetGPO -PolicyStore {} }}\n",
        head(&rules.origin),
        quoted(gpo)
    );
    data(&mut text, rules, &chosen, GROUP);
    text.push_str(REPLACE);
    text.push_str("Save-NetGPO @store\n");
    Ok(chosen.rendered(marked(text)))
}

fn data(text: &mut String, rules: &EndpointRules, chosen: &Chosen<'_>, group: &str) {
    _ = write!(text, "$group = {}\n$programs = @(\n", quoted(group));
    for (number, rule) in &chosen.rules {
        let list = |set| {
            let items: Vec<String> = addresses(set).iter().map(|it| quoted(it)).collect();
            format!("@({})", items.join(", "))
        };
        _ = write!(
            text,
            "    @{{\n        Number = {number}\n        Path = {}\n        DisplayName = {}\n        Description = {}\n\
             \x20       Profile = '{}'\n        InterfaceType = '{}'\n        LocalAddress = {}\n        RemoteAddress = {}\n    }}\n",
            quoted(&rule.program),
            quoted(&display_name(group, rule)),
            quoted(&description(&rules.origin, rule)),
            match rule.profile {
                FirewallProfile::Domain => "Domain",
                FirewallProfile::Private => "Private",
                FirewallProfile::Public => "Public",
                FirewallProfile::Any => "Any",
            },
            match rule.interface_type {
                InterfaceType::RemoteAccess => "RemoteAccess",
                InterfaceType::Wired => "Wired",
                InterfaceType::Wireless => "Wireless",
                InterfaceType::Any => "Any",
            },
            list(&rule.local),
            list(&rule.remote),
        );
    }
    text.push_str(")\n\n");
}

/// The script as Windows PowerShell reads it: without a byte order mark it takes the code page of the machine, in which a
/// letter may become a quote.
fn marked(text: String) -> String {
    if text.is_ascii() {
        text
    } else {
        format!("\u{feff}{text}")
    }
}

/// Text in single quotes, where PowerShell knows one special character, and takes typographic quotes for it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("'");
    for char in text.chars() {
        if matches!(char, '\'' | '\u{2018}'..='\u{201b}') {
            quoted.push(char);
        }
        quoted.push(char);
    }
    quoted.push('\'');
    quoted
}

/// The group of the rules in a group policy.
const GROUP: &str = "offramp";

/// Removes what the group has, and adds what the file says.
const REPLACE: &str = r#"# Whatever the last run added.
Remove-NetFirewallRule @store -Group $group -ErrorAction SilentlyContinue
if (-not $Remove) {
    foreach ($program in $programs) {
        $paths = @($program.Path)
        if ($program.Path.Contains('*')) {
            # The firewall takes no wildcards: a rule for each that is there.
            $pattern = [Environment]::ExpandEnvironmentVariables($program.Path)
            $paths = @(Resolve-Path -Path $pattern -ErrorAction SilentlyContinue | ForEach-Object { $_.ProviderPath })
            if ($paths.Count -eq 0) { Write-Warning "there is no $pattern" }
        }
        $copy = 0
        foreach ($path in $paths) {
            $copy += 1
            foreach ($direction in 'Inbound', 'Outbound') {
                $rule = @{
                    Name = "$group-$($program.Number)-$copy-$direction"
                    DisplayName = "$($program.DisplayName) ($direction)"
                    Description = $program.Description
                    Group = $group
                    Enabled = 'True'
                    Direction = $direction
                    Action = 'Block'
                    Protocol = 'Any'
                    Program = $path
                    Profile = $program.Profile
                    InterfaceType = $program.InterfaceType
                    LocalAddress = $program.LocalAddress
                    RemoteAddress = $program.RemoteAddress
                }
                New-NetFirewallRule @store @rule | Out-Null
            }
        }
    }
}
"#;

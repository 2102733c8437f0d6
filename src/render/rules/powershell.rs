//! Windows Firewall by PowerShell's NetSecurity module: the parts of a script that the local store and a group policy share.
//!
//! The rules are data at the head of the script. A run removes the group's rules and adds those of the file, so that it can
//! be run again; `-Remove` stops in between. Paths with a `*` are looked up where the script runs.

use std::fmt::Write as _;

use super::windows::{Chosen, addresses, description, display_name};
use crate::plan::EndpointRules;
use crate::policy::{FirewallProfile, InterfaceType};

/// The rules as data, at the head of the script.
pub(super) fn data(text: &mut String, rules: &EndpointRules, chosen: &Chosen<'_>, group: &str) {
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
pub(super) fn marked(text: String) -> String {
    if text.is_ascii() {
        text
    } else {
        format!("\u{feff}{text}")
    }
}

/// Text in single quotes, where PowerShell knows one special character, and takes typographic quotes for it.
pub(in crate::render) fn quoted(text: &str) -> String {
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

/// Removes what the group has, and adds what the file says.
pub(super) const REPLACE: &str = r#"# Whatever the last run added.
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

//! Windows Firewall by PowerShell's NetSecurity module: the parts that its scripts share.
//!
//! ```text
//!  data      the rules, with a revision of them              ┐
//!  WANTED    the rules for this client: paths with a `*` are looked up where the script runs
//!  GUARD     a 32-bit host starts the 64-bit one             │ of clients' scripts
//!  PROFILES  which profiles take no notice of local rules    │
//!  COMPARE   whether the client has the rules                ┘
//!  REPLACE   removes the group's rules, adds those wanted, and fails if there is none
//! ```
//!
//! The rules are data at the head of the script. A run removes the group's rules and adds those of the file, so that it can
//! be run again.

use std::fmt::Write as _;

use super::windows::{Chosen, addresses, description, display_name};
use crate::address::PortSet;
use crate::plan::{BlockedTraffic, EndpointRules, EndpointSubject};
use crate::policy::{FirewallProfile, InterfaceType, Protocol};

/// The rules as data, at the head of the script.
pub(super) fn data(text: &mut String, rules: &EndpointRules, chosen: &Chosen<'_>, group: &str) {
    let mut programs = String::new();
    for (number, rule) in &chosen.rules {
        let list = |set| list(addresses(set));
        let (key, subject) = match &rule.subject {
            EndpointSubject::Program(path) => ("Path", path.as_str()),
            EndpointSubject::AppId(tag) => ("AppId", tag.as_str()),
            EndpointSubject::Package(name) => ("Package", name.as_str()),
            EndpointSubject::Everything => ("Path", "Any"),
        };
        _ = write!(
            programs,
            "    @{{\n        Number = {number}\n        {key} = {}\n        DisplayName = {}\n        Description = {}\n\
             \x20       Profile = '{}'\n        InterfaceType = '{}'\n        LocalAddress = {}\n        RemoteAddress = {}\n",
            quoted(subject),
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
        if let BlockedTraffic::Ports {
            protocol,
            local,
            remote,
        } = &rule.traffic
        {
            _ = writeln!(
                programs,
                "        Protocol = '{}'\n        LocalPort = {}\n        RemotePort = {}",
                match protocol {
                    Protocol::Tcp => "TCP",
                    Protocol::Udp => "UDP",
                },
                ports(local),
                ports(remote),
            );
        }
        programs.push_str("    }\n");
    }
    _ = write!(
        text,
        "$group = {}\n$revision = '{:016x}'\n$programs = @(\n{programs})\n\n",
        quoted(group),
        revision(&programs)
    );
}

fn list(items: Vec<String>) -> String {
    let items: Vec<String> = items.iter().map(|it| quoted(it)).collect();
    format!("@({})", items.join(", "))
}

fn ports(set: &PortSet) -> String {
    if set.is_all() {
        return "'Any'".to_owned();
    }
    list(set.ranges().iter().map(ToString::to_string).collect())
}

/// A number that changes with the text (FNV-1a): scripts that compare rules with those of another day find it in their
/// descriptions.
fn revision(text: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    text.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    })
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

/// Starts the 64-bit host from a 32-bit one, with `$arguments`: in that, `%ProgramFiles%` is the folder of 32-bit programs.
pub(super) const GUARD: &str = r#"if ([Environment]::Is64BitOperatingSystem -and -not [Environment]::Is64BitProcess) {
    # Here %ProgramFiles% is the folder of 32-bit programs: the rules would miss the client.
    $native = "$env:windir\SysNative\WindowsPowerShell\v1.0\powershell.exe"
    if (-not $PSCommandPath -or -not (Test-Path $native)) { throw 'this is a 32-bit PowerShell: run the file in the 64-bit one' }
    & $native -NoProfile -ExecutionPolicy Bypass -File $PSCommandPath @arguments
    exit $LASTEXITCODE
}
"#;

/// The rules that this client has to have, as arguments of `New-NetFirewallRule`.
pub(super) const WANTED: &str = r#"function Get-Wanted {
    foreach ($program in $programs) {
        $paths = @($program.Path)
        if ($program.Path -and $program.Path.Contains('*')) {
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
                    Description = "$($program.Description) Revision $revision."
                    Group = $group
                    Enabled = 'True'
                    Direction = $direction
                    Action = 'Block'
                    Protocol = 'Any'
                    Profile = $program.Profile
                    InterfaceType = $program.InterfaceType
                    LocalAddress = $program.LocalAddress
                    RemoteAddress = $program.RemoteAddress
                }
                if ($path) { $rule.Program = $path }
                if ($program.AppId) { $rule.PolicyAppId = $program.AppId }
                if ($program.Package) { $rule.PackageFamilyName = $program.Package }
                if ($program.Protocol) {
                    $rule.Protocol = $program.Protocol
                    $rule.LocalPort = $program.LocalPort
                    $rule.RemotePort = $program.RemotePort
                }
                $rule
            }
        }
    }
}
"#;

/// Says which profiles take no notice of rules of the local store, and fails where no rule would have an effect.
pub(super) const PROFILES: &str = r#"function Test-Profiles {
    $deaf = @()
    foreach ($it in Get-NetFirewallProfile -PolicyStore ActiveStore) {
        if ("$($it.Enabled)" -eq 'False') {
            Write-Warning "the firewall is off in the profile $($it.Name)"
            $deaf += $it.Name
        } elseif ("$($it.AllowLocalFirewallRules)" -eq 'False') {
            Write-Warning "the profile $($it.Name) ignores local rules: a group policy or Intune has turned merging off; use windows-firewall-gpo or windows-intune"
            $deaf += $it.Name
        }
    }
    $heard = @($programs | Where-Object {
        $profiles = if ($_.Profile -eq 'Any') { 'Domain', 'Private', 'Public' } else { $_.Profile }
        @($profiles | Where-Object { $deaf -notcontains $_ }).Count -gt 0
    })
    if ($heard.Count -eq 0) { throw 'no rule would have an effect: every profile that the rules are for ignores them' }
}
"#;

/// Returns the differences between the rules that the client has and those wanted, by name, program, state and revision.
pub(super) const COMPARE: &str = r#"function Get-Difference($wanted) {
    $expected = @($wanted | ForEach-Object {
        $path = if ($_.Program) { [Environment]::ExpandEnvironmentVariables($_.Program) } else { 'Any' }
        "$($_.Name)|$path|True|Block|$($_.Description)"
    })
    $there = @(Get-NetFirewallRule -PolicyStore PersistentStore -Group $group -ErrorAction SilentlyContinue | ForEach-Object {
        $path = [Environment]::ExpandEnvironmentVariables((Get-NetFirewallApplicationFilter -AssociatedNetFirewallRule $_).Program)
        "$($_.Name)|$path|$($_.Enabled)|$($_.Action)|$($_.Description)"
    })
    $expected | Where-Object { $there -notcontains $_ } | ForEach-Object { "missing: $($_.Split('|')[0])" }
    $there | Where-Object { $expected -notcontains $_ } | ForEach-Object { "not of this file: $($_.Split('|')[0])" }
}
"#;

/// Removes what the group has, adds what is wanted, and fails where that is nothing.
pub(super) const REPLACE: &str = r#"# Whatever the last run added.
Remove-NetFirewallRule @store -Group $group -ErrorAction SilentlyContinue
if (-not $Remove) {
    $wanted = @(Get-Wanted)
    foreach ($key in 'PolicyAppId', 'PackageFamilyName') {
        if ($wanted.Keys -contains $key -and -not (Get-Command New-NetFirewallRule).Parameters.ContainsKey($key)) {
            throw "New-NetFirewallRule of this Windows has no -${key}: update Windows, or write match = `"path`" in the policy"
        }
    }
    foreach ($rule in $wanted) { New-NetFirewallRule @store @rule | Out-Null }
    if ($wanted.Count -eq 0) { throw 'no rule was written: none of the programs is there' }
    Write-Output "$($wanted.Count) rules written"
}
"#;

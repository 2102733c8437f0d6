//! Windows Firewall by PowerShell: the local store of a client.

use super::head;
use super::powershell::{GUARD, PROFILES, REPLACE, WANTED, data, marked, quoted};
use super::windows::{Chosen, GROUP};
use crate::plan::EndpointRules;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Windows Firewall, the local store, by PowerShell.
pub const TARGET: Target = Target {
    name: "windows-firewall",
    about: "PowerShell for a Windows client: block rules for the programs of [[endpoint]]",
    accepted_by: "PowerShell's grammar; no Windows was tried",
    caveats: "void where a group policy does not merge local rules",
    file: "offramp-firewall.ps1",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::ClientRules(GROUP, write),
    read: Read::Lines { comment: "#" },
};

fn write(rules: &EndpointRules, group: &str) -> Result<Rendered, RenderError> {
    let chosen = Chosen::all(rules);
    let voids = chosen.voids();
    let voids: String = voids.iter().map(|line| format!("# {line}\n")).collect();
    let mut text = format!(
        "#Requires -RunAsAdministrator\n# {}\n# Windows Firewall: two block rules a program, in and out.\n#\n\
         # load it  powershell -ExecutionPolicy Bypass -File offramp-firewall.ps1            again after each change\n\
         # remove   powershell -ExecutionPolicy Bypass -File offramp-firewall.ps1 -Remove\n\
         # watch    Get-NetFirewallRule -Group {}\n\
         # store    -PolicyStore localhost writes into the local group policy, -PolicyStore 'DOMAIN\\GPO' into one of the domain\n\
         # It exits with 1 where no rule was written, or none would have an effect.\n\
         # void where a group policy or Intune has turned the merging of local rules off, and where the firewall is off: the script says so\n\
         {voids}[CmdletBinding()]\nparam([switch]$Remove, [string]$PolicyStore = 'PersistentStore')\n$ErrorActionPreference = 'Stop'\n\
         $arguments = @('-PolicyStore', $PolicyStore)\nif ($Remove) {{ $arguments += '-Remove' }}\n",
        head(&rules.origin),
        quoted(group)
    );
    text.push_str(GUARD);
    text.push_str("$store = @{ PolicyStore = $PolicyStore }\n");
    data(&mut text, rules, &chosen, group);
    text.push_str(WANTED);
    text.push_str(PROFILES);
    text.push_str(REPLACE);
    text.push_str(
        "# Rules of a group policy are always heard.\n\
         if (-not $Remove -and $PolicyStore -eq 'PersistentStore') { Test-Profiles }\n",
    );
    Ok(chosen.rendered(marked(text)))
}

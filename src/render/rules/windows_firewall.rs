//! Windows Firewall by PowerShell: the local store of a client.

use super::head;
use super::powershell::{REPLACE, data, marked, quoted};
use super::windows::{Chosen, GROUP};
use crate::plan::EndpointRules;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Windows Firewall, the local store, by PowerShell.
pub const TARGET: Target = Target {
    name: "windows-firewall",
    about: "PowerShell for a Windows client: block rules for the programs of [[endpoint]]",
    accepted_by: "PowerShell's grammar; no Windows was tried",
    caveats: "",
    file: "offramp-firewall.ps1",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::ClientRules(GROUP, write),
    read: Read::Lines { comment: "#" },
};

fn write(rules: &EndpointRules, group: &str) -> Result<Rendered, RenderError> {
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

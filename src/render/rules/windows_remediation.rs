//! Windows Firewall by Intune's remediations: the script that writes the rules again.
//!
//! Intune runs it where [`super::windows_remediation_detect`] has exited with 1.

use super::head;
use super::powershell::{GUARD, PROFILES, REPLACE, WANTED, data};
use super::windows::{Chosen, GROUP};
use crate::plan::{EndpointRule, EndpointRules};
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Windows Firewall, the local store, as a remediation script of Intune.
pub const TARGET: Target = Target {
    name: "windows-remediation",
    about: "the remediation script of a pair for Intune: writes the rules again, whatever the version in their paths",
    accepted_by: "PowerShell's grammar; no Windows was tried",
    caveats: "void where a group policy does not merge local rules",
    file: "offramp-firewall-remediate.ps1",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::ClientRules(GROUP, write),
    read: Read::Lines { comment: "#" },
};

fn write(rules: &EndpointRules, group: &str) -> Result<Rendered, RenderError> {
    let (mut text, chosen) = begin(
        &TARGET,
        rules,
        group,
        "the remediation script, run where the detection script exits with 1",
    )?;
    text.push_str("$Remove = $false\n$store = @{ PolicyStore = 'PersistentStore' }\n");
    text.push_str(REPLACE);
    text.push_str("Test-Profiles\n");
    Ok(chosen.rendered(text))
}

/// Both scripts of the pair, up to where they differ.
pub(super) fn begin<'r>(
    target: &'static Target,
    rules: &'r EndpointRules,
    group: &str,
    role: &str,
) -> Result<(String, Chosen<'r>), RenderError> {
    let ascii = ascii_only(rules);
    let chosen = Chosen::those(target, rules, |rule| {
        (!is_ascii(rule)).then_some(
            "its name or path has letters beyond ASCII, which a script without byte order mark cannot have; windows-firewall can write it",
        )
    })?;
    let voids = chosen.voids();
    let voids: String = voids.iter().map(|line| format!("# {line}\n")).collect();
    let mut text = format!(
        "# {}\n# Windows Firewall, for Intune (Devices, Scripts and remediations): {role}.\n\
         # Create both with windows-remediation-detect and windows-remediation; run as system, in 64-bit PowerShell, without signature check,\n\
         # once an hour or a day.\n\
         # void where a group policy or Intune has turned the merging of local rules off: both scripts fail and say so\n{voids}\
         $ErrorActionPreference = 'Stop'\n$arguments = @()\n",
        super::windows::ascii(&head(&ascii.origin)),
    );
    text.push_str(GUARD);
    data(&mut text, &ascii, &chosen, group);
    text.push_str(WANTED);
    text.push_str(PROFILES);
    Ok((text, chosen))
}

fn is_ascii(rule: &EndpointRule) -> bool {
    rule.endpoint.is_ascii() && rule.program().is_none_or(str::is_ascii)
}

/// The rules of a policy file whose name may have any letter.
fn ascii_only(rules: &EndpointRules) -> EndpointRules {
    EndpointRules {
        origin: super::windows::ascii(&rules.origin),
        ..rules.clone()
    }
}

//! Windows Firewall by Intune's remediations: the script that says whether a client has the rules.
//!
//! It exits with 1 where rules are missing or differ, and Intune runs [`super::windows_remediation`] then. Rules are
//! compared by name, program, state and the revision of the file that wrote them, which their description ends with.

use super::powershell::COMPARE;
use super::windows::GROUP;
use super::windows_remediation::begin;
use crate::plan::EndpointRules;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Windows Firewall, the local store, as a detection script of Intune.
pub const TARGET: Target = Target {
    name: "windows-remediation-detect",
    about: "the detection script of a pair for Intune: exits with 1 where the rules are not those of this file",
    accepted_by: "PowerShell's grammar; no Windows was tried",
    caveats: "void where a group policy does not merge local rules",
    file: "offramp-firewall-detect.ps1",
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
        "the detection script; compared are names, programs, state and revision of the rules",
    )?;
    text.push_str(COMPARE);
    text.push_str(REPORT);
    Ok(chosen.rendered(text))
}

/// Intune shows the last line of the output, 2,048 characters of it.
const REPORT: &str = r#"$wanted = @(Get-Wanted)
$different = @(Get-Difference $wanted)
if ($different.Count -gt 0) {
    Write-Output ("the rules are not those of the file: " + (($different | Select-Object -First 20) -join ', '))
    exit 1
}
if ($wanted.Count -eq 0) {
    Write-Output 'none of the programs is there: no rule is needed'
    exit 0
}
Test-Profiles
Write-Output "$($wanted.Count) rules are there"
exit 0
"#;

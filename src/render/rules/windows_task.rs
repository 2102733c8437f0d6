//! Windows Firewall by a scheduled task, for clients without Intune.
//!
//! The task runs at startup, at each logon and once an hour, compares the rules with those of its file, and writes them
//! again where they differ. Its script lies in a folder that only administrators may write.

use super::head;
use super::powershell::{COMPARE, GUARD, PROFILES, REPLACE, WANTED, data, marked, quoted};
use super::windows::{Chosen, GROUP};
use crate::plan::EndpointRules;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Windows Firewall, the local store, by a scheduled task.
pub const TARGET: Target = Target {
    name: "windows-task",
    about: "PowerShell that installs a scheduled task, which keeps the rules current on clients without Intune",
    accepted_by: "PowerShell's grammar; no Windows was tried",
    caveats: "void where a group policy does not merge local rules",
    file: "offramp-firewall-task.ps1",
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
        "#Requires -RunAsAdministrator\n# {}\n# Windows Firewall: a scheduled task that writes the rules again when programs have moved.\n#\n\
         # load it  powershell -ExecutionPolicy Bypass -File offramp-firewall-task.ps1            again after each change\n\
         # remove   powershell -ExecutionPolicy Bypass -File offramp-firewall-task.ps1 -Remove\n\
         # watch    Get-ScheduledTaskInfo -TaskName {task}; LastTaskResult is 1 where no rule could be written\n\
         # void where a group policy or Intune has turned the merging of local rules off: the task fails\n\
         {voids}[CmdletBinding()]\nparam([switch]$Remove)\n$ErrorActionPreference = 'Stop'\n\
         $arguments = @()\nif ($Remove) {{ $arguments += '-Remove' }}\n",
        head(&rules.origin),
        task = quoted(group),
    );
    text.push_str(GUARD);
    text.push_str("$script = @'\n[CmdletBinding()]\nparam([switch]$Remove)\n$ErrorActionPreference = 'Stop'\n$store = @{ PolicyStore = 'PersistentStore' }\n");
    data(&mut text, rules, &chosen, group);
    for part in [WANTED, PROFILES, COMPARE] {
        text.push_str(part);
    }
    text.push_str(
        "if (-not $Remove -and @(Get-Wanted).Count -gt 0 -and @(Get-Difference @(Get-Wanted)).Count -eq 0) {\n    \
         Test-Profiles\n    Write-Output 'the rules are there'\n    exit 0\n}\n",
    );
    text.push_str(REPLACE);
    text.push_str("if (-not $Remove) { Test-Profiles }\n'@\n");
    text.push_str(&format!("$task = {}\n", quoted(group)));
    text.push_str(INSTALL);
    Ok(chosen.rendered(marked(text)))
}

const INSTALL: &str = r#"$folder = "$env:ProgramFiles\offramp"
$path = "$folder\$task.ps1"
if ($Remove) {
    Unregister-ScheduledTask -TaskName $task -Confirm:$false -ErrorAction SilentlyContinue
    if (Test-Path $path) {
        & $path -Remove
        Remove-Item -Path $path
    }
    exit 0
}
New-Item -ItemType Directory -Path $folder -Force | Out-Null
# With a byte order mark: Windows PowerShell takes the code page of the machine without one.
[IO.File]::WriteAllText($path, $script, (New-Object Text.UTF8Encoding $true))
$action = New-ScheduledTaskAction -Execute "$env:windir\System32\WindowsPowerShell\v1.0\powershell.exe" -Argument "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$path`""
$triggers = @(
    (New-ScheduledTaskTrigger -AtStartup),
    (New-ScheduledTaskTrigger -AtLogOn),
    (New-ScheduledTaskTrigger -Once -At (Get-Date) -RepetitionInterval (New-TimeSpan -Hours 1))
)
Register-ScheduledTask -TaskName $task -Action $action -Trigger $triggers -User 'SYSTEM' -RunLevel Highest -Force | Out-Null
# The rules are there when this script is done, or it fails.
& $path
"#;

//! Windows Firewall by PowerShell: a group policy.

use super::head;
use super::powershell::{REPLACE, WANTED, data, marked, quoted};
use super::windows::{Chosen, needs_a_fixed_path};
use crate::plan::{EndpointRules, EndpointSubject};
use crate::render::{Families, Naming, Read, RenderError, Rendered, Target, Write};

/// Windows Firewall in a group policy, by PowerShell.
pub const TARGET: Target = Target {
    name: "windows-firewall-gpo",
    about: "PowerShell for an administrator: the same rules in a group policy (--name 'DOMAIN\\GPO')",
    accepted_by: "PowerShell's grammar; no Windows was tried",
    caveats: "",
    file: "offramp-firewall-gpo.ps1",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::ClientRules(
        Naming::Required {
            example: r"'contoso.com\Lync over VPN'",
            refuses: no_group_policy,
        },
        write,
    ),
    read: Read::Lines { comment: "#" },
};

fn no_group_policy(name: &str) -> Option<&'static str> {
    let mut parts = name.split('\\');
    let has_two = parts.by_ref().take(2).filter(|it| !it.is_empty()).count() == 2;
    (!has_two || parts.next().is_some()).then_some("it is DOMAIN\\GPO")
}

fn write(rules: &EndpointRules, gpo: &str) -> Result<Rendered, RenderError> {
    let chosen = Chosen::those(&TARGET, rules, |rule| match &rule.subject {
        EndpointSubject::AppId(_) | EndpointSubject::Package(_) => None,
        EndpointSubject::Program(_) | EndpointSubject::Everything => {
            needs_a_fixed_path(rule, |_| true)
        }
    })?;
    let voids = chosen.voids();
    let voids: String = voids.iter().map(|line| format!("# {line}\n")).collect();
    let mut text = format!(
        "# {}\n# Windows Firewall in a group policy: two block rules a program, in and out.\n#\n\
         # load it  powershell -ExecutionPolicy Bypass -File offramp-firewall-gpo.ps1            again after each change\n\
         # remove   powershell -ExecutionPolicy Bypass -File offramp-firewall-gpo.ps1 -Remove\n\
         # The group policy has to be there (New-GPO), linked where the VPN's clients are.\n\
         {voids}[CmdletBinding()]\nparam([switch]$Remove)\n$ErrorActionPreference = 'Stop'\n\
         $store = @{{ GPOSession = Open-NetGPO -PolicyStore {} }}\n",
        head(&rules.origin),
        quoted(gpo)
    );
    data(&mut text, rules, &chosen, GROUP);
    text.push_str(WANTED);
    text.push_str(REPLACE);
    text.push_str("Save-NetGPO @store\n");
    Ok(chosen.rendered(marked(text)))
}

/// The group of the rules in a group policy.
const GROUP: &str = "offramp";

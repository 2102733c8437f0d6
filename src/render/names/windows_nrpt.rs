//! Windows clients: rules of the name resolution policy table, by PowerShell.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::{because, head};
use crate::plan::Zones;
use crate::policy::Policy;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// PowerShell on a Windows client: the name resolution policy table.
pub const TARGET: Target = Target {
    name: "windows-nrpt",
    about: "name resolution policy rules by PowerShell, run on the client, or with -GpoName for a group policy",
    accepted_by: "PowerShell's grammar; no Windows was tried",
    caveats: "a client's own rules are void where a group policy has any: -GpoName",
    file: "nrpt.ps1",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Names(write),
    read: Read::No,
};

fn write(policy: &Policy, zones: &Zones) -> Result<Rendered, RenderError> {
    let servers = servers(&TARGET, policy)?;
    let servers: Vec<_> = servers.iter().map(|it| format!("'{it}'")).collect();
    let servers = servers.join(",");
    let advice = [
        "For clients that ask another DNS server: these names go to the pin-point DNS server.",
        "It answers them also while the VPN is down, or nobody does: remove the rules with the VPN.",
        "on a client        nrpt.ps1             as administrator; Intune: a script for devices, in 64-bit PowerShell",
        "in a group policy  nrpt.ps1 -GpoName 'contoso.com\\VPN clients' [-Server DC]",
        "remove             -Remove, beside the same words",
        "void on a client where a group policy has rules of its own: Windows ignores local ones then, and the script fails.",
        "Windows' own VPN takes them from its profile: `offramp render windows-nrpt-profilexml`.",
    ];
    let mut text = head("#", policy, zones, &advice);
    text.push_str(BEGIN);
    for owner in zones.owners() {
        _ = writeln!(
            text,
            "# {}\nAdd-DnsClientNrptRule @store -Namespace '{}' -NameServers {servers} -Comment 'offramp'",
            because(owner),
            owner.name
        );
    }
    Ok(Rendered::of_names(text))
}

/// Returns the DNS servers of the policy that clients can ask at the port that they use.
pub(super) fn servers(
    target: &'static Target,
    policy: &Policy,
) -> Result<Vec<IpAddr>, RenderError> {
    let reachable = |listen: &SocketAddr| listen.port() == 53 && !listen.ip().is_unspecified();
    let listen = policy.dns.listen.iter().map(|it| it.value);
    let servers: Vec<IpAddr> = listen.filter(reachable).map(|it| it.ip()).collect();
    if servers.is_empty() {
        return Err(RenderError::NoResolver { target });
    }
    Ok(servers)
}

/// Local rules stand elsewhere in the registry than those of group policies, which replace them all.
const BEGIN: &str = r"param([string]$GpoName, [string]$Server, [switch]$Remove)
$ErrorActionPreference = 'Stop'
$store = @{}
if ($GpoName) { $store.GpoName = $GpoName }
if ($Server) { $store.Server = $Server }
Get-DnsClientNrptRule @store | Where-Object { $_.Comment -eq 'offramp' } | Remove-DnsClientNrptRule @store -Force
if ($Remove) { exit 0 }
if (-not $GpoName -and (Test-Path 'HKLM:\SOFTWARE\Policies\Microsoft\Windows NT\DNSClient\DnsPolicyConfig\*')) {
    throw 'a group policy has rules for name resolution: Windows ignores local ones; run this with -GpoName'
}
";

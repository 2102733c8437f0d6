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
    about: "name resolution policy rules by PowerShell, run on the client",
    accepted_by: "PowerShell's grammar; no Windows was tried",
    caveats: "",
    file: "nrpt.ps1",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Names(write),
    read: Read::No,
};

fn write(policy: &Policy, zones: &Zones) -> Result<Rendered, RenderError> {
    let reachable = |listen: &SocketAddr| listen.port() == 53 && !listen.ip().is_unspecified();
    let listen = policy.dns.listen.iter().map(|it| it.value);
    let servers: Vec<IpAddr> = listen.filter(reachable).map(|it| it.ip()).collect();
    if servers.is_empty() {
        return Err(RenderError::NoResolver { target: &TARGET });
    }
    let servers: Vec<_> = servers.iter().map(|it| format!("'{it}'")).collect();
    let servers = servers.join(",");
    let advice = [
        "For clients that ask another DNS server: these names go to the pin-point DNS server.",
        "It answers them also while the VPN is down, or nobody does: remove the rules with the VPN.",
    ];
    let mut text = head("#", policy, zones, &advice);
    text.push_str(
        "Get-DnsClientNrptRule | Where-Object { $_.Comment -eq 'offramp' } | Remove-DnsClientNrptRule -Force\n",
    );
    for owner in zones.owners() {
        _ = writeln!(
            text,
            "# {}\nAdd-DnsClientNrptRule -Namespace '{}' -NameServers {servers} -Comment 'offramp'",
            because(owner),
            owner.name
        );
    }
    Ok(Rendered::of_names(text))
}

//! Windows Firewall by `netsh advfirewall`, as a batch file.
//!
//! netsh has no groups: all rules have one name, by which one command removes them all.

use std::fmt::Write as _;

use super::head;
use super::windows::{Chosen, END, GROUP, addresses, ascii, description, needs_a_fixed_path};
use crate::address::PortSet;
use crate::plan::{BlockedTraffic, Direction, EndpointRules};
use crate::policy::{FirewallProfile, InterfaceType, Protocol};
use crate::render::{Families, Read, RenderError, Rendered, Target, Write as Writer};

/// Windows Firewall, the local store, by netsh.
pub const TARGET: Target = Target {
    name: "windows-netsh",
    about: "the same rules by `netsh advfirewall`, as a batch file",
    accepted_by: "a second reader; no Windows was tried",
    caveats: "programs of fixed paths alone; void where a group policy does not merge local rules",
    file: "offramp-firewall.cmd",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Writer::ClientRules(GROUP, write),
    read: Read::Lines { comment: "rem " },
};

fn write(rules: &EndpointRules, name: &str) -> Result<Rendered, RenderError> {
    // cmd reads a file in the code page of the machine.
    let chosen = Chosen::those(&TARGET, rules, |rule| {
        needs_a_fixed_path(rule, str::is_ascii)
    })?;
    let mut lines = vec![
        "@echo off".to_owned(),
        format!("rem {}", ascii(&head(&rules.origin))),
        "rem Windows Firewall: two block rules a program, in and out. Run as administrator."
            .to_owned(),
        "rem load it  offramp-firewall.cmd          again after each change".to_owned(),
        "rem remove   offramp-firewall.cmd remove".to_owned(),
        format!("rem watch    netsh advfirewall firewall show rule name=\"{name}\" verbose"),
    ];
    let voids = chosen.voids();
    lines.extend(voids.iter().map(|line| format!("rem {}", ascii(line))));
    lines.extend([
        "rem void where a group policy or Intune has turned the merging of local rules off"
            .to_owned(),
        "setlocal DisableDelayedExpansion".to_owned(),
        format!("netsh advfirewall firewall delete rule name=\"{name}\" >nul"),
        "if /i \"%~1\"==\"remove\" exit /b 0".to_owned(),
    ]);
    let mut count = 0;
    for (_, rule) in &chosen.rules {
        let (local, remote) = (addresses(&rule.local), addresses(&rule.remote));
        let program = rule.program();
        let program = program.map_or_else(String::new, |it| format!(" program={}", quoted(it)));
        for direction in Direction::BOTH {
            // A line of a batch file ends at 8,191 characters.
            for local in local.chunks(MAX_ADDRESSES) {
                for remote in remote.chunks(MAX_ADDRESSES) {
                    let mut line = String::from("netsh advfirewall firewall add rule");
                    _ = write!(
                        line,
                        " name=\"{name}\" description={} dir={} action=block{program} profile={} interfacetype={} \
                         localip={} remoteip={} {} enable=yes >nul || exit /b 1",
                        quoted(&ascii(&description(&rules.origin, rule))),
                        direction.name(),
                        match rule.profile {
                            FirewallProfile::Domain => "domain",
                            FirewallProfile::Private => "private",
                            FirewallProfile::Public => "public",
                            FirewallProfile::Any => "any",
                        },
                        match rule.interface_type {
                            InterfaceType::RemoteAccess => "ras",
                            InterfaceType::Wired => "lan",
                            InterfaceType::Wireless => "wireless",
                            InterfaceType::Any => "any",
                        },
                        local.join(","),
                        remote.join(","),
                        protocol(&rule.traffic),
                    );
                    lines.push(line);
                    count += 1;
                }
            }
        }
    }
    let mut text = lines.join(END);
    text.push_str(END);
    let mut rendered = chosen.rendered(text);
    rendered.measures.rules = count;
    Ok(rendered)
}

/// Protocol and ports; netsh takes ports of TCP and UDP alone.
fn protocol(traffic: &BlockedTraffic) -> String {
    let ports = |set: &PortSet| {
        if set.is_all() {
            return "any".to_owned();
        }
        let ranges: Vec<String> = set.ranges().iter().map(ToString::to_string).collect();
        ranges.join(",")
    };
    match traffic {
        BlockedTraffic::All => "protocol=any".to_owned(),
        BlockedTraffic::Ports {
            protocol,
            local,
            remote,
        } => format!(
            "protocol={} localport={} remoteport={}",
            match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            },
            ports(local),
            ports(remote)
        ),
    }
}

/// Text in quotes, in a batch file: a percent sign is written twice, and there is no way to write a quote.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "'").replace('%', "%%"))
}

/// Addresses of one side of a rule: twice as many of the longest, and everything else, fit on a line.
const MAX_ADDRESSES: usize = 80;
const _: () = assert!(MAX_ADDRESSES * 2 * MAX_PREFIX + 1_000 < 8_191);
/// Characters of an IPv6 prefix with its comma.
const MAX_PREFIX: usize = 44;

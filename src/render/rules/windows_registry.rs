//! Windows Firewall as a group policy stores it: values of the registry, as a .reg file.
//!
//! A value is a rule, its name the rule's (\[MS-GPFAS\] 2.2.2.19). The version is that of Windows 7, which every later one
//! reads, and has all that is said here.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::head;
use super::windows::{Chosen, END, GROUP, ascii, description, display_name, needs_a_fixed_path};
use crate::address::PortSet;
use crate::plan::{BlockedTraffic, Direction, EndpointRule, EndpointRules};
use crate::policy::{FirewallProfile, InterfaceType, Protocol};
use crate::render::{Families, Read, RenderError, Rendered, Target, Write as Writer};

/// Windows Firewall's group policy as registry values.
pub const TARGET: Target = Target {
    name: "windows-registry",
    about: "the same rules as a group policy stores them, as a .reg file",
    accepted_by: "a second reader; no Windows was tried",
    caveats: "",
    file: "offramp-firewall.reg",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Writer::ClientRules(GROUP, write),
    read: Read::Lines { comment: ";" },
};

fn write(rules: &EndpointRules, group: &str) -> Result<Rendered, RenderError> {
    file(&TARGET, rules, group, |rule, direction| {
        format!("\"{}\"", escaped(&value(rules, rule, direction, group)))
    })
}

pub(super) fn file(
    target: &'static Target,
    rules: &EndpointRules,
    group: &str,
    data: impl Fn(&EndpointRule, Direction) -> String,
) -> Result<Rendered, RenderError> {
    // regedit reads a file without a byte order mark in the code page of the machine.
    let chosen = Chosen::those(target, rules, |rule| {
        needs_a_fixed_path(rule, |path| path.is_ascii() && !path.contains('|'))
    })?;
    let mut lines = vec![
        "Windows Registry Editor Version 5.00".to_owned(),
        String::new(),
        format!("; {}", ascii(&head(&rules.origin))),
        "; Windows Firewall: two block rules a program, in and out.".to_owned(),
        "; load it  reg import offramp-firewall.reg          on a client, as administrator"
            .to_owned(),
        "; remove   reg import offramp-firewall-remove.reg   of the same policy file".to_owned(),
        "; void at the next refresh where a group policy has firewall rules: it writes the same key (windows-firewall-gpo)"
            .to_owned(),
    ];
    let voids = chosen.voids();
    lines.extend(voids.iter().map(|line| format!("; {}", ascii(line))));
    lines.extend([String::new(), format!("[{KEY}]")]);
    for (number, rule) in &chosen.rules {
        for direction in Direction::BOTH {
            let name = format!("{group}-{number}-{}", direction.name());
            lines.push(format!("\"{name}\"={}", data(rule, direction)));
        }
    }
    let mut text = lines.join(END);
    text.push_str(END);
    Ok(chosen.rendered(text))
}

/// The rule, field by field.
fn value(rules: &EndpointRules, rule: &EndpointRule, direction: Direction, group: &str) -> String {
    let mut value = String::from("v2.10|Action=Block|Active=TRUE|");
    let mut field = |key: &str, data: &str| {
        _ = write!(value, "{key}={}|", ascii(data).replace('|', "/"));
    };
    field(
        "Dir",
        match direction {
            Direction::In => "In",
            Direction::Out => "Out",
        },
    );
    if let BlockedTraffic::Ports {
        protocol,
        local,
        remote,
    } = &rule.traffic
    {
        // Numbers of IANA.
        field(
            "Protocol",
            match protocol {
                Protocol::Tcp => "6",
                Protocol::Udp => "17",
            },
        );
        for (key, ports) in [("LPort", local), ("RPort", remote)] {
            if !PortSet::is_all(ports) {
                for range in ports.ranges() {
                    let key = if range.first() == range.last() {
                        key.to_owned()
                    } else {
                        format!("{key}2_10")
                    };
                    field(&key, &range.to_string());
                }
            }
        }
    }
    match rule.profile {
        FirewallProfile::Domain => field("Profile", "Domain"),
        FirewallProfile::Private => field("Profile", "Private"),
        FirewallProfile::Public => field("Profile", "Public"),
        FirewallProfile::Any => {}
    }
    match rule.interface_type {
        InterfaceType::RemoteAccess => field("IFType", "RemoteAccess"),
        InterfaceType::Wired => field("IFType", "Lan"),
        InterfaceType::Wireless => field("IFType", "Wireless"),
        InterfaceType::Any => {}
    }
    for (side, set) in [("LA", &rule.local), ("RA", &rule.remote)] {
        for prefix in set.prefixes() {
            // IPv4 subnets stand here with their masks.
            match prefix {
                IpNet::V4(net) => field(
                    &format!("{side}4"),
                    &format!("{}/{}", net.addr(), net.netmask()),
                ),
                IpNet::V6(net) => field(&format!("{side}6"), &net.to_string()),
            }
        }
    }
    if let Some(program) = rule.program() {
        field("App", program);
    }
    field(
        "Name",
        &format!("{} ({})", display_name(group, rule), direction.name()),
    );
    field("Desc", &description(&rules.origin, rule));
    field("EmbedCtxt", group);
    value
}

/// Text inside the quotes of a .reg file.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

const KEY: &str = r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\WindowsFirewall\FirewallRules";

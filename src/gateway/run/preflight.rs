//! What would break the gateway, looked for before anything is changed.
//!
//! Each check names one pitfall: what it is, and what to change. An error keeps `offramp run` from starting; a warning
//! tells of what it cannot help.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;

use crate::gateway::divert::nftables::nft::{self, NftError};
use crate::gateway::divert::nftables::route::{ForeignRule, Netlink, NetlinkError};
use crate::gateway::divert::nftables::{Diversion, firewall, names};
use crate::gateway::host::lock::LockError;
use crate::gateway::run::options::{control_path, metrics_address};
use crate::gateway::{report::control, resolver, tun};
use crate::policy::Policy;

mod openvpn;

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub what: String,
    /// What to change.
    pub advice: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The gateway works, but not for everything.
    Warning,
    /// The gateway would lose traffic, or judge none.
    Error,
}

impl Finding {
    pub(in crate::gateway) fn error(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            what: what.into(),
            advice: advice.into(),
        }
    }

    /// That a gateway runs already.
    pub fn running(held: &LockError) -> Self {
        Self::error(
            held.to_string(),
            "SIGHUP has it take a policy that has changed",
        )
    }

    pub(in crate::gateway) fn warning(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(what, advice)
        }
    }
}

/// Looks for everything that would break the diversion of `policy` on this host.
pub async fn check(policy: &Policy, diversion: &Diversion, netlink: &Netlink) -> Vec<Finding> {
    let mut findings = check_rights();
    if diversion.interfaces.is_empty() {
        findings.push(Finding::error(
            "the policy names no interface of the VPN, so there is nothing to divert",
            "add it under [vpn], e.g. interfaces = [\"tun0\"] for OpenVPN, [\"vpns*\"] for ocserv, [\"wg0\"] for WireGuard",
        ));
    }
    match netlink.interfaces().await {
        Ok(interfaces) if interfaces.contains(&diversion.device) => {
            findings.push(device_exists(diversion));
        }
        Ok(_) => {}
        Err(error) => findings.push(no_netlink(&error)),
    }
    findings.extend(check_change(policy, diversion, netlink).await);
    findings.extend(check_addresses(policy));
    for table in diversion.rules().iter().map(|rule| rule.table) {
        match netlink.foreign_routes(table).await {
            Ok(0) => {}
            Ok(_) => findings.push(table_in_use(table)),
            Err(error) => findings.push(no_netlink(&error)),
        }
    }
    match nft::everything() {
        Ok(rules) => findings.extend(firewall::check(&rules, diversion)),
        Err(error @ NftError::Missing(_)) => findings.push(Finding::error(
            "there is no nft on this host",
            format!("it marks what enters from the VPN: {error}"),
        )),
        Err(NftError::Refused(why)) => findings.push(Finding::error(
            format!("nftables cannot be used: {why}"),
            "the kernel needs nf_tables, and offramp the right to use it (CAP_NET_ADMIN)",
        )),
    }
    findings.extend(openvpn::check(diversion));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.dedup();
    findings
}

/// Looks for what would break `policy` on this host once it is diverted for: what a reload can bring, too.
pub async fn check_change(
    policy: &Policy,
    diversion: &Diversion,
    netlink: &Netlink,
) -> Vec<Finding> {
    let mut findings = check_settings(policy, diversion, &Settings::of_host());
    match netlink.interfaces().await {
        Ok(interfaces) => findings.extend(check_interfaces(diversion, &interfaces)),
        Err(error) => findings.push(no_netlink(&error)),
    }
    match netlink.foreign_rules().await {
        Ok(rules) => findings.extend(check_rules(diversion, &rules)),
        Err(error) => findings.push(no_netlink(&error)),
    }
    findings
}

/// Whether the gateway can listen where it is to.
fn check_addresses(policy: &Policy) -> Vec<Finding> {
    let gateway = &policy.gateway;
    let names = resolver::try_addresses(policy).into_iter();
    let mut findings: Vec<Finding> = names
        .map(|error| {
            let (what, advice) = error.parts();
            Finding::error(what, advice)
        })
        .collect();
    let path = control_path(gateway);
    if let Err(error) = control::try_listen(path) {
        findings.push(Finding::error(
            format!("cannot listen on {}: {error}", path.display()),
            "name another place: [gateway] control = \"...\"",
        ));
    }
    if let Some(address) = metrics_address(gateway)
        && let Err(error) = TcpListener::bind(address)
    {
        findings.push(Finding::error(
            format!("cannot serve metrics at {address}: {error}"),
            "name another address, or leave it out: [gateway] metrics = \"...\"",
        ));
    }
    findings
}

fn device_exists(diversion: &Diversion) -> Finding {
    Finding::error(
        format!("there is an interface {} already", diversion.device),
        "remove it if nothing uses it, or give the filter's another name: [gateway] device = \"offramp1\"",
    )
}

fn no_netlink(error: &NetlinkError) -> Finding {
    Finding::error(
        error.to_string(),
        "offramp needs rtnetlink, and the right to use it (CAP_NET_ADMIN)",
    )
}

fn check_rights() -> Vec<Finding> {
    let mut findings = Vec::new();
    if !has_net_admin(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        findings.push(Finding::error(
            "this process may not change the network",
            "run it as root, or with CAP_NET_ADMIN (systemd: AmbientCapabilities=CAP_NET_ADMIN)",
        ));
    }
    if let Err(error) = tun::try_open() {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => {
                "load the module (`modprobe tun`); give a container the device (`--device /dev/net/tun`)"
            }
            _ => "the user that runs offramp must be allowed to read and write it",
        };
        let what = format!("cannot open {}: {error}", tun::CLONE_DEVICE);
        findings.push(Finding::error(what, advice));
    }
    findings
}

/// Whether the effective capabilities in `/proc/self/status` have CAP_NET_ADMIN (bit 12, linux/capability.h).
fn has_net_admin(status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << 12) != 0)
}

/// The kernel's settings for interfaces.
struct Settings<Read> {
    /// The value of a path under `/proc/sys/net`.
    read: Read,
}

impl Settings<fn(&str) -> Option<i64>> {
    fn of_host() -> Self {
        Self {
            read: |key| {
                let path = Path::new("/proc/sys/net").join(key);
                fs::read_to_string(path).ok()?.trim().parse().ok()
            },
        }
    }
}

impl<Read: Fn(&str) -> Option<i64>> Settings<Read> {
    fn get(&self, key: &str) -> Option<i64> {
        (self.read)(key)
    }

    /// The reverse path filter that holds for `interface`: the larger of its own and that of all.
    fn rp_filter(&self, interface: &str) -> i64 {
        let of = |name: &str| self.get(&format!("ipv4/conf/{name}/rp_filter"));
        // An interface that is still to come gets the default.
        let own = of(interface).or_else(|| of("default")).unwrap_or(0);
        own.max(of("all").unwrap_or(0))
    }

    fn src_valid_mark(&self, interface: &str) -> bool {
        let of = |name: &str| self.get(&format!("ipv4/conf/{name}/src_valid_mark"));
        [of("all"), of(interface).or_else(|| of("default"))].contains(&Some(1))
    }
}

/// A reverse path filter that wants the route back to lead through the interface that a packet came from.
const STRICT: i64 = 1;

fn check_settings<Read: Fn(&str) -> Option<i64>>(
    policy: &Policy,
    diversion: &Diversion,
    settings: &Settings<Read>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let clients = |is: fn(&ipnet::IpNet) -> bool| {
        let mut subnets = policy.vpn.client_subnets.iter();
        subnets.any(|subnet| is(&subnet.value))
    };
    let is_v4 = |net: &ipnet::IpNet| matches!(net, ipnet::IpNet::V4(_));
    let is_v6 = |net: &ipnet::IpNet| matches!(net, ipnet::IpNet::V6(_));
    if clients(is_v4) && settings.get("ipv4/ip_forward") == Some(0) {
        findings.push(Finding::error(
            "this host does not forward IPv4, so clients reach nothing, with offramp or without",
            "sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d for the next start",
        ));
    }
    if clients(is_v6) && settings.get("ipv6/conf/all/forwarding").unwrap_or(0) == 0 {
        findings.push(Finding::error(
            "this host does not forward IPv6, and the policy has IPv6 clients",
            "sysctl -w net.ipv6.conf.all.forwarding=1, and in /etc/sysctl.d for the next start",
        ));
    }
    if settings.get("ipv4/conf/all/rp_filter") == Some(STRICT) {
        findings.push(Finding::error(
            "net.ipv4.conf.all.rp_filter is 1: packets that come back from the filter would be dropped, as their \
             sources are routed elsewhere",
            "sysctl -w net.ipv4.conf.all.rp_filter=0, and set 1 for the interfaces that need it, e.g. \
             net.ipv4.conf.eth0.rp_filter=1; offramp sets its own device's",
        ));
    }
    // An answer of the gateway itself would inherit the filter's mark, and be led away from the client.
    for key in [
        "ipv4/tcp_fwmark_accept",
        "ipv4/fwmark_reflect",
        "ipv6/fwmark_reflect",
    ] {
        if settings.get(key) == Some(1) {
            let name = key.replace('/', ".");
            findings.push(Finding::error(
                format!("net.{name} is 1: answers of this host to clients would carry the filter's mark, and be lost"),
                format!("sysctl -w net.{name}=0"),
            ));
        }
    }
    for interface in &diversion.interfaces {
        let name = interface.strip_suffix('*').unwrap_or(interface);
        if settings.src_valid_mark(name) && settings.rp_filter(name) == STRICT {
            findings.push(Finding::error(
                format!(
                    "src_valid_mark is 1 and rp_filter is 1 for {interface}: what the filter's mark is on would fail the \
                     reverse path check"
                ),
                format!(
                    "sysctl -w net.ipv4.conf.all.src_valid_mark=0 (wg-quick sets it), or \
                     net.ipv4.conf.{name}.rp_filter=2"
                ),
            ));
        }
    }
    findings
}

fn check_interfaces(diversion: &Diversion, present: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pattern in &diversion.interfaces {
        if names(pattern, &diversion.device) {
            findings.push(Finding::error(
                format!("`{pattern}` of vpn.interfaces also names the filter's own device {}", diversion.device),
                "packets would go round in circles: give the device another name ([gateway] device)",
            ));
        }
        if !present.iter().any(|name| names(pattern, name)) {
            let there_are = present.join(", ");
            findings.push(Finding::warning(
                format!("there is no interface {pattern} yet: nothing is judged until there is"),
                format!(
                    "start the VPN daemon, or mend the name in vpn.interfaces; there are {there_are}"
                ),
            ));
        }
    }
    findings
}

fn check_rules(diversion: &Diversion, rules: &[ForeignRule]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let bits = diversion.mark.mask();
    for rule in rules {
        if let Some((mark, mask)) = rule.mark
            && mask & bits != 0
            && mask != u32::MAX
        {
            findings.push(Finding::error(
                format!(
                    "the routing rule of priority {} looks at mark {mark:#x}/{mask:#x}, which shares bits with the filter's {bits:#x}",
                    rule.priority
                ),
                "choose two other bits: [gateway] mark = 0x0c000000",
            ));
        } else if let Some((mark, u32::MAX)) = rule.mark
            && mark & bits != 0
        {
            findings.push(Finding::error(
                format!(
                    "the routing rule of priority {} looks for mark {mark:#x}, which shares bits with the filter's {bits:#x}",
                    rule.priority
                ),
                "choose two other bits: [gateway] mark = 0x0c000000",
            ));
        } else if let Some((mark @ 1.., u32::MAX)) = rule.mark
            && !rule.is_inverted
        {
            findings.push(Finding::warning(
                format!(
                    "the routing rule of priority {} wants mark {mark:#x} and nothing beside it: it does not match what \
                     carries the filter's bits too",
                    rule.priority
                ),
                format!(
                    "if it is for VPN clients, have it look at its own bits only: fwmark {mark:#x}/{:#x}",
                    !bits
                ),
            ));
        } else if rule.priority < Diversion::FIRST_PRIORITY && rule.mark.is_none() && !rule.is_local
        {
            findings.push(Finding::warning(
                format!(
                    "the routing rule of priority {} comes before the filter's ({}): what it routes is not judged",
                    rule.priority,
                    Diversion::FIRST_PRIORITY
                ),
                "give it a priority above 1000 if it applies to VPN clients",
            ));
        }
    }
    findings
}

fn table_in_use(table: u32) -> Finding {
    Finding::error(
        format!("route table {table} holds routes of somebody else"),
        "choose three tables in a row that nothing uses: [gateway] table = 28600",
    )
}

#[cfg(test)]
mod tests;

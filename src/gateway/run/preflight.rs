//! Checks the host for conditions that would break the gateway, before changing anything.
//!
//! Each check reports one pitfall and the setting to change. An error keeps `offramp run` from starting; a warning
//! names a condition that the gateway cannot detect or work around.

use std::fs;
use std::io;
use std::net::TcpListener;

use super::options::{control_path, metrics_address};
use super::pools;
use crate::filter::CompiledPolicy;
use crate::gateway::divert::firewall::{self, Clients, Firewalls};
use crate::gateway::divert::netlink::Netlink;
use crate::gateway::divert::{Divert, DivertPlan, DivertSummary, names};
use crate::gateway::host::addresses::interface_networks;
use crate::gateway::host::settings::Settings;
use crate::gateway::reject::LinkSocket;
use crate::gateway::report::control;
use crate::gateway::{resolver, tun};
use crate::policy::{Policy, Reject};
use crate::verify::Finding;

mod openvpn;
pub mod service;

/// Finds everything on this host that would break a diversion of kind `D` for `policy`.
pub async fn check<D: Divert>(
    policy: &CompiledPolicy,
    plan: &D::Plan,
    netlink: &Netlink,
) -> Vec<Finding> {
    let summary = plan.summary();
    let mut findings = check_rights();
    if summary.interfaces.is_empty() {
        findings.push(Finding::host_error(
            "the policy names no interface of the VPN, so there is nothing to divert",
            "add it under [vpn], e.g. interfaces = [\"tun0\"] for OpenVPN, [\"vpns*\"] for ocserv, [\"wg0\"] for WireGuard",
        ));
    }
    match netlink.interfaces().await {
        Ok(interfaces) if interfaces.contains(&summary.device) => {
            findings.push(device_exists(&summary.device));
        }
        Ok(_) => {}
        Err(error) => findings.push(Finding::from(&error)),
    }
    findings.extend(check_change::<D>(policy.policy(), plan, netlink).await);
    findings.extend(check_rejections(policy.policy()));
    findings.extend(check_addresses(policy.policy()));
    findings.extend(D::check_start(plan, netlink).await);
    let present = netlink.interfaces().await.unwrap_or_default();
    findings.extend(check_firewalls::<D>(
        policy,
        plan,
        &Firewalls::read(),
        &present,
    ));
    findings.extend(openvpn::check(&summary.interfaces));
    findings.sort_by_key(|finding| finding.severity);
    findings.dedup();
    findings
}

/// Finds everything on this host that would break the diversion for `policy` and that a reload can introduce.
pub async fn check_change<D: Divert>(
    policy: &Policy,
    plan: &D::Plan,
    netlink: &Netlink,
) -> Vec<Finding> {
    check_summary::<D>(policy, plan, &plan.summary(), netlink).await
}

/// Finds everything on this host that breaks the diversion in force for `policy`, but for what its firewalls do.
///
/// Interfaces that a pattern stands for come and go with clients: none is missing.
pub async fn check_standing<D: Divert>(
    policy: &Policy,
    plan: &D::Plan,
    netlink: &Netlink,
) -> Vec<Finding> {
    let mut summary = plan.summary();
    summary.interfaces.retain(|it| !it.ends_with('*'));
    check_summary::<D>(policy, plan, &summary, netlink).await
}

async fn check_summary<D: Divert>(
    policy: &Policy,
    plan: &D::Plan,
    summary: &DivertSummary,
    netlink: &Netlink,
) -> Vec<Finding> {
    let mut findings = check_forwarding(policy, &Settings::of_host());
    match netlink.interfaces().await {
        Ok(interfaces) => findings.extend(check_interfaces(summary, &interfaces)),
        Err(error) => findings.push(Finding::from(&error)),
    }
    // Where the kernel does not tell, the traffic will.
    let networks = interface_networks().unwrap_or_default();
    let patterns = plan.summary().interfaces;
    findings.extend(pools::check(policy, &patterns, &networks));
    findings.extend(D::check_plan(plan, netlink).await);
    findings
}

/// Finds rules of the host's firewalls that would break the diversion, or lead clients' packets past the policy.
pub fn check_firewalls<D: Divert>(
    policy: &CompiledPolicy,
    plan: &D::Plan,
    firewalls: &Firewalls,
    present: &[String],
) -> Vec<Finding> {
    let mut findings = D::check_firewalls(plan, firewalls, present);
    let clients = Clients {
        inputs: D::inputs(plan),
    };
    findings.extend(firewall::check_forwarding(firewalls, policy, &clients));
    findings
}

/// Checks that the gateway can listen on its configured addresses.
fn check_addresses(policy: &Policy) -> Vec<Finding> {
    let gateway = &policy.gateway;
    let names = resolver::try_addresses(policy).into_iter();
    let mut findings: Vec<Finding> = names.map(Finding::from).collect();
    let path = control_path(gateway);
    if let Err(error) = control::try_listen(path) {
        findings.push(Finding::host_error(
            format!("cannot listen on {}: {error}", path.display()),
            "name another place: [gateway] control = \"...\"",
        ));
    }
    if let Some(address) = metrics_address(gateway)
        && let Err(error) = TcpListener::bind(address)
    {
        findings.push(Finding::host_error(
            format!("cannot serve metrics at {address}: {error}"),
            "name another address, or leave it out: [gateway] metrics = \"...\"",
        ));
    }
    findings
}

fn device_exists(device: &str) -> Finding {
    Finding::host_error(
        format!("there is an interface {device} already"),
        "remove it if nothing uses it, or give the filter's another name: [gateway] device = \"offramp1\"",
    )
}

fn check_rights() -> Vec<Finding> {
    let mut findings = Vec::new();
    if !has_net_admin(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        findings.push(Finding::host_error(
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
        findings.push(Finding::host_error(what, advice));
    }
    findings
}

/// Checks that answers can be sent, if the policy asks for them.
fn check_rejections(policy: &Policy) -> Option<Finding> {
    let word = match policy.filter.reject {
        Reject::Nothing => return None,
        asked => asked.word(),
    };
    let error = LinkSocket::open().err()?;
    Some(Finding::host_error(
        format!(
            "filter.reject = \"{word}\" needs a packet socket, which the system refuses: {error}"
        ),
        "run it as root, or with CAP_NET_RAW (systemd: AmbientCapabilities=CAP_NET_RAW, CapabilityBoundingSet=CAP_NET_RAW and \
         RestrictAddressFamilies=AF_PACKET)",
    ))
}

/// True if the effective capabilities in `/proc/self/status` include CAP_NET_ADMIN (bit 12, linux/capability.h).
fn has_net_admin(status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << 12) != 0)
}

fn check_forwarding<Read: Fn(&str) -> Option<i64>>(
    policy: &Policy,
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
        findings.push(Finding::host_error(
            "this host does not forward IPv4, so clients reach nothing, with offramp or without",
            "sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d for the next start",
        ));
    }
    if clients(is_v6) && settings.get("ipv6/conf/all/forwarding").unwrap_or(0) == 0 {
        findings.push(Finding::host_error(
            "this host does not forward IPv6, and the policy has IPv6 clients",
            "sysctl -w net.ipv6.conf.all.forwarding=1, and in /etc/sysctl.d for the next start",
        ));
    }
    findings
}

fn check_interfaces(plan: &DivertSummary, present: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pattern in &plan.interfaces {
        if names(pattern, &plan.device) {
            findings.push(Finding::host_error(
                format!("`{pattern}` of vpn.interfaces also names the filter's own device {}", plan.device),
                "packets would go round in circles: give the device another name ([gateway] device)",
            ));
        }
        if !present.iter().any(|name| names(pattern, name)) {
            let there_are = present.join(", ");
            findings.push(Finding::host_warning(
                format!("there is no interface {pattern} yet: nothing is judged until there is"),
                format!(
                    "start the VPN daemon, or correct the name in vpn.interfaces; there are {there_are}"
                ),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests;

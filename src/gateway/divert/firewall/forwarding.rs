//! Port forwardings (DNAT) that lead clients' packets, behind the filter, to where the policy blocks them.

use std::net::{IpAddr, SocketAddr};

use super::Firewalls;
use super::chain::{Chain, HookPoint, Rule, Ruleset, Step, Tool, Tracking, Translation};
use super::walk::{Probe, WayBack, applicable};
use crate::address::Family;
use crate::filter::CompiledPolicy;
use crate::packet::Protocol;
use crate::packet::media::Payload;
use crate::verdict::Action;
use crate::verify::Finding;

/// Clients' packets, as the host's firewalls see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// The interfaces that they come from.
    pub inputs: Vec<String>,
}

/// Finds them.
pub fn check_forwarding(
    firewalls: &Firewalls,
    policy: &CompiledPolicy,
    clients: &Clients,
) -> Vec<Finding> {
    let inputs = &clients.inputs;
    let mut findings: Vec<Finding> = Vec::new();
    for (chain, rule) in firewalls.rulesets().flat_map(|it| translating(it, inputs)) {
        let finding = led_to(policy, rule).map(|to| finding(chain, rule, &to, inputs));
        findings.extend(finding.filter(|it| !findings.contains(it)));
    }
    findings
}

/// The rules that packets of clients can meet where their destination is translated.
fn translating<'a>(ruleset: &'a Ruleset, inputs: &[String]) -> Vec<(&'a Chain, &'a Rule)> {
    let mut found = Vec::new();
    for (chain, _) in ruleset
        .at(HookPoint::Prerouting)
        .filter(|(_, hook)| hook.is_nat)
    {
        for input in inputs {
            for family in [Family::V4, Family::V6] {
                let probe = Probe {
                    input,
                    output: None,
                    family,
                    tracking: Tracking::New,
                    way_back: WayBack::Found,
                    sources: &[],
                };
                found.extend(applicable(ruleset, chain, &probe));
            }
        }
    }
    found
}

/// The place, blocked by the policy, to which a rule leads.
fn led_to(policy: &CompiledPolicy, rule: &Rule) -> Option<String> {
    let Step::Translate(Translation::Destination { addresses, ports }) = &rule.step else {
        return None;
    };
    let ports = match ports {
        Some(ports) => vec![*ports],
        None => rule.ports.clone(),
    };
    let ports = media_ports(policy, &ports);
    let is_rewritten = matches!(
        rule.step,
        Step::Translate(Translation::Destination { ports: Some(_), .. })
    );
    match addresses {
        Some((first, last)) => {
            let mut places = ports
                .iter()
                .flat_map(|port| [(*first, *port), (*last, *port)]);
            let place = places.find(|(address, port)| is_dropped(policy, rule, *address, *port));
            place.map(|(address, port)| SocketAddr::new(address, port).to_string())
        }
        // Which address it is, only the rule knows.
        None if is_rewritten => ports.first().map(|port| format!("the media port {port}")),
        None => None,
    }
}

/// The first media port in each of `ranges`, or in all ports.
fn media_ports(policy: &CompiledPolicy, ranges: &[(u16, u16)]) -> Vec<u16> {
    let everything = [(0, u16::MAX)];
    let ranges = if ranges.is_empty() {
        &everything
    } else {
        ranges
    };
    let media = policy.policy().media.ports.iter().map(|it| it.value);
    let shared = media.flat_map(|media| {
        ranges.iter().filter_map(move |(first, last)| {
            let first = media.first().max(*first);
            (first <= media.last().min(*last)).then_some(first)
        })
    });
    shared.collect()
}

/// Returns `true` if the policy drops media of a client to this place.
fn is_dropped(policy: &CompiledPolicy, rule: &Rule, address: IpAddr, port: u16) -> bool {
    let clients = policy.policy().vpn.client_subnets.iter();
    let mut clients = clients
        .map(|it| it.value)
        .filter(|it| it.addr().is_ipv4() == address.is_ipv4());
    let Some(client) = clients.find_map(|subnet| subnet.hosts().next()) else {
        return false;
    };
    let protocol = match rule.protocol.as_deref() {
        Some("tcp") => Protocol::Tcp,
        _ => Protocol::Udp,
    };
    let from = SocketAddr::new(client, port);
    let to = SocketAddr::new(address, port);
    let answer = policy.explain_exactly(from, to, Some(protocol), Payload::MicrosoftCheck);
    answer.is_some_and(|answer| answer.verdict.action == Action::Drop)
}

fn finding(chain: &Chain, rule: &Rule, to: &str, inputs: &[String]) -> Finding {
    let exclusion = match (chain.tool, inputs) {
        (Tool::Nft | Tool::Firewalld, [one]) => format!("`iifname != \"{one}\"`"),
        (Tool::Nft | Tool::Firewalld, several) => {
            format!("`iifname != {{ \"{}\" }}`", several.join("\", \""))
        }
        (Tool::Ufw | Tool::Iptables | Tool::IptablesLegacy, _) => {
            format!(
                "`! -i {}`",
                inputs.first().map_or("tun0", |it| it).replace('*', "+")
            )
        }
    };
    Finding::host_warning(
        format!(
            "chain {chain} leads packets of clients to {to}, which the policy blocks (rule: {}): the filter judges the \
             destination that the client sent to",
            rule.text
        ),
        format!("have the rule leave out the VPN's clients: {exclusion}"),
    )
}

//! Findings about chains, with the remedy in the words of the program that made them.

use super::chain::{Chain, Hook, HookPoint, Rule, Tool};
use super::passage::{Change, Loss, Passage};
use super::walk::MAX_CASES;
use crate::verify::Finding;

/// The remedy that spares every change of the firewall.
const BY_PROGRAMS: &str =
    "or divert by eBPF, which needs no change of a firewall ([gateway] diversion = \"ebpf\")";

/// The finding for a chain that stops what it would let go on without offramp.
pub(super) fn of_loss(chain: &Chain, hook: Hook, passage: &Passage, loss: &Loss) -> Finding {
    let device = &passage.device;
    let interface = &loss.interface;
    if !loss.first && !loss.second {
        return Finding::host_error(
            format!(
                "chain {chain} translates addresses of what comes from {interface}, and not of what comes from {device}"
            ),
            format!("let its rule for {interface} hold for {device} too, {BY_PROGRAMS}"),
        );
    }
    if loss.is_reverse_path {
        let lost = match (loss.first, loss.second) {
            (true, true) => format!("packets to and from the filter's device {device}"),
            (true, false) => format!("packets from {interface} with the filter's mark"),
            _ => format!("packets that come back from the filter's device {device}"),
        };
        return Finding::host_error(
            format!(
                "chain {chain} is a reverse path filter, and drops {lost}: their sources are routed elsewhere"
            ),
            format!(
                "{}, {BY_PROGRAMS}",
                without_reverse_path(chain, passage, loss)
            ),
        );
    }
    let ways = [
        (
            loss.first,
            format!("what goes from {interface} to {device}"),
        ),
        (loss.second, format!("what goes on from {device}")),
    ];
    let ways: Vec<String> = ways.into_iter().filter(|it| it.0).map(|it| it.1).collect();
    Finding::host_error(
        format!(
            "chain {chain} stops what it does not know: {}",
            ways.join(", and ")
        ),
        format!("{}, {BY_PROGRAMS}", acceptance(chain, hook, passage, loss)),
    )
}

/// How to have a reverse path filter leave out what is diverted.
fn without_reverse_path(chain: &Chain, passage: &Passage, loss: &Loss) -> String {
    let device = &passage.device;
    let interface = &loss.interface;
    let program = program(chain);
    match chain.tool {
        Tool::Firewalld => {
            "write IPv6_rpfilter=no in /etc/firewalld/firewalld.conf, and `firewall-cmd --complete-reload`".to_owned()
        }
        Tool::Iptables | Tool::IptablesLegacy | Tool::Ufw => {
            let table = &chain.table.name;
            let accept = |name: &str| format!("`{program} -t {table} -I {} -i {name} -j ACCEPT`", chain.name);
            match loss.first {
                true => format!("{} and {}", accept(device), accept(interface)),
                false => accept(device),
            }
        }
        Tool::Nft => {
            let names = match loss.first {
                true => format!("{{ \"{device}\", \"{interface}\" }}"),
                false => format!("\"{device}\""),
            };
            format!("let `iifname {names} accept` come before its rule")
        }
    }
}

/// How to have a chain accept what is diverted.
fn acceptance(chain: &Chain, hook: Hook, passage: &Passage, loss: &Loss) -> String {
    let device = &passage.device;
    let interface = &loss.interface;
    let program = program(chain);
    let is_forward = hook.point == HookPoint::Forward;
    match chain.tool {
        Tool::Firewalld => format!(
            "put {device} into the zone of {interface}: `firewall-cmd --permanent --add-forward --zone=ZONE`, `firewall-cmd \
             --permanent --zone=ZONE --add-interface={device}`, `firewall-cmd --reload`"
        ),
        Tool::Ufw if is_forward => format!(
            "`ufw route allow in on {interface} out on {device}`, and let the routes that are allowed in on {interface} be \
             allowed in on {device} too: `ufw route allow in on {device}`"
        ),
        Tool::Iptables | Tool::IptablesLegacy | Tool::Ufw if is_forward => format!(
            "`{program} -I {} -o {device} -j ACCEPT`, and let the rules for `-i {interface}` hold for `-i {device}` too",
            chain.name
        ),
        Tool::Iptables | Tool::IptablesLegacy | Tool::Ufw => {
            format!("let the rules for `-i {interface}` hold for `-i {device}` too")
        }
        Tool::Nft if is_forward => format!(
            "accept the first, which is not tracked (`oifname \"{device}\" accept`), and let the rules for the VPN's \
             interfaces hold for `iifname \"{device}\"` too"
        ),
        Tool::Nft => {
            format!("let the rules for the VPN's interfaces hold for `iifname \"{device}\"` too")
        }
    }
}

/// The program that changes a chain of iptables.
fn program(chain: &Chain) -> &'static str {
    match (chain.tool, chain.table.family.as_str()) {
        (Tool::IptablesLegacy, "ip6") => "ip6tables-legacy",
        (Tool::IptablesLegacy, _) => "iptables-legacy",
        (_, "ip6") => "ip6tables",
        _ => "iptables",
    }
}

/// The finding for a chain through which clients reach nothing.
pub(super) fn of_stop(chain: &Chain, interfaces: &[String]) -> Finding {
    Finding::host_warning(
        format!(
            "chain {chain} stops what it does not know, and knows nothing of what comes from {}: clients reach nothing, with \
             offramp or without",
            interfaces.join(", ")
        ),
        "accept there what clients may reach",
    )
}

/// The finding for a chain that lets go on from the filter what it stops without offramp.
pub(super) fn of_opening(chain: &Chain, hook: Hook, passage: &Passage, loss: &Loss) -> Finding {
    let device = &passage.device;
    let interface = &loss.interface;
    let rule = loss.opened.as_deref().unwrap_or_default();
    Finding::host_error(
        format!(
            "chain {chain} stops some of what comes from {interface} ({rule}), and would let it go on from {device}: nothing is \
             diverted as long as that is so"
        ),
        format!(
            "{}, {BY_PROGRAMS}",
            same_rules(chain, hook, device, interface)
        ),
    )
}

/// The finding for a chain that stops some packets because of the diversion.
pub(super) fn of_some(chain: &Chain, hook: Hook, passage: &Passage, loss: &Loss) -> Finding {
    let device = &passage.device;
    let interface = &loss.interface;
    let some = loss.some.as_deref().unwrap_or_default();
    Finding::host_warning(
        format!("chain {chain} stops {some}, and lets it go on from {interface} without offramp"),
        format!(
            "{}, {BY_PROGRAMS}",
            same_rules(chain, hook, device, interface)
        ),
    )
}

/// The finding for a chain that has more ways for packets than are followed.
pub(super) fn of_length(chain: &Chain, passage: &Passage) -> Finding {
    let device = &passage.device;
    Finding::host_warning(
        format!(
            "chain {chain} and those that it leads to have more rules for clients' packets than are compared ({MAX_CASES}): \
             whether they treat what comes from {device} like what comes from the VPN is known in part"
        ),
        format!(
            "see that its rules for {} hold for {device} too, {BY_PROGRAMS}",
            passage.interfaces.join(", ")
        ),
    )
}

/// The finding for a chain that changes packets from the VPN, and not from the filter.
pub(super) fn of_change(
    chain: &Chain,
    hook: Hook,
    passage: &Passage,
    change: Change,
    rule: &Rule,
) -> Finding {
    let device = &passage.device;
    let interface = passage.interfaces.first().map_or("tun0", String::as_str);
    let changed = match change {
        Change::Mark => "sets marks of packets",
        Change::SegmentSize => "limits the segment size (MSS) of connections",
    };
    Finding::host_warning(
        format!(
            "chain {chain} {changed} from {} (rule: {}), and not from {device}: what the filter lets pass goes on without",
            passage.interfaces.join(", "),
            rule.text
        ),
        format!(
            "{}, {BY_PROGRAMS}",
            same_rules(chain, hook, device, interface)
        ),
    )
}

/// How to have rules for an interface of the VPN hold for the filter's device, too.
fn same_rules(chain: &Chain, hook: Hook, device: &str, interface: &str) -> String {
    match chain.tool {
        Tool::Firewalld => format!(
            "put {device} into the zone of {interface}: `firewall-cmd --permanent --zone=ZONE --add-interface={device}`, \
             `firewall-cmd --reload`"
        ),
        Tool::Ufw if hook.point == HookPoint::Forward => {
            format!("repeat the `ufw route` rules for `in on {interface}` with `in on {device}`")
        }
        Tool::Iptables | Tool::IptablesLegacy | Tool::Ufw => {
            format!("let the rules for `-i {interface}` hold for `-i {device}` too")
        }
        Tool::Nft => format!(
            "let the rules for `iifname \"{interface}\"` hold for `iifname \"{device}\"` too"
        ),
    }
}

//! Checks that media cannot pass the filter through an `[[allow]]` that is too wide, or on ports that the rule does not
//! cover.

use super::subject::{PORTS_OF_A_CALL, Subject, of, some};
use super::{Finding, FindingCode, Part};
use crate::address::PrefixSet;
use crate::packet::Protocol;
use crate::policy::{Allow, FeedFormat, MediaMatch, Policy, PortRange, ProtocolSet};
use crate::vendor::Vendor;

pub(super) fn check(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    for allow in &subject.policy.allows {
        allowed(subject, allow, found);
    }
    teams_ports(subject.policy, found);
    ports_of_profiles(subject.policy, found);
    clients_without_a_mark(subject.policy, found);
    protocol_left_out(subject.policy, found);
    if !subject.has_servers() && subject.corporate.is_empty() {
        no_offices(subject, found);
    }
}

/// Reports an `[[allow]]` that media can pass through.
fn allowed(subject: &Subject<'_>, allow: &Allow, found: &mut Vec<Finding>) {
    let all_ports = subject.media_ports_in(&[]);
    let ports = subject.media_ports_in(&allow.ports);
    let udp = allow.protocols.contains(Protocol::Udp) && ports >= PORTS_OF_A_CALL.min(all_ports);
    let tcp = allow.protocols.contains(Protocol::Tcp) && ports == all_ports;
    if !subject.lifts_media(allow) || !(udp || tcp) {
        return;
    }
    let vpn = &subject.policy.vpn;
    let between_clients = allow.prefixes_between_clients(vpn, &subject.clients);
    let between_clients: PrefixSet = between_clients.map(|it| it.value).collect();
    let hairpin = between_clients.intersect(&subject.plan.tunnel);
    let to: PrefixSet = allow.prefixes(vpn).map(|it| it.value).collect();
    let leak = to
        .intersect(&subject.plan.tunnel)
        .intersect(&subject.corporate)
        .subtract(&subject.clients)
        .subtract(&subject.servers);
    let name = &allow.name.value;
    let how = if udp { "UDP" } else { "TCP" };
    let line = allow.ports.first().map_or(allow.name.line, |it| it.line);
    let says = format!(
        "[[allow]] \"{name}\" lifts the media rule for {how} to {ports} of {all_ports} media ports"
    );
    let instead = "write protocols, ports and addresses of the service that it is for, without the ports of media";
    if !hairpin.is_empty() {
        let what = format!(
            "[[allow]] \"{name}\" lets media pass to other clients: {}",
            some(&hairpin)
        );
        found.push(
            Finding::error(FindingCode::Hairpin, what)
                .at(allow.name.line)
                .at(line)
                .because(Part::Filter, says.clone())
                .because(Part::Routes, "both clients are reached through the tunnel")
                .remedy(instead),
        );
    }
    // Media flows between users' computers: a few server addresses are never a peer, whatever ports they use.
    if holds_a_subnet(&leak) {
        let what = format!("[[allow]] \"{name}\" lets media pass to {}", some(&leak));
        found.push(
            Finding::error(FindingCode::Leak, what)
                .at(allow.name.line)
                .at(line)
                .because(Part::Filter, says)
                .because(Part::Routes, "these addresses enter the tunnel")
                .remedy(instead),
        );
    }
}

fn holds_a_subnet(set: &PrefixSet) -> bool {
    set.prefixes()
        .any(|prefix| prefix.max_prefix_len() - prefix.prefix_len() >= SUBNET_BITS)
}

/// Host bits of the smallest subnet that counts as one with users' computers: 64 addresses.
const SUBNET_BITS: u8 = 6;

/// Checks Teams' source ports, which are the destination ports of direct calls: all must count as media.
fn teams_ports(policy: &Policy, found: &mut Vec<Finding>) {
    let feed = policy.feeds.iter().find(|feed| match feed.format {
        FeedFormat::Microsoft365 => {
            let mut areas = feed.service_areas.iter();
            feed.service_areas.is_empty() || areas.any(|it| it.value.eq_ignore_ascii_case("skype"))
        }
        FeedFormat::Prefixes | FeedFormat::AwsIpRanges | FeedFormat::WebPage => false,
    });
    let by_hand = policy
        .publics
        .iter()
        .find(|it| it.name.value.to_lowercase().contains("teams"));
    let who = feed.map(|it| &it.name).or(by_hand.map(|it| &it.name));
    let Some(who) = who else {
        return;
    };
    let is_media = |port| policy.media.ports.iter().any(|it| it.value.contains(port));
    let missing = (TEAMS_PORTS.first()..=TEAMS_PORTS.last()).filter(|&port| !is_media(port));
    let missing: Vec<u16> = missing.collect();
    let (Some(first), Some(last)) = (missing.first(), missing.last()) else {
        return;
    };
    let what = format!("Teams' ports {first}-{last} are not all among media.ports");
    found.push(
        Finding::error(FindingCode::Leak, what)
            .at(line_of_media(policy))
            .at(who.line)
            .because(
                Part::Feeds,
                format!(
                    "\"{}\" is there for Teams, whose clients use {TEAMS_PORTS}",
                    who.value
                ),
            )
            .because(
                Part::Filter,
                "a direct call to another port is forwarded as default",
            )
            .remedy(format!("add \"{TEAMS_PORTS}\" to media.ports")),
    );
}

/// Checks the ports of direct calls of other vendors' clients, where they are fixed.
fn ports_of_profiles(policy: &Policy, found: &mut Vec<Finding>) {
    let is_media = |port| policy.media.ports.iter().any(|it| it.value.contains(port));
    for feed in &policy.feeds {
        // Those of Teams are known without a profile, too.
        let vendor = feed.vendor.filter(|it| *it != Vendor::Teams);
        let Some(direct) = vendor.and_then(|it| it.facts().peer_to_peer.as_ref()) else {
            continue;
        };
        let ranges = direct.port_ranges();
        let missing = ranges.filter(|range| !(range.first()..=range.last()).all(is_media));
        let missing: Vec<String> = missing.map(|range| range.to_string()).collect();
        if missing.is_empty() {
            continue;
        }
        let (name, missing) = (&feed.name.value, missing.join(", "));
        let what = format!("ports {missing} of {name} are not all among media.ports");
        found.push(
            Finding::error(FindingCode::Leak, what)
                .at(line_of_media(policy))
                .at(feed.name.line)
                .because(Part::Feeds, format!("{}, at these ports", direct.behavior))
                .because(
                    Part::Filter,
                    "a direct call to another port is forwarded as default",
                )
                .remedy(format!("add \"{missing}\" to media.ports")),
        );
    }
}

/// Audio, video and sharing (Microsoft, "QoS in Teams").
const TEAMS_PORTS: PortRange = match PortRange::new(50_000, 50_059) {
    Some(ports) => ports,
    None => PortRange::ALL,
};

/// Reports a recognition by Microsoft's marks: browsers and thin clients set none.
fn clients_without_a_mark(policy: &Policy, found: &mut Vec<Finding>) {
    if policy.media.recognition != MediaMatch::IceMicrosoft {
        return;
    }
    let what = "calls of Teams in a browser, of thin clients and of other WebRTC applications take the tunnel";
    found.push(
        Finding::error(FindingCode::Leak, what)
            .at(line_of_media(policy))
            .because(
                Part::Filter,
                "match = \"ice-microsoft\" drops checks with a mark of Microsoft's own clients alone",
            )
            .because(Part::Call, "these clients send checks without a mark")
            .remedy("write match = \"ice\""),
    );
}

/// Reports media of a transport protocol that is not blocked.
fn protocol_left_out(policy: &Policy, found: &mut Vec<Finding>) {
    let (left_out, kept, why) = match policy.media.protocols {
        ProtocolSet::Both => return,
        ProtocolSet::Tcp => ("UDP", "tcp", "clients prefer UDP"),
        ProtocolSet::Udp => (
            "TCP",
            "udp",
            "clients try TCP where UDP gets no answer (RFC 6544)",
        ),
    };
    let what = format!("calls over {left_out} take the tunnel");
    found.push(
        Finding::error(FindingCode::Leak, what)
            .at(line_of_media(policy))
            .because(
                Part::Filter,
                format!("media.protocols is [\"{kept}\"]: {left_out} to media ports is forwarded"),
            )
            .because(Part::Call, why)
            .remedy("write protocols = [\"tcp\", \"udp\"], or leave the key out"),
    );
}

fn line_of_media(policy: &Policy) -> u32 {
    policy.media.ports.first().map_or(0, |it| it.line)
}

/// Reports a policy with neither offices nor servers.
fn no_offices(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let policy = subject.policy;
    let line = policy.vpn.client_subnets.first().map_or(0, |it| it.line);
    let outside = subject.plan.tunnel.subtract(&subject.clients);
    let outside = policy.dns.listen.iter().fold(outside, |left, listen| {
        left.subtract(&of(listen.value.ip().into()))
    });
    if outside.is_empty() {
        return;
    }
    let what = "the policy names nothing internal, and more than the clients' own addresses enters the tunnel";
    found.push(
        Finding::error(FindingCode::Leak, what)
            .at(line)
            .because(
                Part::Routes,
                format!("{} enters the tunnel", some(&outside)),
            )
            .because(Part::Filter, "media to offices is forwarded as default")
            .remedy("write the internal prefixes: [corporate] subnets = [\"10.0.0.0/8\"]"),
    );
}

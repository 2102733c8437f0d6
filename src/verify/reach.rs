//! Checks that clients reach what they need outside the tunnel: public services, DNS servers, and calls.

use ipnet::IpNet;

use super::subject::{Published, Subject, bare, first, set, some};
use super::{Finding, FindingCode, Part};
use crate::address::{Family, PrefixSet, special};
use crate::packet::Protocol;
use crate::plan::SourceKind;
use crate::policy::{Server, TunnelMode};
use crate::verdict::Action;
use crate::verify::call::{Call, Prediction, Side, predict, relay};

pub(super) fn check(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let asked = subject.plan.sources.iter().filter(|it| match it.kind {
        SourceKind::PinPointDns | SourceKind::DnsServer => true,
        SourceKind::Clients
        | SourceKind::Corporate
        | SourceKind::Gateway
        | SourceKind::Public(_)
        | SourceKind::Feed(..) => false,
    });
    let asked: PrefixSet = asked.map(|it| it.prefix).collect();
    for public in subject.publics() {
        let unreachable = public.not_public();
        let inside = public
            .set
            .intersect(&subject.plan.tunnel)
            .subtract(&asked)
            .subtract(&unreachable);
        behind_nat(public, &unreachable, found);
        inside_tunnel(subject, public, &inside, found);
    }
    for server in &subject.policy.servers {
        published(subject, server, found);
    }
    nothing_excluded(subject, found);
    dns(subject, found);
}

/// Reports addresses of a public service that enter the tunnel despite the exclusion.
fn inside_tunnel(
    subject: &Subject<'_>,
    public: &Published<'_>,
    inside: &PrefixSet,
    found: &mut Vec<Finding>,
) {
    let (Some(address), Some(source)) = (first(inside), public.first_of(inside)) else {
        return;
    };
    let Some(answer) = subject.answer(address, MEDIA_RELAY, Protocol::Udp) else {
        return;
    };
    let corporate = subject.policy.corporate.subnets.iter();
    let clients = subject.policy.vpn.client_subnets.iter();
    let kept = corporate
        .chain(clients)
        .find(|it| inside.overlaps(it.value));
    let routes = match kept {
        Some(kept) => format!(
            "{} is internal (line {}), and at least as specific as {}: {} enters the tunnel",
            kept.value,
            kept.line,
            bare(source.prefix),
            some(inside)
        ),
        None => format!("{} enters the tunnel", some(inside)),
    };
    let verdict = answer.verdict;
    let filter =
        format!("packets to it get the verdict {verdict}, before media and servers are asked");
    let (name, some) = (public.name, some(inside));
    let finding = match verdict.action {
        Action::Drop => Finding::error(
            FindingCode::Blackhole,
            format!("\"{name}\" is routed into the tunnel and dropped there: {some}"),
        ),
        Action::Forward => Finding::error(
            FindingCode::Leak,
            format!("media to \"{name}\" enters the tunnel: {some}"),
        ),
    };
    let finding = finding.at(source.line).at(kept.map_or(0, |it| it.line));
    found.push(finding.because(Part::Routes, routes).because(Part::Filter, filter).remedy(
        "take these addresses out of corporate.subnets (or client_subnets), or out of the public service",
    ));
}

/// Reports a public service at addresses that homes cannot reach.
fn behind_nat(public: &Published<'_>, unreachable: &PrefixSet, found: &mut Vec<Finding>) {
    let Some(source) = public.first_of(unreachable) else {
        return;
    };
    let row = special::unreachable(source.prefix);
    let what = format!(
        "\"{}\" has an address that is not on the Internet: {}{}",
        public.name,
        some(unreachable),
        row.map_or(String::new(), |row| format!(
            " ({}, {})",
            row.name, row.source
        ))
    );
    let finding = Finding::error(FindingCode::Blackhole, what).at(source.line);
    found.push(
        finding
            .because(Part::Names, "clients resolve the service to this address")
            .because(Part::Routes, "it is kept outside the tunnel, where no route leads to it")
            .remedy("write the public address, as the Internet sees it: behind NAT only the translated one counts"),
    );
}

/// Reports an external interface of an Edge listed among the servers.
fn published(subject: &Subject<'_>, server: &Server, found: &mut Vec<Finding>) {
    let hosts = server
        .hosts
        .iter()
        .map(|host| host.value.split('.').next().unwrap_or_default());
    let name = server.name.value.to_lowercase();
    let mut words = hosts.map(str::to_owned).chain([name]);
    let is_external = words.any(|word| {
        ["av", "sip", "sipexternal", "webconf"].contains(&word.as_str())
            || word.contains("external")
            || word.contains("public")
    });
    let open = set(&server.addresses)
        .intersect(&subject.plan.tunnel)
        .subtract(special::not_public())
        .subtract(&subject.public);
    let address = server.addresses.iter().find(|it| open.overlaps(it.value));
    let Some(address) = address.filter(|_| is_external) else {
        return;
    };
    let what = format!(
        "{} of [[server]] \"{}\" looks like an external interface: it enters the tunnel and is dropped",
        some(&open),
        server.name.value
    );
    found.push(
        Finding::error(FindingCode::Blackhole, what)
            .at(address.line)
            .at(server.name.line)
            .because(Part::Routes, "the address enters the tunnel")
            .because(Part::Filter, "Table 1, row 2 drops every port of it")
            .remedy("of an Edge, only the internal interface is a [[server]]; list the external ones under [[public]]"),
    );
}

/// Reports a full tunnel that excludes nothing.
fn nothing_excluded(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let policy = subject.policy;
    if policy.routes.tunnel != TunnelMode::Full
        || !subject.public.is_empty()
        || !policy.feeds.is_empty()
    {
        return;
    }
    let what = "the full tunnel carries everything, traffic of the media relay too";
    let line = policy.vpn.client_subnets.first().map_or(0, |it| it.line);
    let finding = Finding::error(FindingCode::Leak, what).at(line);
    found.push(
        finding
            .because(
                Part::Routes,
                "no [[public]] and no [[feed]] is excluded from the tunnel",
            )
            .because(
                Part::Filter,
                "packets to the relay get the verdict forward default",
            )
            .remedy(
                "list the relay: its public addresses under [[public]], or a [[feed]] for Teams",
            ),
    );
}

/// Reports DNS servers that clients query and cannot reach.
fn dns(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    // With a pin-point server, the gateway queries these and clients do not.
    if !subject.policy.dns.listen.is_empty() {
        return;
    }
    for source in subject.sources(&SourceKind::DnsServer) {
        let address = source.prefix.addr();
        if !subject.drops(address, DNS, Protocol::Udp) {
            continue;
        }
        let answer = subject.answer(address, DNS, Protocol::Udp);
        let line = answer
            .as_ref()
            .and_then(|it| it.matched)
            .map_or(0, |it| it.line);
        let verdict = answer.map_or_else(String::new, |it| it.verdict.to_string());
        let what = format!("clients cannot ask their DNS server {address}");
        let finding = Finding::error(FindingCode::Blackhole, what)
            .at(line)
            .at(source.line);
        found.push(
            finding
                .because(Part::Routes, "it is asked through the tunnel")
                .because(
                    Part::Filter,
                    format!("port {DNS} gets the verdict {verdict}"),
                )
                .remedy("take it out of the [[server]], or port 53 out of media.ports"),
        );
    }
}

/// Predicts calls in every family that clients have. A failed call is a finding unless another finding explains it.
pub(super) fn check_calls(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let explains = |finding: &Finding| match finding.code {
        FindingCode::Blackhole
        | FindingCode::Leak
        | FindingCode::Hairpin
        | FindingCode::InternalRegistration => true,
        FindingCode::Overlap
        | FindingCode::Parity
        | FindingCode::Stale
        | FindingCode::Collateral
        | FindingCode::NotRead
        | FindingCode::Host => false,
    };
    // If the policy names no relay, there is nothing to compare.
    if found.iter().any(explains) || relay(subject.policy).is_none() {
        return;
    }
    let families = [
        (Family::V4, subject.clients.has_v4()),
        (
            Family::V6,
            subject.clients.has_v6() && relay_has_v6(subject),
        ),
    ];
    for (family, _) in families.into_iter().filter(|(_, has)| *has) {
        for (to, code) in [
            (Side::Internal, FindingCode::Leak),
            (Side::Vpn, FindingCode::Hairpin),
        ] {
            if to == Side::Internal && !family.is_in(&subject.corporate) {
                continue;
            }
            let call = Call {
                family: Some(family),
                ..Call::new(Side::Vpn, to)
            };
            let prediction = predict(subject.compiled, subject.plan, &call);
            if prediction.winner().is_none() {
                // Clients of both families take the one that works.
                let any = Call::new(Side::Vpn, to);
                let any = predict(subject.compiled, subject.plan, &any);
                if any.winner().is_some() && !any.is_in_tunnel() {
                    continue;
                }
            }
            let relay = prediction.relay.public.iter().map(IpNet::from).collect();
            let line = subject.published(&relay).map(|(_, source)| source.line);
            let judged = judged(to, code, &prediction);
            found.extend(judged.map(|it| it.at(line.unwrap_or(0))));
        }
    }
}

fn relay_has_v6(subject: &Subject<'_>) -> bool {
    relay(subject.policy).is_some_and(|relay| relay.public.v6.is_some())
}

fn judged(to: Side, code: FindingCode, prediction: &Prediction) -> Option<Finding> {
    let who = match to {
        Side::Vpn => "between two VPN users",
        Side::Internal | Side::External => "from a VPN user to the office",
    };
    let Some(pair) = prediction.winner() else {
        let what = format!("a call {who} has no media at all");
        let mut finding = Finding::error(FindingCode::Blackhole, what);
        for attempt in prediction.attempts.iter().filter(|it| it.party == 0) {
            let says = format!(
                "{} asks the relay {} by {}: {}",
                attempt.base.ip(),
                attempt.server,
                attempt.leg,
                attempt.obstacle
            );
            finding = finding.because(Part::Call, says);
        }
        return Some(finding.remedy("`offramp call` shows every path and what stops it"));
    };
    if !prediction.is_in_tunnel() {
        return None;
    }
    let what = format!("a call {who} takes the tunnel: {}", pair.way());
    let says = format!(
        "{} -> {} works",
        pair.local.address.ip(),
        pair.remote.address.ip()
    );
    Some(
        Finding::error(code, what)
            .because(Part::Call, says)
            .remedy("`offramp call --pairs` shows every path and what lets it pass"),
    )
}

const DNS: u16 = 53;
/// Port of STUN and TURN.
const MEDIA_RELAY: u16 = 3478;

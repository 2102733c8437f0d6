//! Checks that names lead clients to sign in at the Access Edge, and nowhere else.

use std::collections::BTreeSet;

use super::subject::{Subject, bare};
use super::{Finding, FindingCode, Part};
use crate::name::DnsName;
use crate::packet::Protocol;
use crate::plan::zones::Treatment;
use crate::policy::{PublicService, Sourced};
use crate::verdict::Action;

pub(super) fn check(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    servers_reached(subject, found);
    servers_unknown(subject, found);
    domains(subject, found);
    for public in &subject.policy.publics {
        targets(subject, public, found);
        unpinned(subject, public, found);
    }
}

/// Internal SIP ports: TLS, then TCP.
const SIP: [u16; 2] = [5061, 5060];

/// Reports a server whose SIP port clients can reach through the filter.
fn servers_reached(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    for server in &subject.policy.servers {
        let passed = server.addresses.iter().find_map(|prefix| {
            let to = prefix.value.addr();
            if !subject.plan.tunnel.contains(to) {
                return None;
            }
            let mut answers = SIP.into_iter().filter_map(|port| {
                let answer = subject.answer(to, port, Protocol::Tcp)?;
                (answer.verdict.action == Action::Forward).then_some((port, answer))
            });
            answers.next().map(|(port, answer)| (prefix, port, answer))
        });
        let Some((prefix, port, answer)) = passed else {
            continue;
        };
        let rule = answer.rule.map_or_else(
            || "no rule".to_owned(),
            |rule| format!("rule \"{}\"", rule.name),
        );
        let line = answer.rule.and_then(|rule| rule.line).unwrap_or(0);
        let what = format!(
            "clients can sign in at [[server]] \"{}\": {} port {port}",
            server.name.value,
            bare(prefix.value)
        );
        found.push(
            Finding::error(FindingCode::InternalRegistration, what)
                .at(line)
                .at(prefix.line)
                .because(Part::Routes, format!("{} enters the tunnel", bare(prefix.value)))
                .because(Part::Filter, format!("TCP to port {port} gets the verdict {} by {rule}", answer.verdict))
                .because(Part::Call, "a client that signs in internally is given the Edge's internal interface as its relay")
                .remedy("leave ports 5060 and 5061 of servers blocked: write the ports that the [[allow]] is for"),
        );
    }
}

/// Reports a policy that publishes an Access Edge and names no server that clients must not reach.
fn servers_unknown(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    if subject.has_servers() {
        return;
    }
    let publishes =
        |public: &&PublicService| !public.srv.is_empty() || public.hosts.iter().any(is_sip);
    let Some(public) = subject.policy.publics.iter().find(publishes) else {
        return;
    };
    let what = format!(
        "\"{}\" is an Access Edge, and no [[server]] is blocked",
        public.name.value
    );
    found.push(
        Finding::error(FindingCode::InternalRegistration, what)
            .at(public.name.line)
            .because(Part::Names, "clients sign in by SIP, so there is a Front End inside")
            .because(Part::Filter, "nothing keeps them from its port 5061")
            .remedy("list every Lync server, and the internal interface of the Edge: [[server]] name, addresses, hosts"),
    );
}

fn is_sip(host: &Sourced<String>) -> bool {
    host.value.starts_with("sip.") || host.value.starts_with("sipexternal.")
}

/// Checks SIP domains: published ones that are not hidden, and hidden ones that are not published.
fn domains(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let policy = subject.policy;
    let listed: BTreeSet<&str> = policy
        .dns
        .sip_domains
        .iter()
        .map(|it| it.value.as_str())
        .collect();
    let mut published: Vec<(&str, u32)> = Vec::new();
    for public in &policy.publics {
        let services = public.srv.iter().map(|srv| &srv.name);
        let services =
            services.filter_map(|name| Some((name.value.strip_prefix("_sip._tls.")?, name.line)));
        let hosts = public.hosts.iter();
        let hosts = hosts.filter_map(|host| Some((host.value.strip_prefix("sip.")?, host.line)));
        for (domain, line) in services.chain(hosts) {
            if !published.iter().any(|(known, _)| *known == domain) {
                published.push((domain, line));
            }
        }
    }
    for (domain, line) in published
        .iter()
        .filter(|(domain, _)| !listed.contains(domain))
    {
        if !subject.has_servers() {
            continue;
        }
        let what =
            format!("{domain} is a SIP domain, and its internal discovery names are not hidden");
        found.push(
            Finding::error(FindingCode::InternalRegistration, what)
                .at(*line)
                .because(Part::Names, format!("lyncdiscoverinternal.{domain} and _sipinternaltls._tcp.{domain} are forwarded to the internal DNS"))
                .because(Part::Filter, "where they lead is dropped, so signing in waits for timeouts, or fails")
                .remedy(format!("[dns] sip_domains = [\"{domain}\"]")),
        );
    }
    for domain in &policy.dns.sip_domains {
        let sip = format!("sip.{}", domain.value);
        if is_pinned(subject, &sip) {
            continue;
        }
        let what =
            format!("{sip} is not pinned: it is the internal fallback as well as the Access Edge");
        found.push(
            Finding::error(FindingCode::InternalRegistration, what)
                .at(domain.line)
                .because(
                    Part::Names,
                    format!("{sip} is forwarded, and the internal DNS answers with the Front End"),
                )
                .because(
                    Part::Filter,
                    "the Front End is dropped: clients do not sign in at all",
                )
                .remedy(format!(
                    "add \"{sip}\" to the hosts of the [[public]] Access Edge"
                )),
        );
    }
}

fn is_pinned(subject: &Subject<'_>, name: &str) -> bool {
    matches!(treatment(subject, name), Some(Treatment::Pinned(_)))
}

fn treatment<'a>(subject: &Subject<'a>, name: &str) -> Option<&'a Treatment> {
    let name: DnsName = name.parse().ok()?;
    subject.zones.find(&name).map(|owner| &owner.treatment)
}

/// Checks the hosts that the service records of `public` point to.
fn targets(subject: &Subject<'_>, public: &PublicService, found: &mut Vec<Finding>) {
    for record in &public.srv {
        let (name, target) = (&record.name.value, &record.target);
        let finding = match treatment(subject, target) {
            Some(Treatment::Pinned(_)) => continue,
            Some(Treatment::Hidden) => Finding::error(
                FindingCode::Blackhole,
                format!("{name} leads to {target}, which is hidden"),
            )
            .because(Part::Names, format!("{target} does not exist for clients"))
            .remedy(format!("write a target that a [[public]] service has, or take {target} out of the [[server]]")),
            Some(Treatment::NoData(_)) | None => Finding::error(
                FindingCode::InternalRegistration,
                format!("{name} leads to {target}, which is not pinned"),
            )
            .because(Part::Names, format!("{target} is forwarded: the internal DNS says where clients sign in"))
            .remedy(format!("add \"{target}\" to the hosts of \"{}\"", public.name.value)),
        };
        found.push(finding.at(record.name.line).at(public.name.line));
    }
}

/// Reports hosts of a service that has prefixes and no single addresses.
fn unpinned(subject: &Subject<'_>, public: &PublicService, found: &mut Vec<Finding>) {
    let forwarded = public
        .hosts
        .iter()
        .find(|host| treatment(subject, &host.value).is_none());
    let Some(host) = forwarded else {
        return;
    };
    let what = format!(
        "{} is not pinned: \"{}\" has prefixes, and no address",
        host.value, public.name.value
    );
    let line = public
        .addresses
        .first()
        .map_or(public.name.line, |it| it.line);
    found.push(
        Finding::warning(FindingCode::Leak, what)
            .at(host.line)
            .at(line)
            .because(Part::Names, "clients get what the internal DNS says of it")
            .because(Part::Routes, "an internal address enters the tunnel")
            .remedy("add the addresses of the hosts: the name resolves to every single address that is listed"),
    );
}

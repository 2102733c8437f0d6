//! Checks that need the whole policy: what contradicts itself, and what it will do that nobody may have wanted.

mod listeners;
mod names;
mod ports;
mod wide;
mod withdrawn;

use std::ops::Range;

use ipnet::IpNet;

use crate::address::{Family, PrefixSet, special};
use crate::policy::diagnostic::{Code, Collector, Diagnostic, Label};
use crate::policy::meaning::Policy;
use crate::policy::section::allow::{self, Allow, Destination};
use crate::policy::section::gateway::{self, Enforcement};
use crate::policy::section::public::{self, PublicService};
use crate::policy::section::server::{self, Server};
use crate::policy::section::{corporate, vpn};
use crate::policy::syntax::{Key, Place, PolicyFile, SectionTable};
use crate::policy::value::{PortRange, Sourced};
use listeners::check_listeners;
use names::check_names;
use ports::check_media_ports;
use wide::{check_feeds, check_server};
use withdrawn::check_withdrawn;

/// Adds what is to be said about a policy that could be read without errors.
pub(in crate::policy) fn check(policy: &Policy, file: &PolicyFile<'_>, out: &mut Collector<'_>) {
    let scope = Scope::new(policy);
    check_whole_internet(policy, file, out);
    check_names(policy, file, out);
    check_ipv6(policy, file, out);
    check_corporate(policy, file, &scope, out);
    check_enforcement(policy, file, &scope, out);
    check_listeners(policy, file, out);
    check_feeds(policy, file, out);
    for (position, server) in policy.servers.iter().enumerate() {
        let list = List::of_server(position, server);
        check_server(&server.name.value, &list, file, &scope, out);
    }
    check_media_ports(policy, file, out);
    for (position, public) in policy.publics.iter().enumerate() {
        let list = List::of_public(position, public);
        check_public(&public.name.value, &list, file, &scope, out);
        check_withdrawn(&public.name.value, &list, file, out);
    }
    for (position, allow) in policy.allows.iter().enumerate() {
        check_allow(allow, position, policy, file, &scope, out);
    }
}

/// Warns of a policy that is not enforced, and of pilots without clients.
fn check_enforcement(
    policy: &Policy,
    file: &PolicyFile<'_>,
    scope: &Scope,
    out: &mut Collector<'_>,
) {
    let Enforcement { off, pilot } = &policy.gateway.enforcement;
    let pilots = List {
        section: &gateway::SECTION,
        position: 0,
        key: &gateway::PILOT,
        entries: pilot,
    };
    for (prefix, span) in pilots.matching(file, |prefix| !scope.clients.covers(prefix)) {
        let message = format!("pilot {prefix} is not inside `vpn.client_subnets`");
        let label = out.text.label(span, "no clients' prefix");
        let problem = Diagnostic::error(Code::PilotOutsideClients, message).with_label(label);
        out.add(problem.with_help("name a part of a pool, or all of it"));
    }
    let Some(gap) = policy.gateway.enforcement.gap() else {
        return;
    };
    let key = if off.is_some() {
        &gateway::ENFORCE
    } else {
        &gateway::PILOT
    };
    let place = Place {
        section: &gateway::SECTION,
        position: 0,
        key,
        item: 0,
    };
    let label = out.text.label(file.span(place), "no protection for all");
    let problem = Diagnostic::warning(Code::NotEnforced, gap).with_label(label);
    out.add(problem.with_help(
        "what would be dropped, answered or hidden is counted and logged only; take the key out once the counts are as expected",
    ));
}

/// The address sets of a policy, for quick questions.
struct Scope {
    clients: PrefixSet,
    corporate: PrefixSet,
    servers: PrefixSet,
    publics: PrefixSet,
}

impl Scope {
    fn new(policy: &Policy) -> Self {
        let values =
            |list: &[Sourced<IpNet>]| list.iter().map(|prefix| prefix.value).collect::<Vec<_>>();
        Self {
            clients: PrefixSet::from_iter(values(&policy.vpn.client_subnets)),
            corporate: PrefixSet::from_iter(values(&policy.corporate.subnets)),
            servers: PrefixSet::from_iter(
                policy
                    .servers
                    .iter()
                    .flat_map(|server| values(&server.addresses)),
            ),
            publics: PrefixSet::from_iter(
                policy
                    .publics
                    .iter()
                    .flat_map(|public| values(&public.addresses)),
            ),
        }
    }
}

/// A list of prefixes or other entries, and where the file has it.
struct List<'a, T = IpNet> {
    section: &'static SectionTable,
    position: usize,
    key: &'static Key,
    entries: &'a [Sourced<T>],
}

impl<'a> List<'a> {
    fn of_clients(policy: &'a Policy) -> Self {
        Self {
            section: &vpn::SECTION,
            position: 0,
            key: &vpn::CLIENT_SUBNETS,
            entries: &policy.vpn.client_subnets,
        }
    }

    fn of_server(position: usize, server: &'a Server) -> Self {
        Self {
            section: &server::SECTION,
            position,
            key: &server::ADDRESSES,
            entries: &server.addresses,
        }
    }

    fn of_public(position: usize, public: &'a PublicService) -> Self {
        Self {
            section: &public::SECTION,
            position,
            key: &public::ADDRESSES,
            entries: &public.addresses,
        }
    }
}

impl<T: Copy> List<'_, T> {
    /// Entries for which `holds`, with their spans.
    fn matching(&self, file: &PolicyFile<'_>, holds: impl Fn(T) -> bool) -> Vec<(T, Range<usize>)> {
        let entries = self.entries.iter().enumerate();
        let matching = entries.filter(|(_, entry)| holds(entry.value));
        let spans = matching.map(|(item, entry)| (entry.value, file.span(self.place(item))));
        spans.collect()
    }

    const fn place(&self, item: usize) -> Place {
        Place {
            section: self.section,
            position: self.position,
            key: self.key,
            item,
        }
    }
}

/// The entries in prose, the first few by name.
fn names<T: ToString>(found: &[(T, Range<usize>)]) -> String {
    let shown: Vec<_> = found
        .iter()
        .take(SHOWN)
        .map(|(entry, _)| entry.to_string())
        .collect();
    match found.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn labels<T>(found: &[(T, Range<usize>)], text: &str, out: &Collector<'_>) -> Vec<Label> {
    let shown = found.iter().take(SHOWN);
    shown
        .map(|(_, span)| out.text.label(span.clone(), text))
        .collect()
}

/// Prefixes named in one message; the rest is counted.
const SHOWN: usize = 3;

/// `0.0.0.0/0` as a place of traffic: refused where a gateway would act on it, doubted where captures are judged.
fn check_whole_internet(policy: &Policy, file: &PolicyFile<'_>, out: &mut Collector<'_>) {
    let servers = policy.servers.iter().enumerate();
    let servers = servers.map(|(position, server)| List::of_server(position, server));
    let publics = policy.publics.iter().enumerate();
    let publics = publics.map(|(position, public)| List::of_public(position, public));
    let clients = List::of_clients(policy);
    let corporate = List {
        section: &corporate::SECTION,
        position: 0,
        key: &corporate::SUBNETS,
        entries: &policy.corporate.subnets,
    };
    for list in [clients, corporate]
        .into_iter()
        .chain(servers)
        .chain(publics)
    {
        for (prefix, span) in list.matching(file, |prefix| prefix.prefix_len() == 0) {
            let message = format!(
                "prefix {prefix} in `{}.{}` is every address there is",
                list.section.name, list.key.name
            );
            let label = out.text.label(span, "everything");
            out.add(if policy.vpn.interfaces.is_empty() {
                Diagnostic::warning(Code::WholeInternet, message)
                    .with_label(label)
                    .with_help("fit to judge a capture; with `vpn.interfaces` such a policy is refused")
            } else {
                Diagnostic::error(Code::WholeInternet, message)
                    .with_label(label)
                    .with_help("write the prefixes it stands for, e.g. \"10.0.0.0/8\" or \"172.16.1.0/24\"")
            });
        }
    }
}

/// Refuses IPv6 clients where `vpn.ipv6` says that there are none.
fn check_ipv6(policy: &Policy, file: &PolicyFile<'_>, out: &mut Collector<'_>) {
    if !policy.vpn.is_without(Family::V6) {
        return;
    }
    let clients = List::of_clients(policy);
    for (prefix, span) in clients.matching(file, |prefix| prefix.addr().is_ipv6()) {
        let message = format!("client subnet {prefix} is IPv6, and `vpn.ipv6` is \"none\"");
        let label = out.text.label(span, "IPv6");
        let problem = Diagnostic::error(Code::FamilyContradiction, message).with_label(label);
        out.add(problem.with_help("take the prefix out, or `ipv6`"));
    }
}

fn check_corporate(policy: &Policy, file: &PolicyFile<'_>, scope: &Scope, out: &mut Collector<'_>) {
    let place = Place {
        section: &corporate::SECTION,
        position: 0,
        key: &corporate::SUBNETS,
        item: usize::MAX,
    };
    let span = file.span(place);
    if policy.corporate.subnets.is_empty() {
        let message = "no corporate subnets: media to offices is not dropped, only servers and media between clients";
        let mut problem = Diagnostic::warning(Code::NoCorporate, message);
        if !span.is_empty() {
            problem = problem.with_label(out.text.label(span, ""));
        }
        out.add(
            problem.with_help(
                "write the internal prefixes, e.g. [corporate] subnets = [\"10.0.0.0/8\"]",
            ),
        );
        return;
    }
    for family in Family::BOTH {
        if policy.vpn.is_without(family) {
            continue;
        }
        let (clients, corporate) = (family.is_in(&scope.clients), family.is_in(&scope.corporate));
        let family = family.name();
        let (message, (section, key)) = match (clients, corporate) {
            (true, false) => (
                format!(
                    "clients have {family} addresses, but no corporate prefix is {family}: media over it is not dropped"
                ),
                (&corporate::SECTION, &corporate::SUBNETS),
            ),
            (false, true) => (
                format!(
                    "corporate prefixes are {family}, but no client subnet is: {family} from clients is not judged"
                ),
                (&vpn::SECTION, &vpn::CLIENT_SUBNETS),
            ),
            (true, true) | (false, false) => continue,
        };
        let span = file.span(Place {
            section,
            key,
            ..place
        });
        let label = out.text.label(span, format!("no {family} here"));
        let problem = Diagnostic::warning(Code::FamilyMissing, message).with_label(label);
        let intent = match (family, clients) {
            ("IPv6", false) => {
                "; where clients get no IPv6 on purpose, write ipv6 = \"none\" in [vpn]"
            }
            _ => "",
        };
        out.add(problem.with_help(format!("add the {family} prefixes{intent}")));
    }
}

fn check_public(
    name: &str,
    list: &List<'_>,
    file: &PolicyFile<'_>,
    scope: &Scope,
    out: &mut Collector<'_>,
) {
    let both = list.matching(file, |prefix| scope.servers.overlaps(prefix));
    if !both.is_empty() {
        let message = format!(
            "public service \"{name}\" has addresses of a [[server]]: {}",
            names(&both)
        );
        let mut problem = Diagnostic::warning(Code::ServerAndPublic, message);
        problem.labels = labels(&both, "also a server", out);
        out.add(
            problem.with_help(
                "public comes first, so these are forwarded; keep them in one of the two",
            ),
        );
    }
    let special = list.matching(file, |prefix| special::unreachable(prefix).is_some());
    if !special.is_empty() {
        let message = format!(
            "public service \"{name}\" has addresses that are not on the Internet: {}",
            names(&special)
        );
        let mut problem = Diagnostic::warning(Code::PublicIsPrivate, message);
        let shown = special.iter().take(SHOWN);
        let shown = shown.filter_map(|(prefix, span)| {
            let row = special::unreachable(*prefix)?;
            let text = format!("{} ({})", row.name, row.source);
            Some(out.text.label(span.clone(), text))
        });
        problem.labels = shown.collect();
        out.add(problem.with_help(
            "behind NAT the translated, public address counts: clients reach it outside the tunnel",
        ));
    }
    let clients = list.matching(file, |prefix| scope.clients.overlaps(prefix));
    if !clients.is_empty() {
        let message = format!(
            "public service \"{name}\" has addresses of VPN clients: {}",
            names(&clients)
        );
        let mut problem = Diagnostic::warning(Code::ClientAndPublic, message);
        problem.labels = labels(&clients, "also in client_subnets", out);
        out.add(
            problem.with_help("public comes first, so media between these clients is forwarded"),
        );
    }
}

fn check_allow(
    allow: &Allow,
    position: usize,
    policy: &Policy,
    file: &PolicyFile<'_>,
    scope: &Scope,
    out: &mut Collector<'_>,
) {
    let list = List {
        section: &allow::SECTION,
        position,
        key: &allow::TO,
        entries: &allow.to,
    };
    let name = &allow.name.value;
    for idle in Idle::ALL {
        let found = list.matching(file, |entry| scope.idle(allow, entry, policy) == Some(idle));
        if !found.is_empty() {
            let (why, help) = idle.explain();
            let message = format!(
                "[[allow]] \"{name}\" does nothing for {}: {why}",
                names(&found)
            );
            let mut problem = Diagnostic::warning(Code::AllowWithoutEffect, message);
            problem.labels = labels(&found, "no effect", out);
            out.add(problem.with_help(help));
        }
    }
    let ports_in_scope = allow.ports.is_empty()
        || allow.ports.iter().any(|ports| {
            let mut media = policy.media.ports.iter();
            media.any(|media| intersect(media.value, ports.value))
        });
    if allow.lifts.media && !allow.lifts.servers && !ports_in_scope {
        let span = file.span(Place {
            key: &allow::PORTS,
            item: usize::MAX,
            ..list.place(0)
        });
        let message =
            format!("[[allow]] \"{name}\" does nothing: its ports are none of `media.ports`");
        let label = out.text.label(span, "not dropped anyway");
        let problem = Diagnostic::warning(Code::AllowWithoutEffect, message).with_label(label);
        out.add(
            problem.with_help(
                "ports outside `media.ports` are forwarded; only a [[server]] drops them",
            ),
        );
    }
    if allow.lifts.media && ports_in_scope {
        check_beyond_clients(allow, &list, policy, file, out);
    }
}

/// Entries that have addresses of clients and others: media between those clients is not lifted by them.
fn check_beyond_clients(
    allow: &Allow,
    list: &List<'_, Destination>,
    policy: &Policy,
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) {
    let clients = policy.vpn.client_addresses();
    let set = |prefixes: &[Sourced<IpNet>]| -> PrefixSet {
        prefixes.iter().map(|prefix| prefix.value).collect()
    };
    let servers = policy.servers.iter().map(|server| &server.addresses);
    let publics = policy.publics.iter().map(|public| &public.addresses);
    let between_clients = allow.prefixes_between_clients(&policy.vpn, &clients);
    let between_clients: PrefixSet = between_clients.map(|prefix| prefix.value).collect();
    // Where a server or a public service decides, media is not asked for.
    let hairpin = servers
        .chain(publics)
        .fold(clients.clone(), |left, them| left.subtract(&set(them)));
    let hairpin = hairpin.subtract(&between_clients);
    let reaches_beyond = |entry| match entry {
        Destination::Prefix(prefix) => hairpin.overlaps(prefix) && !clients.covers(prefix),
        Destination::Clients => false,
    };
    let found = list.matching(file, reaches_beyond);
    if found.is_empty() {
        return;
    }
    let entries = found.iter().filter_map(|(entry, _)| match entry {
        Destination::Prefix(prefix) => Some(*prefix),
        Destination::Clients => None,
    });
    let kept = hairpin.intersect(&entries.collect());
    let message = format!(
        "[[allow]] \"{}\" does not lift media to the clients at {}: {} reaches beyond `vpn.client_subnets`",
        allow.name.value,
        first_of(kept.prefixes()),
        names(&found),
    );
    let mut problem = Diagnostic::warning(Code::AllowBeyondClients, message);
    problem.labels = labels(&found, "clients and others", out);
    let written = allow.to.iter().map(|entry| format!("\"{}\"", entry.value));
    let mut written: Vec<_> = written.take(SHOWN + 1).collect();
    let instead = if written.len() > SHOWN {
        "add \"clients\" to its `to`".to_owned()
    } else {
        written.push(format!("\"{}\"", Destination::CLIENTS));
        format!("write to = [{}]", written.join(", "))
    };
    out.add(problem.with_help(format!(
        "such media is dropped as `hairpin`: between clients only \"clients\" and prefixes inside \
         `vpn.client_subnets` count; {instead} to lift it"
    )));
}

/// The first few of `prefixes`, and how many more there are.
fn first_of(prefixes: impl Iterator<Item = IpNet>) -> String {
    let all: Vec<_> = prefixes.map(|prefix| (prefix, 0..0)).collect();
    names(&all)
}

/// Why an `[[allow]]` changes no verdict for a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Idle {
    /// Order 4 decides before it.
    Public,
    /// Order 5 decides before it, and it lifts only order 6.
    Server,
    /// No rule that it lifts would drop the traffic.
    OutOfReach,
}

impl Idle {
    const ALL: [Self; 3] = [Self::Public, Self::Server, Self::OutOfReach];

    const fn explain(self) -> (&'static str, &'static str) {
        match self {
            Self::Public => (
                "a [[public]] service has it",
                "public services are forwarded before any [[allow]] is asked",
            ),
            Self::Server => (
                "a [[server]] has it, and this does not lift servers",
                "write lifts = [\"media\", \"servers\"] to let clients reach the server",
            ),
            Self::OutOfReach => (
                "none of the rules it lifts reaches there",
                "such traffic is forwarded without it: check the prefix, or take it out of the rule",
            ),
        }
    }
}

impl Scope {
    /// Why `entry` of `allow` changes no verdict: the same for all of its prefixes, or for the first of them.
    fn idle(&self, allow: &Allow, entry: Destination, policy: &Policy) -> Option<Idle> {
        let entry = Sourced {
            value: entry,
            line: 0,
        };
        let prefixes = entry.prefixes(&policy.vpn);
        let reasons: Option<Vec<Idle>> = prefixes
            .map(|prefix| self.idle_prefix(allow, prefix.value))
            .collect();
        reasons?.first().copied()
    }

    fn idle_prefix(&self, allow: &Allow, prefix: IpNet) -> Option<Idle> {
        let internal = self.corporate.overlaps(prefix) || self.clients.overlaps(prefix);
        let lifts = allow.lifts;
        if self.publics.covers(prefix) {
            Some(Idle::Public)
        } else if !lifts.servers && self.servers.covers(prefix) {
            Some(Idle::Server)
        } else if (lifts.media && internal) || (lifts.servers && self.servers.overlaps(prefix)) {
            None
        } else {
            Some(Idle::OutOfReach)
        }
    }
}

const fn intersect(left: PortRange, right: PortRange) -> bool {
    left.first() <= right.last() && right.first() <= left.last()
}

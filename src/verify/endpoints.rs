//! Checks that the clients' own rules block nothing that the gateway lets pass, and hold for every client.

use std::net::IpAddr;

use super::subject::{Subject, first, of, set, some};
use super::{Finding, FindingCode, Part};
use crate::address::PrefixSet;
use crate::packet::Protocol;
use crate::plan::{EndpointRule, EndpointRules};
use crate::policy::{Allow, Claim, Endpoint, LeakedPublic};
use crate::verdict::{Action, Reason};

pub(super) fn check(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let rules = EndpointRules::of(subject.policy).rules;
    for endpoint in &subject.policy.endpoints {
        let own: Vec<&EndpointRule> = rules
            .iter()
            .filter(|rule| rule.endpoint == endpoint.name.value)
            .collect();
        clients(subject, endpoint, &own, found);
        public(subject, endpoint, &own, found);
        allows(subject, endpoint, &own, found);
        expectations(subject, endpoint, &own, found);
    }
}

/// Reports clients whose addresses `local` leaves out: nothing is blocked for them.
fn clients(
    subject: &Subject<'_>,
    endpoint: &Endpoint,
    rules: &[&EndpointRule],
    found: &mut Vec<Finding>,
) {
    let Some(rule) = rules.first() else {
        return;
    };
    let missing = subject.clients.subtract(&rule.local);
    if missing.is_empty() {
        return;
    }
    let what = format!(
        "[[endpoint]] \"{}\" does nothing for clients at {}",
        endpoint.name.value,
        some(&missing)
    );
    found.push(
        Finding::warning(FindingCode::Leak, what)
            .at(endpoint.local.first().map_or(0, |it| it.line))
            .because(
                Part::Endpoints,
                format!("rules hold at {} alone", some(&rule.local)),
            )
            .because(Part::Filter, "these addresses are clients'")
            .remedy("leave `local` out, for all of vpn.client_subnets, or add them"),
    );
}

/// Reports a public service that is blocked on the client, and that the gateway forwards.
fn public(
    subject: &Subject<'_>,
    endpoint: &Endpoint,
    rules: &[&EndpointRule],
    found: &mut Vec<Finding>,
) {
    let leaked = endpoint.leaked_public.map(|it| it.value);
    if leaked.unwrap_or(subject.policy.filter.leaked_public) == LeakedPublic::Drop {
        return;
    }
    let all = rules.iter().map(|rule| &rule.remote);
    let remote = all.fold(PrefixSet::EMPTY, |all, it| all.union(it));
    let both = remote.intersect(&subject.public);
    let Some((public, source)) = subject.published(&both) else {
        return;
    };
    let what = format!(
        "[[endpoint]] \"{}\" blocks {} of the public \"{}\" at the tunnel address",
        endpoint.name.value,
        some(&both),
        public.name
    );
    found.push(
        Finding::warning(FindingCode::Collateral, what)
            .at(endpoint.remote.first().map_or(0, |it| it.line))
            .at(source.line)
            .because(Part::Endpoints, "it is blocked where it enters the tunnel")
            .because(Part::Filter, "it is forwarded as public, and counted as a leak")
            .remedy(
                "take it out of `remote`; where it shall be blocked on purpose, write leaked_public = \"drop\"",
            ),
    );
}

/// Reports an `[[allow]]` whose traffic the gateway forwards and the client blocks.
fn allows(
    subject: &Subject<'_>,
    endpoint: &Endpoint,
    rules: &[&EndpointRule],
    found: &mut Vec<Finding>,
) {
    for allow in &subject.policy.allows {
        let Some((to, protocol, from, port)) = sample(subject, allow) else {
            continue;
        };
        if blocks(rules, to, protocol, from, port) {
            let at = format!("{} port {port} of {to}", name(protocol));
            found.push(disagreement(endpoint, &at, allow.name.line).remedy(format!(
                "take {to} out of `remote` of the endpoint, or the [[allow]] out of the policy"
            )));
        }
    }
}

/// Reports a `[[test]]` of a packet that an `[[allow]]` lets pass and the client blocks.
fn expectations(
    subject: &Subject<'_>,
    endpoint: &Endpoint,
    rules: &[&EndpointRule],
    found: &mut Vec<Finding>,
) {
    for test in &subject.policy.tests {
        let Claim::Packet {
            from,
            to,
            protocol,
            payload,
            ..
        } = &test.claim
        else {
            continue;
        };
        let Some(protocol) = *protocol else {
            continue;
        };
        let answer = subject
            .compiled
            .explain_exactly(*from, *to, Some(protocol), *payload);
        let is_allowed = answer.is_some_and(|it| it.verdict.reason == Reason::Allow);
        let is_local = rules.iter().any(|rule| rule.local.contains(from.ip()));
        if is_allowed && is_local && blocks(rules, to.ip(), protocol, from.port(), to.port()) {
            let at = format!("{} port {} of {}", name(protocol), to.port(), to.ip());
            found.push(disagreement(endpoint, &at, test.line).remedy(
                "take the address out of `remote` of the endpoint, or the [[allow]] out of the policy",
            ));
        }
    }
}

fn disagreement(endpoint: &Endpoint, at: &str, line: u32) -> Finding {
    let what = format!(
        "[[endpoint]] \"{}\" blocks {at} on the client, and the gateway forwards it",
        endpoint.name.value
    );
    Finding::warning(FindingCode::Collateral, what)
        .at(endpoint.name.line)
        .at(line)
        .because(
            Part::Endpoints,
            "a block rule wins over every allow rule of Windows Firewall",
        )
        .because(Part::Filter, "it is forwarded as allow")
}

/// Returns a packet that the gateway forwards by this `[[allow]]`: destination, protocol, source port and port.
fn sample(subject: &Subject<'_>, allow: &Allow) -> Option<(IpAddr, Protocol, u16, u16)> {
    let port = allow
        .ports
        .first()
        .map_or(SAMPLE_PORT, |it| it.value.last());
    let from = allow
        .from_ports
        .first()
        .map_or(SAMPLE_PORT, |it| it.value.last());
    let prefixes = allow.prefixes(&subject.policy.vpn);
    let mut samples = prefixes.flat_map(|prefix| {
        let protocols = [Protocol::Tcp, Protocol::Udp].into_iter();
        let protocols = protocols.filter(|it| allow.protocols.contains(*it));
        let to = first(&of(prefix.value).subtract(&subject.public));
        to.into_iter()
            .flat_map(move |to| protocols.clone().map(move |protocol| (to, protocol)))
    });
    let clients = set(&subject.policy.vpn.client_subnets);
    let (to, protocol) = samples.find(|(to, protocol)| {
        let mut clients = clients.prefixes().map(|it| it.addr());
        let client = clients.find(|it| it.is_ipv4() == to.is_ipv4());
        let answer = client.and_then(|client| {
            subject.compiled.explain_exactly(
                (client, from).into(),
                (*to, port).into(),
                Some(*protocol),
                crate::packet::media::Payload::Other,
            )
        });
        answer.is_some_and(|it| {
            it.verdict.action == Action::Forward && it.verdict.reason == Reason::Allow
        })
    })?;
    Some((to, protocol, from, port))
}

const fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

fn blocks(rules: &[&EndpointRule], to: IpAddr, protocol: Protocol, from: u16, port: u16) -> bool {
    rules
        .iter()
        .any(|rule| rule.remote.contains(to) && rule.traffic.matches(protocol, from, port))
}

/// A port of media, for an `[[allow]]` that names none.
const SAMPLE_PORT: u16 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{CompiledPolicy, Generation};
    use crate::plan::{RoutePlan, Zones};

    /// Returns what is found about endpoints.
    fn found(text: &str) -> Vec<String> {
        let text = format!(
            "[vpn]\nclient_subnets = [\"10.99.0.0/22\"]\n[corporate]\nsubnets = [\"192.168.0.0/16\"]\n\
             [[public]]\nname = \"Edge\"\naddresses = [\"198.51.100.0/24\"]\n{text}"
        );
        let (policy, _) = crate::policy::parse("site.toml", text.as_bytes())
            .unwrap_or_else(|errors| panic!("{errors}"));
        let (plan, zones) = (RoutePlan::new(&policy), Zones::of(&policy));
        let compiled = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        let mut found = Vec::new();
        check(&Subject::new(&compiled, &plan, &zones), &mut found);
        found.into_iter().map(|it| it.what).collect()
    }

    const PROXY: &str = "[[allow]]\nname = \"proxy\"\nto = [\"192.168.5.5\"]\nprotocols = [\"tcp\"]\nports = [\"8080\"]\n\
                         [[test]]\nname = \"proxy\"\nfrom = \"10.99.0.10:51000\"\nto = \"192.168.5.5:8080\"\nprotocol = \"tcp\"\nexpect = \"forward allow\"\n";

    #[test]
    fn rules_that_honor_the_exceptions_agree_with_the_gateway() {
        let endpoint = "[[endpoint]]\nname = \"Teams\"\nproduct = \"teams\"\n";
        assert_eq!(found(&format!("{PROXY}{endpoint}")), [] as [&str; 0]);
    }

    #[test]
    fn a_rule_without_the_exception_is_found_by_its_allow_and_by_its_test() {
        let text = format!(
            "[vpn]\nclient_subnets = [\"10.99.0.0/22\"]\n[corporate]\nsubnets = [\"192.168.0.0/16\"]\n\
             {PROXY}[[endpoint]]\nname = \"Teams\"\nproduct = \"teams\"\n"
        );
        let (policy, _) = crate::policy::parse("site.toml", text.as_bytes()).expect("a policy");
        // Rules of the same endpoint in a policy that has no exception.
        let mut without = policy.clone();
        without.allows.clear();
        let rules = EndpointRules::of(&without).rules;
        let rules: Vec<&EndpointRule> = rules.iter().collect();
        let endpoint = policy.endpoints[0].clone();
        let (plan, zones) = (RoutePlan::new(&policy), Zones::of(&policy));
        let compiled = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        let subject = Subject::new(&compiled, &plan, &zones);
        let mut found = Vec::new();
        allows(&subject, &endpoint, &rules, &mut found);
        expectations(&subject, &endpoint, &rules, &mut found);
        let found: Vec<String> = found.into_iter().map(|it| it.what).collect();
        let expected = "[[endpoint]] \"Teams\" blocks TCP port 8080 of 192.168.5.5 on the client, and the gateway forwards it";
        assert_eq!(found, [expected, expected]);
    }

    #[test]
    fn a_public_service_among_the_blocked_addresses_is_found_unless_it_is_meant() {
        let endpoint =
            "[[endpoint]]\nname = \"Teams\"\nproduct = \"teams\"\nremote = [\"198.51.100.0/25\"]\n";
        let found_of = found(endpoint);
        assert_eq!(
            found_of,
            [
                "[[endpoint]] \"Teams\" blocks 198.51.100.0/25 of the public \"Edge\" at the tunnel address"
            ]
        );
        let meant = format!("{endpoint}leaked_public = \"drop\"\n");
        assert_eq!(found(&meant), [] as [&str; 0]);
    }

    #[test]
    fn clients_for_whom_no_rule_holds_are_found() {
        let endpoint =
            "[[endpoint]]\nname = \"Teams\"\nproduct = \"teams\"\nlocal = [\"10.99.0.0/23\"]\n";
        assert_eq!(
            found(endpoint),
            ["[[endpoint]] \"Teams\" does nothing for clients at 10.99.2.0/23"]
        );
    }
}

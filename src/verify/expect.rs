//! Checks the `[[test]]` entries of a policy.
//!
//! The filter judges packets, the zones answer names, and the routes place addresses: the same code that serves
//! clients.

use std::fmt;
use std::net::IpAddr;

use crate::filter::CompiledPolicy;
use crate::name::DnsName;
use crate::plan::{Answer, RoutePlan, Zones};
use crate::policy::{Claim, Expectation, Expected, ExpectedAnswer, Policy};
use crate::verdict::Verdict;

/// A `[[test]]` that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenExpectation<'a> {
    /// The test.
    pub test: &'a Expectation,
    /// The actual outcome.
    pub outcome: ActualOutcome,
    /// The part of the policy that causes the outcome.
    pub because: String,
}

/// The actual outcome of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActualOutcome {
    /// The packet gets this verdict.
    Verdict(Verdict),
    /// Clients get this answer, in the syntax of the tests.
    Answer(ExpectedAnswer),
    /// The address is inside the tunnel (`true`) or outside (`false`).
    Inside(bool),
}

impl fmt::Display for ActualOutcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict(verdict) => verdict.fmt(out),
            Self::Answer(answer) => answer.fmt(out),
            Self::Inside(true) => out.write_str("inside the tunnel"),
            Self::Inside(false) => out.write_str("outside the tunnel"),
        }
    }
}

/// Returns the failing `[[test]]` entries of the policy, in file order.
pub fn broken_expectations(compiled: &CompiledPolicy) -> Vec<BrokenExpectation<'_>> {
    let policy = compiled.policy();
    // Tests of packets need neither.
    let (mut zones, mut routes) = (None, None);
    let broken = policy.tests.iter().filter_map(|test| {
        let (outcome, because) = match &test.claim {
            Claim::Packet { .. } => broken_packet(compiled, &test.claim)?,
            Claim::Name {
                lookup,
                record_type,
                expect,
            } => {
                let zones = zones.get_or_insert_with(|| Zones::of(policy));
                broken_name(zones, lookup, record_type.number(), expect)?
            }
            Claim::Route { to, inside } => {
                let routes = routes.get_or_insert_with(|| RoutePlan::new(policy));
                broken_route(policy, routes, *to, *inside)?
            }
        };
        Some(BrokenExpectation {
            test,
            outcome,
            because,
        })
    });
    broken.collect()
}

fn broken_packet(compiled: &CompiledPolicy, claim: &Claim) -> Option<(ActualOutcome, String)> {
    let Claim::Packet {
        from,
        to,
        protocol,
        payload,
        expect: Expected { action, reason },
    } = claim
    else {
        return None;
    };
    let answer = compiled.explain_exactly(*from, *to, *protocol, *payload)?;
    let verdict = answer.verdict;
    if verdict.action == *action && reason.is_none_or(|reason| reason == verdict.reason) {
        return None;
    }
    let because = match (&answer.matched, answer.rule) {
        (Some(matched), _) => format!(
            "{} {} in line {}",
            matched.set, matched.prefix, matched.line
        ),
        (None, Some(rule)) => format!("rule \"{}\"", rule.name),
        (None, None) => NOTHING.to_owned(),
    };
    Some((ActualOutcome::Verdict(verdict), because))
}

fn broken_name(
    zones: &Zones,
    lookup: &str,
    record_type: u16,
    expect: &ExpectedAnswer,
) -> Option<(ActualOutcome, String)> {
    // The policy reader has already validated its labels.
    let name: DnsName = lookup.parse().ok()?;
    let answer = zones.answer(&name, record_type);
    let happens = match &answer {
        Answer::Records { .. } => ExpectedAnswer::Resolves(answer.data()),
        Answer::NoData { .. } => ExpectedAnswer::NoData,
        Answer::NxDomain { .. } => ExpectedAnswer::Hidden,
        Answer::Forward => ExpectedAnswer::Forwarded,
    };
    let holds = match (expect, &happens) {
        (ExpectedAnswer::Resolves(wanted), ExpectedAnswer::Resolves(got)) => {
            wanted.is_empty() || sorted(wanted) == sorted(got)
        }
        (expect, happens) => expect == happens,
    };
    if holds {
        return None;
    }
    let sources = answer.owner().map_or(&[][..], |owner| &owner.sources);
    let because: Vec<String> = sources
        .iter()
        .map(|source| match source.line {
            0 => format!("{}, by default", source.kind),
            line => format!("{} in line {line}", source.kind),
        })
        .collect();
    let because = match because.is_empty() {
        true => NOTHING.to_owned(),
        false => because.join(", "),
    };
    Some((ActualOutcome::Answer(happens), because))
}

fn sorted(data: &[String]) -> Vec<&String> {
    let mut data: Vec<_> = data.iter().collect();
    data.sort_unstable();
    data.dedup();
    data
}

fn broken_route(
    policy: &Policy,
    routes: &RoutePlan,
    to: IpAddr,
    inside: bool,
) -> Option<(ActualOutcome, String)> {
    let happens = routes.tunnel.contains(to);
    if happens == inside {
        return None;
    }
    Some((
        ActualOutcome::Inside(happens),
        why_there(policy, routes, to),
    ))
}

/// Returns the reason why `to` is inside or outside the tunnel: see [`super::RoutePlan`].
fn why_there(policy: &Policy, routes: &RoutePlan, to: IpAddr) -> String {
    if !routes.families.contains(to) {
        let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
        return format!(
            "vpn.client_subnets has no {family}: nothing of it is routed into the tunnel"
        );
    }
    let holding = routes
        .sources
        .iter()
        .filter(|source| source.prefix.contains(&to));
    // An equally specific prefix that is not public wins.
    let decides = holding.max_by_key(|source| {
        let is_address = source.prefix.prefix_len() == source.prefix.max_prefix_len();
        let fixed = is_address && source.kind.is_fixed();
        (fixed, source.prefix.prefix_len(), !source.kind.is_public())
    });
    decides.map_or_else(
        || match policy.routes.tunnel {
            crate::policy::TunnelMode::Full => "routes.tunnel is \"full\"".to_owned(),
            crate::policy::TunnelMode::Split => NOTHING.to_owned(),
        },
        |source| format!("{} {} in line {}", source.kind, source.prefix, source.line),
    )
}

const NOTHING: &str = "no rule applies";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Generation;

    const POLICY: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8", "167.55.0.0/16"]
dns_servers = ["192.0.2.53"]
[[server]]
name = "Front End pool"
addresses = ["10.1.0.0/28"]
hosts = ["pool01.contoso.com"]
[[public]]
name = "Access Edge"
addresses = ["167.55.49.32/32"]
hosts = ["sip.contoso.com"]
srv = [{ name = "_sip._tls.contoso.com", target = "sip.contoso.com", port = 443 }]
[dns]
sip_domains = ["contoso.com"]
[routes]
gateways = ["167.55.49.1"]
"#;

    /// Returns the failure of a test with these lines: expectation, outcome and reason.
    fn broken(lines: &str) -> Option<String> {
        let text = format!(
            "{POLICY}[[test]]\nname = \"it\"\n{}",
            lines.replace("; ", "\n")
        );
        let (policy, _) = crate::policy::parse("test.toml", text.as_bytes())
            .unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
        let compiled = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        let broken = broken_expectations(&compiled);
        let [broken] = &broken[..] else {
            return None;
        };
        Some(format!(
            "{} | {} | {}",
            broken.test.claim.expected(),
            broken.outcome,
            broken.because
        ))
    }

    #[test]
    fn what_holds_is_not_reported() {
        for lines in [
            r#"from = "172.16.1.10"; to = "10.1.0.10:5061"; protocol = "tcp"; expect = "drop servers""#,
            r#"lookup = "sip.contoso.com"; expect = "resolves""#,
            r#"lookup = "SIP.contoso.com"; type = "A"; expect = "resolves  167.55.49.32""#,
            r#"lookup = "sip.contoso.com"; type = "HTTPS"; expect = "no data""#,
            r#"lookup = "_sip._tls.contoso.com"; type = "SRV"; expect = "resolves 0 0 443 SIP.contoso.com""#,
            r#"lookup = "_sipinternaltls._tcp.contoso.com"; type = "SRV"; expect = "hidden""#,
            r#"lookup = "www.contoso.com"; expect = "forwarded""#,
            r#"to = "167.55.49.32"; expect = "outside the tunnel""#,
            r#"to = "167.55.49.33"; expect = "inside""#,
            r#"to = "198.51.100.1"; expect = "outside""#,
        ] {
            assert_eq!(broken(lines), None, "{lines}");
        }
    }

    #[test]
    fn what_does_not_hold_is_told_with_what_happens_and_why() {
        for (lines, told) in [
            (
                r#"from = "172.16.1.10"; to = "10.2.0.1:50000"; protocol = "udp"; expect = "forward""#,
                "forward | drop media | corporate.subnets 10.0.0.0/8 in line 5",
            ),
            (
                r#"lookup = "sip.contoso.com"; expect = "resolves 167.55.49.33""#,
                "resolves 167.55.49.33 | resolves 167.55.49.32 | hosts of [[public]] \"Access Edge\" in line 14",
            ),
            (
                r#"lookup = "sip.contoso.com"; type = "AAAA"; expect = "resolves""#,
                "resolves | no data | hosts of [[public]] \"Access Edge\" in line 14",
            ),
            (
                r#"lookup = "pool01.contoso.com"; expect = "forwarded""#,
                "forwarded | hidden | hosts of [[server]] \"Front End pool\" in line 10",
            ),
            (
                r#"lookup = "www.contoso.com"; expect = "hidden""#,
                "hidden | forwarded | no rule applies",
            ),
            (
                r#"to = "167.55.49.32"; expect = "inside the tunnel""#,
                "inside the tunnel | outside the tunnel | Access Edge 167.55.49.32/32 in line 13",
            ),
            (
                r#"to = "167.55.49.33"; expect = "outside the tunnel""#,
                "outside the tunnel | inside the tunnel | corporate 167.55.0.0/16 in line 5",
            ),
            (
                r#"to = "167.55.49.1"; expect = "inside""#,
                "inside the tunnel | outside the tunnel | VPN gateway 167.55.49.1/32 in line 19",
            ),
            (
                r#"to = "192.0.2.53"; expect = "outside""#,
                "outside the tunnel | inside the tunnel | DNS server 192.0.2.53/32 in line 6",
            ),
            (
                r#"to = "198.51.100.1"; expect = "inside""#,
                "inside the tunnel | outside the tunnel | no rule applies",
            ),
            (
                r#"to = "2001:db8::1"; expect = "inside""#,
                "inside the tunnel | outside the tunnel | vpn.client_subnets has no IPv6: nothing of it is routed into the tunnel",
            ),
        ] {
            assert_eq!(broken(lines).as_deref(), Some(told), "{lines}");
        }
    }
}

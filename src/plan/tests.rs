//! Tests of the plan against the rule for one address, and of its remarks.

use std::net::IpAddr;

use proptest::prelude::*;

use super::{RoutePlan, enters_tunnel};
use crate::address::PrefixSet;
use crate::address::set::reference::edges;
use crate::filter::strategy;
use crate::filter::{CompiledPolicy, Generation, Question};
use crate::packet::media::Payload;
use crate::policy::{self, Code, Policy, Protocol, Remark, Sourced, TunnelMode};
use crate::verdict::Reason;

fn parsed(text: &str) -> Policy {
    let (policy, _) = policy::parse("plan.toml", text.as_bytes()).expect("a good policy");
    policy
}

fn plan(text: &str) -> RoutePlan {
    RoutePlan::new(&parsed(text))
}

fn excludes(plan: &RoutePlan) -> Vec<String> {
    plan.excludes
        .iter()
        .map(|entry| entry.prefix.to_string())
        .collect()
}

fn includes(plan: &RoutePlan) -> Vec<String> {
    plan.includes
        .iter()
        .map(|entry| entry.prefix.to_string())
        .collect()
}

fn codes(plan: &RoutePlan) -> Vec<Code> {
    plan.remarks.iter().map(Remark::code).collect()
}

const CONTOSO: &str = include_str!("../../config/contoso.toml");

const FULL: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[routes]
tunnel = "full"
gateways = ["203.0.113.10"]
[dns]
listen = ["172.16.1.1:53"]
[[public]]
name = "Edge"
addresses = ["167.55.49.32", "167.55.49.33", "167.55.49.34", "167.55.49.35", "167.55.49.36"]
"#;

#[test]
fn a_split_tunnel_of_the_article_pushes_two_prefixes_and_no_exclusion() {
    let plan = plan(CONTOSO);
    assert_eq!(includes(&plan), ["10.0.0.0/8", "172.16.1.0/24"]);
    assert_eq!(excludes(&plan), [""; 0]);
    assert_eq!(
        plan.unneeded.len(),
        5,
        "nothing that is pushed covers the five services"
    );
    assert_eq!(codes(&plan), []);
}

#[test]
fn the_five_addresses_of_the_article_are_two_exclusions_each_with_its_origin() {
    let plan = plan(FULL);
    assert_eq!(excludes(&plan), ["167.55.49.32/30", "167.55.49.36/32"]);
    assert_eq!(plan.excludes[0].sources.len(), 4);
    assert!(plan.excludes[0].is_aggregated(&plan.sources));
    assert!(!plan.excludes[1].is_aggregated(&plan.sources));
    let source = &plan.sources[plan.excludes[1].sources[0]];
    assert_eq!(
        (source.kind.to_string(), source.line),
        ("Edge".to_owned(), 13)
    );
    assert_eq!(codes(&plan), [Code::FamilyOutside]);
}

#[test]
fn a_gateway_is_outside_the_tunnel_and_no_exclusion_of_its_own() {
    let gateway: IpAddr = "203.0.113.10".parse().expect("an address");
    let plan = plan(FULL);
    assert!(!plan.tunnel.contains(gateway));
    assert!(!plan.excluded().contains(gateway));
    assert!(plan.included_but_gateways().contains(gateway));
    assert_eq!(plan.differs(&plan.included_but_gateways()), None);
    // Inside a public prefix, the gateway is part of it.
    let around = FULL.replace("\"167.55.49.36\"", "\"203.0.113.0/24\"");
    assert_eq!(
        excludes(&RoutePlan::new(&parsed(&around))),
        ["167.55.49.32/30", "203.0.113.0/24"]
    );
    // If the gateway is the whole public prefix, the client's own route is enough.
    let same = FULL.replace("\"167.55.49.36\"", "\"203.0.113.10\"");
    assert_eq!(
        excludes(&RoutePlan::new(&parsed(&same))),
        ["167.55.49.32/30"]
    );
}

#[test]
fn public_addresses_inside_a_corporate_prefix_leave_the_tunnel_and_it_is_said() {
    let text = FULL
        .replace("full", "split")
        .replace("10.0.0.0/8", "167.55.0.0/16");
    let plan = plan(&text);
    assert_eq!(excludes(&plan), ["167.55.49.32/30", "167.55.49.36/32"]);
    assert_eq!(codes(&plan), [Code::PublicInCorporate; 5]);
    assert!(
        !plan
            .tunnel
            .contains("167.55.49.34".parse().expect("an address"))
    );
}

#[test]
fn a_corporate_prefix_inside_a_public_one_stays_in_the_tunnel() {
    let plan = plan(&FULL.replace("\"167.55.49.36\"", "\"10.0.0.0/7\""));
    assert!(
        plan.tunnel
            .contains("10.1.2.3".parse().expect("an address"))
    );
    assert!(
        !plan
            .tunnel
            .contains("11.1.2.3".parse().expect("an address"))
    );
    assert!(codes(&plan).contains(&Code::InternalKept));
}

#[test]
fn a_dns_server_stays_in_the_tunnel_whatever_covers_it() {
    let text = FULL.replace("172.16.1.1:53", "167.55.49.34:53");
    let plan = plan(&text);
    assert!(
        plan.tunnel
            .contains("167.55.49.34".parse().expect("an address"))
    );
    assert!(codes(&plan).contains(&Code::DnsKept));
}

#[test]
fn a_server_among_the_public_addresses_is_an_error() {
    let text = format!(
        "{FULL}[[server]]\nname = \"Edge, internal interface\"\naddresses = [\"167.55.49.35\"]\n"
    );
    let plan = plan(&text);
    let error = plan.error().expect("the plan must not be used");
    assert_eq!(error.code(), Code::ServerOutsideTunnel);
    assert_eq!(error.lines(), [13, 16]);
}

#[test]
fn a_feed_that_is_not_loaded_is_an_error() {
    let text =
        format!("{FULL}[[feed]]\nname = \"Zoom\"\nformat = \"prefixes\"\nfile = \"zoom.txt\"\n");
    assert_eq!(
        plan(&text).error().map(Remark::code),
        Some(Code::FeedNotLoaded)
    );
    let mut policy = parsed(&text);
    policy.take_feed(0, b"3.7.35.0/25\n").expect("a good feed");
    let plan = RoutePlan::new(&policy);
    assert_eq!(plan.error(), None);
    let source = &plan.sources[plan.excludes[0].sources[0]];
    assert_eq!(source.kind.to_string(), "Zoom, line 1");
}

#[test]
fn widening_joins_neighbors_lists_what_it_adds_and_never_takes_internal_addresses() {
    let policy = parsed(FULL);
    let plan = RoutePlan::new(&policy);
    let count = |set: &PrefixSet| set.prefixes().count();
    let widening = plan.widen(&policy, 1, count).expect("two become one");
    assert_eq!(widening.excluded.to_string(), "167.55.49.32/29");
    assert_eq!(
        widening.extra.to_string(),
        "167.55.49.37/32, 167.55.49.38/31"
    );
    assert!(
        !plan
            .excluding(&widening.excluded)
            .tunnel
            .contains("167.55.49.39".parse().expect("an address"))
    );
    assert_eq!(
        plan.widen(&policy, 0, count).map_err(|error| error.least),
        Err(1)
    );
    let apart = parsed(&FULL.replace("\"167.55.49.36\"", "\"10.0.0.0/7\"")); // leaves 11.0.0.0/8
    let plan = RoutePlan::new(&apart);
    let widening = plan.widen(&apart, 1, count);
    assert_eq!(widening.map_err(|error| error.least), Err(2));
}

#[test]
fn widening_takes_nothing_in_between_that_the_policy_keeps_in_the_tunnel() {
    let edge = |rest: &str| {
        let text = FULL.replace(
            "\"167.55.49.32\", \"167.55.49.33\", \"167.55.49.34\", \"167.55.49.35\", \"167.55.49.36\"",
            "\"167.55.49.32\", \"167.55.49.34\"",
        );
        let policy = parsed(&(text + rest));
        let plan = RoutePlan::new(&policy);
        let widening = plan.widen(&policy, 1, |set| set.prefixes().count());
        widening.map(|it| it.excluded.to_string())
    };
    assert_eq!(edge(""), Ok("167.55.49.32/30".to_owned()));
    // The pair can be joined only by a prefix that has the address between them.
    let server = "[[server]]\nname = \"Edge, internal\"\naddresses = [\"167.55.49.33\"]\n";
    assert_eq!(edge(server).map_err(|error| error.least), Err(2));
}

#[test]
fn widening_joins_neighbors_of_ipv6_up_to_the_width_of_a_feed() {
    let widened = |addresses: &str| {
        let (head, _) = FULL.split_once("[[public]]").expect("a service");
        let head = head.replace("\"172.16.1.0/24\"", "\"fd00:1::/64\"");
        let policy = parsed(&format!(
            "{head}[[public]]\nname = \"Edge\"\naddresses = [{addresses}]\n"
        ));
        let plan = RoutePlan::new(&policy);
        let widening = plan.widen(&policy, 1, |set| set.prefixes().count());
        widening.map(|it| it.excluded.to_string())
    };
    // 0x32 and 0x35 have all but three bits in common.
    assert_eq!(
        widened("\"2001:db8:ed9e::32\", \"2001:db8:ed9e::35\""),
        Ok("2001:db8:ed9e::30/125".to_owned())
    );
    assert_eq!(
        widened("\"2603::1\", \"2603:8000::1\""),
        Ok("2603::/16".to_owned())
    );
    let apart = widened("\"2602::1\", \"2603::1\"");
    assert_eq!(apart.map_err(|error| error.least), Err(2));
}

#[test]
fn a_widened_plan_names_the_internal_sources_of_what_it_includes() {
    let policy = parsed(
        &FULL
            .replace("full", "split")
            .replace("10.0.0.0/8", "167.55.0.0/16"),
    );
    let plan = RoutePlan::new(&policy);
    let widened = plan.excluding(&PrefixSet::from_iter(["167.55.49.0/24"
        .parse::<ipnet::IpNet>()
        .expect("a prefix")]));
    assert!(
        !widened
            .tunnel
            .contains("167.55.49.200".parse().expect("an address"))
    );
    for entry in &widened.includes {
        let internal = |&at: &usize| !widened.sources[at].kind.is_public();
        assert!(!entry.sources.is_empty(), "{}", entry.prefix);
        assert!(entry.sources.iter().all(internal), "{}", entry.prefix);
    }
    for entry in &widened.excludes {
        let public = |&at: &usize| widened.sources[at].kind.is_public();
        assert!(entry.sources.iter().all(public), "{}", entry.prefix);
    }
}

#[test]
fn a_file_in_use_differs_by_what_is_missing_or_too_much() {
    let plan = plan(FULL);
    let net = |text: &str| PrefixSet::from_iter([text.parse::<ipnet::IpNet>().expect("a prefix")]);
    let difference = |tunnel: PrefixSet| {
        let difference = plan.differs(&tunnel)?;
        Some((
            difference.missing.to_string(),
            difference.surplus.to_string(),
        ))
    };
    let said = |missing: &str, surplus: &str| Some((missing.to_owned(), surplus.to_owned()));
    let part = net("10.1.0.0/16");
    assert_eq!(
        difference(plan.tunnel.subtract(&part)),
        said("10.1.0.0/16", "")
    );
    let public = net("167.55.49.32/30");
    assert_eq!(
        difference(plan.tunnel.union(&public)),
        said("", "167.55.49.32/30")
    );
    // The client's own route to the gateway decides, and no client has IPv6.
    let gateway = net("203.0.113.10/32").union(&PrefixSet::all_v6());
    assert_eq!(difference(plan.tunnel.union(&gateway)), None);
}

#[test]
fn the_pin_point_server_enters_the_tunnel_unless_it_listens_everywhere() {
    for (listen, expected) in [("167.55.49.34", true), ("0.0.0.0", false)] {
        let policy = parsed(&FULL.replace("full", "split").replace("172.16.1.1", listen));
        let address = listen.parse().expect("an address");
        let plan = RoutePlan::new(&policy);
        assert_eq!(enters_tunnel(&policy, address), expected, "{listen}");
        assert_eq!(plan.tunnel.contains(address), expected, "{listen}");
        assert!(!enters_tunnel(
            &policy,
            "167.55.49.35".parse().expect("an address")
        ));
    }
}

#[test]
fn a_full_tunnel_says_which_family_it_leaves_out() {
    let said = |subnets: &str| -> Vec<String> {
        let plan = plan(&FULL.replace("\"172.16.1.0/24\"", subnets));
        let remarks = plan.remarks.iter();
        remarks.map(|it| it.message().to_owned()).collect()
    };
    assert_eq!(said("\"172.16.1.0/24\", \"fd00:1::/64\""), [""; 0]);
    assert!(said("\"172.16.1.0/24\"")[0].contains("no IPv6 addresses"));
    assert!(said("\"fd00:1::/64\"")[0].contains("no IPv4 addresses"));
}

#[test]
fn gateways_and_dns_servers_are_where_they_are_whatever_the_subnets_say() {
    let text = FULL.replace("[routes]", "dns_servers = [\"10.0.0.53\"]\n[routes]")
        + "[[feed]]\nname = \"Zoom\"\nformat = \"prefixes\"\nfile = \"zoom.txt\"\n";
    let mut policy = parsed(&text);
    policy.take_feed(0, b"3.7.35.0/25\n").expect("a good feed");
    let plan = RoutePlan::new(&policy);
    let mut kinds: Vec<(&str, bool)> = plan
        .sources
        .iter()
        .map(|source| (source.kind.name(), source.kind.is_fixed()))
        .collect();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            ("clients", false),
            ("corporate", false),
            ("pin-point-dns", true),
            ("dns-server", true),
            ("gateway", true),
            ("public", false),
            ("feed", false),
        ]
    );
}

/// Policies of the filter's generator, in both modes, with gateways and DNS servers anywhere.
fn policies() -> impl Strategy<Value = Policy> {
    let bytes = proptest::collection::vec(any::<u8>(), 2_000);
    (
        bytes,
        any::<bool>(),
        any::<[prop::sample::Index; 2]>(),
        0..3_usize,
    )
        .prop_map(|(bytes, full, picks, extras)| {
            let mut unstructured = arbitrary::Unstructured::new(&bytes);
            let mut policy = strategy::policy(&mut unstructured).expect("bytes enough");
            if full {
                policy.routes.tunnel = TunnelMode::Full;
            }
            let addresses = edges(&all_prefixes(&policy));
            let pick = |index: &prop::sample::Index| Sourced {
                value: *index.get(&addresses),
                line: 900,
            };
            if extras > 0 {
                policy.routes.gateways.push(pick(&picks[0]));
            }
            if extras > 1 {
                policy.corporate.dns_servers.push(pick(&picks[1]));
            }
            policy
        })
}

fn all_prefixes(policy: &Policy) -> Vec<ipnet::IpNet> {
    let mut prefixes: Vec<ipnet::IpNet> = super::source::sources(policy)
        .iter()
        .map(|source| source.prefix)
        .collect();
    let servers = policy.servers.iter().flat_map(|server| &server.addresses);
    prefixes.extend(servers.map(|address| address.value));
    prefixes
}

proptest! {
    #[test]
    fn the_plan_has_an_address_exactly_when_the_policy_says_so(policy in policies()) {
        let plan = RoutePlan::new(&policy);
        let included: PrefixSet = plan.includes.iter().map(|entry| entry.prefix).collect();
        prop_assert_eq!(&included, &plan.tunnel);
        let excluded = plan.excluded();
        for address in edges(&all_prefixes(&policy)) {
            let enters = enters_tunnel(&policy, address);
            prop_assert_eq!(plan.tunnel.contains(address), enters, "{}", address);
            // The exclude form agrees, except for gateways.
            let by_exclusion = plan.base.contains(address) && !excluded.contains(address);
            prop_assert!(by_exclusion == enters || plan.gateways.contains(address), "{}", address);
        }
    }

    #[test]
    fn no_address_outside_the_tunnel_is_one_to_drop_unless_the_plan_says_so(policy in policies()) {
        let plan = RoutePlan::new(&policy);
        for address in edges(&all_prefixes(&policy)) {
            let kept_out = plan.base.contains(address) && !plan.tunnel.contains(address);
            let mut servers = policy.servers.iter().flat_map(|server| &server.addresses);
            let mut internal = policy.corporate.subnets.iter().chain(&policy.vpn.client_subnets);
            let server = servers.any(|it| it.value.contains(&address));
            let internal = internal.any(|it| it.value.contains(&address));
            let gateway = plan.gateways.contains(address);
            if kept_out && server && !gateway {
                prop_assert!(plan.error().is_some(), "{}", address);
            }
            if kept_out && internal {
                let said = [Code::PublicInCorporate, Code::GatewayInside];
                prop_assert!(codes(&plan).iter().any(|code| said.contains(code)), "{}", address);
            }
        }
    }

    #[test]
    fn every_entry_names_what_it_was_made_of(policy in policies()) {
        let plan = RoutePlan::new(&policy);
        for entry in &plan.excludes {
            let made_of: PrefixSet = entry.sources.iter().map(|&at| plan.sources[at].prefix).collect();
            prop_assert!(made_of.covers(entry.prefix));
        }
        for &at in &plan.unneeded {
            prop_assert!(!plan.base.overlaps(plan.sources[at].prefix));
        }
    }

    #[test]
    fn what_is_not_diverted_is_no_business_of_the_filter(policy in policies(), port in any::<u16>()) {
        let diverted = super::diverted(&policy);
        let addresses = edges(&all_prefixes(&policy));
        let from = policy.vpn.client_subnets[0].value.network();
        let compiled = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        for to in addresses.into_iter().filter(|to| !diverted.contains(*to)) {
            for protocol in [Some(Protocol::Tcp), Some(Protocol::Udp), None] {
                let payload = Payload::MicrosoftCheck;
                let question = Question { from, from_port: None, to, to_port: Some(port), protocol, payload };
                // `None` if the two are of different families.
                if let Some(explanation) = compiled.explain(&question) {
                    prop_assert_eq!(explanation.answers[0].verdict.reason, Reason::Default);
                }
            }
        }
    }
}

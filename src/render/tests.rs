//! Every target against the plan, and against its limits.

use proptest::prelude::*;

use super::routes::{
    Pushed, cisco_asa, dnsmasq, kea, ocserv, openvpn, openvpn_push_update, strongswan,
    windows_powershell, wireguard,
};
use super::{
    Form, Kind, Measure, Options, ReadError, RenderError, Target, read, reference, render,
};
use crate::filter::strategy;
use crate::plan::RoutePlan;
use crate::policy::{self, Policy, TunnelMode};

const FULL: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
[corporate]
subnets = ["10.0.0.0/8", "2001:db8::/32"]
[routes]
tunnel = "full"
gateways = ["203.0.113.10"]
[[public]]
name = "Teams -- media"
addresses = ["52.112.0.0/14", "52.122.0.0/15", "2603:1063::/38"]
"#;

fn parsed(text: &str) -> Policy {
    policy::parse("policy.toml", text.as_bytes())
        .expect("a good policy")
        .0
}

fn plan(text: &str) -> RoutePlan {
    RoutePlan::new(&parsed(text))
}

fn targets() -> impl Iterator<Item = &'static Target> {
    Target::of_kind(Kind::Routes)
}

fn pushed(target: &Target, text: &str) -> Result<Pushed, ReadError> {
    read(target, text).expect("a target of routes")
}

fn options() -> Options {
    Options {
        via: Some("172.16.1.1".parse().expect("an address")),
        ..Options::default()
    }
}

#[test]
fn every_target_is_written_as_its_program_reads_it() {
    for (mode, text) in [
        ("full", FULL.to_owned()),
        ("split", FULL.replace("\"full\"", "\"split\"")),
    ] {
        let plan = plan(&text);
        for target in targets() {
            let name = format!("{mode}-{target}");
            match render(target, &plan, &options()) {
                Ok(rendered) => insta::assert_snapshot!(name, rendered.text),
                Err(error) => insta::assert_snapshot!(name, error.to_string()),
            }
        }
    }
}

#[test]
fn teams_takes_two_ipv4_exclusions_or_fifteen_inclusions() {
    let text = FULL.replace("gateways = [\"203.0.113.10\"]\n", "");
    let count = |form, target| {
        let options = Options {
            form: Some(form),
            ..options()
        };
        render(target, &plan(&text), &options)
            .expect("within limits")
            .measures
            .v4_entries
    };
    assert_eq!(count(Form::Include, &openvpn::TARGET), 15);
    assert_eq!(count(Form::Include, &wireguard::TARGET), 15);
    // The default route, and two exceptions.
    assert_eq!(count(Form::Exclude, &openvpn::TARGET), 3);
    assert_eq!(count(Form::Exclude, &cisco_asa::TARGET), 2);
}

#[test]
fn past_a_strict_limit_nothing_is_written_and_it_is_said_what_would_help() {
    let many: Vec<String> = (0..130).map(|at| format!("\"52.{at}.0.0/24\"")).collect();
    let text = FULL.replace("\"52.122.0.0/15\"", &many.join(", "));
    let plan = plan(&text);
    let refused =
        render(&strongswan::TARGET, &plan, &options()).expect_err("more than 255 selectors");
    let RenderError::OverBudget {
        measure,
        most,
        count,
        ..
    } = refused.clone()
    else {
        panic!("{refused}")
    };
    assert_eq!((measure, most), (Measure::Entries, 255));
    assert!(count > 255);
    assert!(refused.to_string().contains("--widen-to 255"), "{refused}");
    let refused =
        render(&openvpn_push_update::TARGET, &plan, &options()).expect_err("one parameter");
    assert!(
        refused.to_string().contains("takes 256 bytes at most"),
        "{refused}"
    );
    let warned = render(&openvpn::TARGET, &plan, &options()).expect("no limit on the server");
    assert!(
        warned
            .warnings
            .iter()
            .any(|it| it.contains("clients before OpenVPN 2.4")),
        "{:?}",
        warned.warnings
    );
    assert_eq!(warned.measures.messages, Some(7));
}

#[test]
fn the_advice_fits_the_tunnel_and_the_limit() {
    const WIDEN: &str = "--widen-to";
    const CORPORATE: &str = "write fewer, wider corporate subnets";
    const SERVICES: &str = "write fewer or wider addresses of [[public]]";
    let many = |first: &str| -> String {
        let prefixes = (0..130).flat_map(|at| [(at, 0), (at, 2)]);
        let prefixes = prefixes.map(|(second, third)| format!("\"{first}.{second}.{third}.0/24\""));
        prefixes.collect::<Vec<_>>().join(", ")
    };
    let full = plan(&FULL.replace("\"52.122.0.0/15\"", &many("52")));
    let split = plan(&format!(
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [{}]\n",
        many("10")
    ));
    for (plan, target, expected) in [
        (&full, &strongswan::TARGET, WIDEN),
        (&full, &openvpn_push_update::TARGET, SERVICES),
        (&split, &strongswan::TARGET, CORPORATE),
        (&split, &openvpn_push_update::TARGET, CORPORATE),
    ] {
        let refused = render(target, plan, &options()).expect_err("past the limit");
        let refused = refused.to_string();
        for advice in [WIDEN, CORPORATE, SERVICES] {
            assert_eq!(refused.contains(advice), advice == expected, "{refused}");
        }
        let (many, few) = match expected == CORPORATE {
            true => (
                "entries come from 260 corporate subnets, 1 client subnet",
                "[[public]]",
            ),
            false => ("kept outside the tunnel: 26", "corporate"),
        };
        assert!(
            refused.contains(many) && !refused.contains(few),
            "{refused}"
        );
    }
}

#[test]
fn options_of_dhcp_count_their_routes() {
    let plan = plan(&FULL.replace("\"full\"", "\"split\""));
    for target in [&dnsmasq::TARGET, &kea::TARGET] {
        let measures = render(target, &plan, &options())
            .expect("within the limit")
            .measures;
        // 10.0.0.0/8 and 172.16.1.0/24; DHCP has no IPv6 routes.
        assert_eq!(
            (measures.v4_entries, measures.v6_entries),
            (2, 0),
            "{target}"
        );
    }
}

#[test]
fn nothing_is_written_where_nothing_enters_the_tunnel() {
    let nothing = FULL
        .replace("\"172.16.1.0/24\", \"fd00:1::/64\"", "\"203.0.113.10/32\"")
        .replace("\"10.0.0.0/8\", \"2001:db8::/32\"", "")
        .replace("\"full\"", "\"split\"");
    let only_v6 = FULL.replace("\"172.16.1.0/24\", ", "");
    for target in targets() {
        let error =
            render(target, &plan(&nothing), &options()).expect_err("an empty list is everything");
        assert_eq!(error, RenderError::NothingEnters { target });
        let of_v4 = render(target, &plan(&only_v6), &options());
        assert_eq!(
            of_v4 == Err(RenderError::NothingEnters { target }),
            !target.families.has_v6(),
            "{target}"
        );
    }
}

#[test]
fn a_name_that_would_break_out_of_its_place_is_refused_or_quoted() {
    let named = |target, name: &str| {
        let options = Options {
            name: Some(name.to_owned()),
            ..options()
        };
        render(target, &plan(FULL), &options)
    };
    assert!(named(&cisco_asa::TARGET, "X permit").is_err());
    assert!(named(&windows_powershell::TARGET, "a\nb").is_err());
    let quoted = named(&windows_powershell::TARGET, "it's; Remove-Item").expect("a name");
    assert!(
        quoted.text.contains("$connection = 'it''s; Remove-Item'"),
        "{}",
        quoted.text
    );
}

#[test]
fn a_file_that_people_edited_is_read_by_its_meaning() {
    let edited = "# ours\nport 1194\npush \"route 10.0.0.0 255.128.0.0\"\n\tpush  \"route 10.128.0.0 255.128.0.0 vpn_gateway 5\"\n\
                  push \"route-ipv6 2001:db8::/32\" # office\npush \"dhcp-option DNS 10.0.0.53\"\n";
    let routes = pushed(&openvpn::TARGET, edited).expect("routes");
    assert_eq!(routes.tunnel().to_string(), "10.0.0.0/8, 2001:db8::/32");
    let error =
        pushed(&openvpn::TARGET, "\npush \"route 10.0.0.0 255.0.255.0\"").expect_err("no netmask");
    assert_eq!(error.to_string(), "line 2: 255.0.255.0 is not a netmask");
    let overlapping =
        "route = default\nno-route = 13.107.0.0/255.255.0.0\nroute = 13.107.64.0/24\n";
    let tunnel = pushed(&ocserv::TARGET, overlapping)
        .expect("routes")
        .tunnel();
    assert!(tunnel.contains("13.107.64.1".parse().expect("an address")));
    assert!(!tunnel.contains("13.107.65.1".parse().expect("an address")));
}

/// The seed of a file that was not read back as its plan: includes of a whole family were written in halves, and the
/// exclusion of the same family was not.
#[test]
fn a_client_pool_of_a_whole_family_whose_halves_are_public_is_read_back_as_the_plan() {
    for mode in ["split", "full"] {
        let seed = format!(
            r#"
            [vpn]
            client_subnets = ["172.16.1.0/24", "::/0"]
            [routes]
            tunnel = "{mode}"
            [[public]]
            name = "both halves"
            addresses = ["::/1", "8000::/1"]
            "#
        );
        reference::check_all(&plan(&seed));
    }
}

#[test]
fn half_of_a_family_that_is_public_is_no_route_of_both_kinds() {
    for (clients, public) in [
        ("\"0.0.0.0/0\", \"fd00:1::/64\"", "0.0.0.0/1"),
        ("\"0.0.0.0/0\", \"fd00:1::/64\"", "128.0.0.0/1"),
        ("\"172.16.1.0/24\", \"::/0\"", "::/1"),
        ("\"172.16.1.0/24\", \"::/0\"", "8000::/1"),
    ] {
        for mode in ["split", "full"] {
            reference::check_all(&plan(&format!(
                r#"
                [vpn]
                client_subnets = [{clients}]
                [routes]
                tunnel = "{mode}"
                [[public]]
                name = "half"
                addresses = ["{public}"]
                "#
            )));
        }
    }
}

/// Policies of prefixes that targets split and merge: whole families, halves and quarters.
fn wide_policies() -> impl Strategy<Value = Policy> {
    let some = || prop::sample::subsequence(WIDE, 0..6);
    let clients = prop::sample::subsequence(WIDE, 1..6);
    (clients, some(), some(), any::<bool>()).prop_map(|(clients, corporate, public, full)| {
        let tunnel = if full { "full" } else { "split" };
        let public = match public[..] {
            [] => String::new(),
            _ => format!("[[public]]\nname = \"wide\"\naddresses = {public:?}\n"),
        };
        parsed(&format!(
            "[vpn]\nclient_subnets = {clients:?}\n[corporate]\nsubnets = {corporate:?}\n\
             [routes]\ntunnel = \"{tunnel}\"\n{public}"
        ))
    })
}

const WIDE: &[&str] = &[
    "0.0.0.0/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "0.0.0.0/2",
    "192.0.0.0/2",
    "172.16.1.0/24",
    "::/0",
    "::/1",
    "8000::/1",
    "::/2",
    "c000::/2",
    "fd00:1::/64",
];

/// Policies of the filter's generator, whose routes are small enough for most targets.
fn policies() -> impl Strategy<Value = Policy> {
    let bytes = proptest::collection::vec(any::<u8>(), 2_000);
    (bytes, any::<bool>(), any::<Option<[u8; 4]>>()).prop_map(|(bytes, full, gateway)| {
        let mut unstructured = arbitrary::Unstructured::new(&bytes);
        let mut policy = strategy::policy(&mut unstructured).expect("bytes enough");
        if full {
            policy.routes.tunnel = TunnelMode::Full;
        }
        policy
            .routes
            .gateways
            .extend(gateway.map(|octets| policy::Sourced {
                value: octets.into(),
                line: 7,
            }));
        // Servers anywhere would have most plans refused.
        policy.servers.clear();
        policy
    })
}

proptest! {
    #[test]
    fn every_file_is_read_back_as_the_plan(policy in policies()) {
        reference::check_all(&RoutePlan::new(&policy));
    }

    #[test]
    fn every_file_of_wide_prefixes_is_read_back_as_the_plan(policy in wide_policies()) {
        reference::check_all(&RoutePlan::new(&policy));
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "[ -~\n]{0,200}", words in prop::collection::vec(0..WORDS.len(), 0..12)) {
        reference::fuzz_read(&text);
        let mixed: Vec<&str> = words.iter().map(|&at| WORDS[at]).collect();
        reference::fuzz_read(&mixed.join(" "));
    }
}

const WORDS: &[&str] = &[
    "push",
    "\"route",
    "\"route-ipv6",
    "10.0.0.0",
    "255.0.0.0",
    "net_gateway\"\n",
    "route =",
    "no-route =",
    "default\n",
    "AllowedIPs =",
    "local_ts =",
    "split-exclude =",
    "2603:1063::/38",
    ",",
    "dhcp-option=121,",
    "access-list X extended permit ip",
    "any4\n",
    "host",
    "<Route><Address>",
    "</Address>",
    "Add-VpnConnectionRoute",
    "-DestinationPrefix",
    "\n",
    "[{\"code\": 121,",
    "\"data\": \"080a\"}]",
    "push-update-broad \"",
    "config vpn ipsec phase1-interface\n",
    "config firewall addrgrp\n",
    "edit \"A\"\n",
    "set ipv4-split-exclude \"A\"\n",
    "set member \"A\" \"A\"\n",
    "end\n",
    "\nset global-protect-gateway A",
    "split-tunneling access-route",
    "<split-tunneling><access-route><member>",
    "{\"exclude\": [{\"address\": \"10.0.0.0/8\"}]}",
    "\nexclude = [",
    "{ address = \"",
    "\" }]",
];

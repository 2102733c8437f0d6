//! The files of single targets, line by line, and files that people wrote.

use super::*;
use crate::policy;
use crate::render::{Form, Options, Rendered, read, render};

fn plan(text: &str) -> RoutePlan {
    let (policy, _) = policy::parse("policy.toml", text.as_bytes()).expect("a good policy");
    RoutePlan::new(&policy)
}

fn options(form: Option<Form>) -> Options {
    Options {
        form,
        via: Some("172.16.1.1".parse().expect("an address")),
        name: None,
    }
}

fn written(target: &'static Target, text: &str) -> Rendered {
    render(target, &plan(text), &options(None)).expect("within limits")
}

/// The includes and the excludes of a file, each as a list in words.
fn pushed(target: &Target, text: &str) -> (String, String) {
    let pushed = read(target, text)
        .expect("a target of routes")
        .unwrap_or_else(|error| panic!("{error}"));
    let listed = |prefixes: &[ipnet::IpNet]| {
        let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        prefixes.join(", ")
    };
    (listed(&pushed.includes), listed(&pushed.excludes))
}

fn refused(target: &Target, text: &str) -> String {
    let read = read(target, text).expect("a target of routes");
    read.expect_err("no route").to_string()
}

const SPLIT: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
[corporate]
subnets = ["10.0.0.0/8"]
"#;

const FULL: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[routes]
tunnel = "full"
[[public]]
name = "Edge"
addresses = ["167.55.49.32/30"]
"#;

#[test]
fn sizes_are_counted_by_family_and_in_bytes_of_the_option() {
    for (target, expected) in [
        (&json::TARGET, (2, 1, 0)),
        (&prefixes::TARGET, (2, 1, 0)),
        // Length, octets of the prefix and router: 1 + 1 + 4 and 1 + 3 + 4 (RFC 3442).
        (&dnsmasq::TARGET, (2, 0, 14)),
        (&kea::TARGET, (2, 0, 14)),
    ] {
        let measures = written(target, SPLIT).measures;
        let counted = (measures.v4_entries, measures.v6_entries, measures.bytes);
        assert_eq!(counted, expected, "{target}");
    }
}

#[test]
fn a_family_that_the_target_lacks_earns_a_warning_where_clients_have_it() {
    // One has no form for a split tunnel.
    for target in TARGETS.iter().filter(|it| **it != &meraki::TARGET) {
        let warns = |text: &str| {
            let warnings = written(target, text).warnings;
            warnings.iter().any(|it| it.contains("cannot express IPv6"))
        };
        // A full tunnel would not fit into every target.
        assert_eq!(warns(SPLIT), !target.families.has_v6(), "{target}");
        assert!(!warns(&SPLIT.replace(", \"fd00:1::/64\"", "")), "{target}");
    }
}

#[test]
fn a_list_that_is_too_long_is_offered_in_the_other_form() {
    let addresses: Vec<String> = (0..20).map(|at| format!("\"52.{at}.7.9/32\"")).collect();
    let plan = plan(&FULL.replace("\"167.55.49.32/30\"", &addresses.join(", ")));
    let rendered = render(&openvpn::TARGET, &plan, &options(Some(Form::Include)));
    let warnings = rendered.expect("no strict limit").warnings.concat();
    // Twenty exceptions to the default route.
    assert!(warnings.contains("--form exclude has 21"), "{warnings}");
}

#[test]
fn comments_name_three_sources_and_count_the_rest() {
    let names = ["A", "B", "C", "D"];
    let services = names.iter().zip(32..).map(|(name, last)| {
        format!("[[public]]\nname = \"{name}\"\naddresses = [\"167.55.49.{last}\"]\n")
    });
    let (head, _) = FULL.split_once("[[public]]").expect("a service");
    let text = format!("{head}{}", services.collect::<String>());
    let text = written(&openvpn::TARGET, &text).text;
    assert!(
        text.contains("# A (line 8), B (line 11), C (line 14) and 1 more\n"),
        "{text}"
    );
}

#[test]
fn the_rest_of_a_full_tunnel_has_no_source() {
    let full = plan(&FULL.replace(
        "[routes]",
        "[corporate]\nsubnets = [\"10.0.0.0/8\"]\n[routes]",
    ));
    let text = render(&openvpn::TARGET, &full, &options(Some(Form::Include)));
    let text = text.expect("no strict limit").text;
    assert!(!text.contains("corporate"), "{text}");
}

#[test]
fn a_gateway_inside_a_corporate_prefix_is_left_to_the_client() {
    let text = format!("{SPLIT}[routes]\ngateways = [\"10.0.0.1\"]\n");
    let text = written(&openvpn::TARGET, &text).text;
    assert!(text.contains("push \"route 10.0.0.0 255.0.0.0\""), "{text}");
    assert!(
        text.contains("push \"route remote_host 255.255.255.255 net_gateway\""),
        "{text}"
    );
}

#[test]
fn openvpn_warns_of_net_gateway_where_it_is_used() {
    let warns = |text| {
        let warnings = written(&openvpn::TARGET, text).warnings;
        warnings.iter().any(|it| it.contains("net_gateway"))
    };
    assert!(warns(FULL));
    assert!(!warns(SPLIT));
}

#[test]
fn openvpn_takes_the_default_route_of_ipv6_in_halves() {
    let text = FULL.replace("\"172.16.1.0/24\"", "\"172.16.1.0/24\", \"fd00:1::/64\"");
    let text = written(&openvpn::TARGET, &text).text;
    let of_v6: Vec<&str> = text.lines().filter(|it| it.contains("ipv6")).collect();
    let halves = ["push \"route-ipv6 ::/1\"", "push \"route-ipv6 8000::/1\""];
    assert_eq!(of_v6, halves);
}

/// OpenVPN cuts the options that it pushes at 940 bytes, with a comma behind each.
#[test]
fn openvpn_counts_a_message_until_it_is_full() {
    let messages = |short: usize, long: usize| {
        let subnet =
            |second: usize| move |at: usize| format!("\"10.{second}.{}.0/24\"", 10 + 2 * at);
        // 30 and 31 bytes: `route 10.1.10.0 255.255.255.0` and `route 10.10.10.0 255.255.255.0`.
        let subnets: Vec<String> = (0..short)
            .map(subnet(1))
            .chain((0..long).map(subnet(10)))
            .collect();
        let text = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [{}]\n",
            subnets.join(", ")
        );
        written(&openvpn::TARGET, &text).measures.messages
    };
    // With the 31 bytes of the clients' own subnet.
    assert_eq!(messages(21, 9), Some(1), "21 × 30 + 10 × 31 = 940");
    assert_eq!(messages(20, 10), Some(2), "20 × 30 + 11 × 31 = 941");
}

#[test]
fn openvpn_reads_the_flags_and_the_defaults_of_its_options() {
    for (option, includes, excludes) in [
        ("redirect-gateway def1", "0.0.0.0/1, 128.0.0.0/1", ""),
        ("redirect-gateway", "0.0.0.0/0", ""),
        (
            "redirect-gateway def1 !ipv4 ipv6",
            "::/3, 2000::/4, 3000::/4, fc00::/7",
            "",
        ),
        ("route 10.0.0.1", "10.0.0.1/32", ""),
        ("route 10.0.0.1 default net_gateway", "", "10.0.0.1/32"),
        ("route 10.0.0.0 255.0.0.0 vpn_gateway", "10.0.0.0/8", ""),
        // OpenVPN 2.6 complains of the keyword, and routes into the tunnel.
        ("route-ipv6 2001:db8::/32 net_gateway", "2001:db8::/32", ""),
    ] {
        let read = pushed(&openvpn::TARGET, &format!("push \"{option}\"\n"));
        assert_eq!(read, (includes.to_owned(), excludes.to_owned()), "{option}");
    }
}

#[test]
fn dhcp_servers_have_other_options_too() {
    let of_dnsmasq = "dhcp-option=3,172.16.1.1\ndhcp-option=tag:vpn,121,10.0.0.0/8,172.16.1.1\n";
    assert_eq!(pushed(&dnsmasq::TARGET, of_dnsmasq).0, "10.0.0.0/8");
    let of_kea = r#"[{ "code": 3, "data": "ac100101" }, { "code": 121, "data": "080aac100101" }]"#;
    assert_eq!(pushed(&kea::TARGET, of_kea).0, "10.0.0.0/8");
}

#[test]
fn an_access_list_of_a_cisco_asa_may_have_hosts_and_any() {
    for (network, expected) in [
        ("extended permit ip host 10.0.0.53 any4", "10.0.0.53/32"),
        ("standard permit host 10.0.0.53", "10.0.0.53/32"),
        ("standard permit 10.0.0.0 255.0.0.0", "10.0.0.0/8"),
        ("extended permit ip any4 any4", "0.0.0.0/0"),
        ("extended permit ip any6 any6", "::/0"),
    ] {
        let text = format!(
            "access-list X {network}\ngroup-policy X attributes\n split-tunnel-policy tunnelspecified\n \
             split-tunnel-network-list value X\n"
        );
        assert_eq!(pushed(&cisco_asa::TARGET, &text).0, expected, "{network}");
    }
}

#[test]
fn the_name_of_an_access_list_has_1_to_64_characters() {
    let taken = |length| {
        let options = Options {
            name: Some("x".repeat(length)),
            ..Options::default()
        };
        render(&cisco_asa::TARGET, &plan(SPLIT), &options).is_ok()
    };
    assert_eq!([0, 1, 64, 65].map(taken), [false, true, true, false]);
}

#[test]
fn a_prefix_that_is_none_is_refused_with_its_line() {
    let excluded = "# a list\n# excluded from: 10.0.0.0/33\n";
    assert_eq!(
        refused(&prefixes::TARGET, excluded),
        "line 2: `10.0.0.0/33` is not a prefix"
    );
}

#[test]
fn a_full_tunnel_without_exceptions_has_no_attribute_of_unity() {
    let (full, _) = FULL.split_once("[[public]]").expect("a service");
    let text = written(&strongswan_unity::TARGET, full).text;
    assert!(!text.contains("split-"), "{text}");
}

#[cfg(feature = "xml")]
#[test]
fn windows_is_forced_into_a_full_tunnel_by_the_families_of_its_clients() {
    let v6 = FULL.replace("172.16.1.0/24", "fd00:1::/64");
    for text in [FULL, &v6] {
        let text = written(&windows_profilexml::TARGET, text).text;
        assert!(text.contains("<RoutingPolicyType>ForceTunnel<"), "{text}");
    }
}

#[test]
fn a_wireguard_client_is_warned_where_the_tunnel_may_swallow_its_own_packets() {
    let gateway = FULL.replace("[routes]", "[routes]\ngateways = [\"203.0.113.10\"]");
    let (whole, _) = FULL.split_once("[[public]]").expect("a service");
    for (text, expected) in [
        (FULL, true),
        (gateway.as_str(), false),
        // wg-quick knows what to do about a whole family.
        (whole, false),
        (SPLIT, false),
    ] {
        let warnings = written(&wireguard::TARGET, text).warnings;
        assert_eq!(!warnings.is_empty(), expected, "{text}");
    }
}

#[test]
fn globalprotect_takes_200_exclusions_and_old_apps_100() {
    let excluded = |count: usize| {
        let addresses: Vec<String> = (0..count)
            .map(|at| format!("\"52.{}.{}.9\"", at / 100, at % 100))
            .collect();
        let plan = plan(&FULL.replace("\"167.55.49.32/30\"", &addresses.join(", ")));
        let rendered = render(&globalprotect::TARGET, &plan, &options(None));
        rendered.map(|it| it.warnings.len())
    };
    assert_eq!(
        [100, 101, 200].map(|it| excluded(it).ok()),
        [Some(0), Some(1), Some(1)]
    );
    let refused = excluded(201).expect_err("past the limit").to_string();
    assert!(
        refused.contains("takes 200 exclusions at most"),
        "{refused}"
    );
}

#[test]
fn a_name_that_the_place_cannot_have_is_refused() {
    for (target, good, bad) in [
        (&globalprotect::TARGET, "GW-1/Staff", "GW 1/Staff"),
        (&globalprotect::TARGET, "GW-1/Staff", "GW-1/St aff"),
        (
            &fortigate_ipsec::TARGET,
            "dialup-of-users",
            "dialup-of-users2",
        ),
        (&cloudflare_warp_terraform::TARGET, "staff", "1staff"),
    ] {
        let named = |name: &str| {
            let name = Some(name.to_owned());
            let options = Options {
                name,
                ..options(None)
            };
            render(target, &plan(FULL), &options)
        };
        let text = named(good).expect("a name").text;
        assert!(good.split('/').all(|part| text.contains(part)), "{text}");
        for bad in [bad, ""] {
            let refused = named(bad).expect_err("no name").to_string();
            assert!(refused.contains("cannot be a name"), "{refused}");
        }
    }
}

/// The routes of a file that has several places, of the one that is named.
fn named(target: &Target, text: &str, name: Option<&str>) -> Result<(String, String), String> {
    let crate::render::Read::NamedRoutes(read) = target.read else {
        panic!("{target} has one place");
    };
    let pushed = read(text, name).map_err(|error| error.to_string())?;
    let words = |list: &[ipnet::IpNet]| {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        list.join(", ")
    };
    Ok((words(&pushed.includes), words(&pushed.excludes)))
}

#[test]
fn a_configuration_of_a_fortigate_is_read_through_its_groups() {
    let text = "config firewall address\n    edit \"Teams media\"\n        set subnet 52.112.0.0 255.252.0.0\n    next\n\
                edit \"Lab\"\nset type fqdn\nnext\nend\n\
                config firewall addrgrp\nedit \"Inner\"\nset member \"Teams media\"\nnext\n\
                edit \"UC\"\nset member \"Inner\"\nnext\nend\n\
                config vpn ipsec phase1-interface\nedit \"users\"\nset ipv4-split-include ''\nset ipv4-split-include \"\"\n\
                config ipv4-exclude-range\nedit 1\nset start-ip 172.16.1.1\nnext\nend\n\
                set ipv4-split-exclude \"UC\"\nnext\nedit \"lab\"\nset ipv4-split-include \"Lab\"\nnext\nend\n";
    let of = |name| named(&fortigate_ipsec::TARGET, text, name);
    // Quotes of both kinds are FortiOS's for nothing.
    let users = of(Some("users")).expect("routes");
    assert_eq!(
        users,
        ("0.0.0.0/0, ::/0".to_owned(), "52.112.0.0/14".to_owned())
    );
    let errors = [of(None), of(Some("other")), of(Some("lab"))].map(Result::unwrap_err);
    assert!(
        errors[0].contains("name one with --name: lab, users"),
        "{errors:?}"
    );
    assert!(
        errors[1].contains("no phase1-interface `other`"),
        "{errors:?}"
    );
    assert!(
        errors[2].contains("address `Lab` has no subnet"),
        "{errors:?}"
    );
    let cyclic = "config firewall addrgrp\nedit A\nset member A A\nnext\nend\n\
                  config vpn ipsec phase1-interface\nedit users\nset ipv4-split-exclude A\nnext\nend\n";
    let error = named(&fortigate_ipsec::TARGET, cyclic, None).expect_err("a cycle");
    assert!(error.contains("have no end"), "{error}");
}

#[test]
fn globalprotect_is_read_from_commands_with_lists_and_without_includes() {
    let path = |settings: &str| {
        format!(
            "set global-protect global-protect-gateway GW remote-user-tunnel-configs {settings} split-tunneling"
        )
    };
    let text = format!(
        "{0} exclude-access-route [ 52.112.0.0/14 52.122.0.0/15 ]\n{1} access-route 10.0.0.0/8\n",
        path("Staff"),
        path("Lab")
    );
    let of = |name| named(&globalprotect::TARGET, &text, name);
    let staff = of(Some("GW/Staff")).expect("routes");
    assert_eq!(staff.0, "0.0.0.0/0, ::/0");
    assert_eq!(staff.1, "52.112.0.0/14, 52.122.0.0/15");
    assert_eq!(of(Some("GW/Lab")).expect("routes").0, "10.0.0.0/8");
    let error = of(None).expect_err("two of them");
    assert!(
        error.contains("name one with --name: GW/Lab, GW/Staff"),
        "{error}"
    );
}

#[cfg(feature = "xml")]
#[test]
fn globalprotect_is_read_from_a_whole_configuration() {
    let entry = |name: &str, list: &str| {
        format!("<entry name=\"{name}\"><split-tunneling>{list}</split-tunneling></entry>")
    };
    let text = format!(
        "<global-protect-gateway><entry name=\"GW\"><remote-user-tunnel-configs>{}{}</remote-user-tunnel-configs></entry>\
         </global-protect-gateway>",
        entry(
            "Staff",
            "<exclude-access-route><member>52.112.0.0/14</member></exclude-access-route>"
        ),
        entry(
            "Lab",
            "<access-route><member>an-object</member></access-route>"
        ),
    );
    let of = |name| named(&globalprotect_xml::TARGET, &text, Some(name));
    // An address object is not known here, and does not matter to others.
    let error = of("GW/Lab").expect_err("an object");
    assert!(error.contains("`an-object` is not a prefix"), "{error}");
    let staff = of("GW/Staff").expect("routes");
    assert_eq!(staff.1, "52.112.0.0/14");
}

#[test]
fn an_answer_of_cloudflare_is_read_and_its_domains_are_left_out() {
    let answer = r#"{"success": true, "result": {"exclude": [{"address": "52.112.0.0/14"}, {"host": "zoom.us"}]}}"#;
    let pushed = read(&cloudflare_warp::TARGET, answer).expect("routes");
    let pushed = pushed.expect("a profile");
    assert_eq!(pushed.left_out, [(1, "zoom.us".to_owned())]);
    assert_eq!(pushed.excludes.len(), 1);
    let both = r#"{"include": [], "exclude": []}"#;
    assert!(refused(&cloudflare_warp::TARGET, both).contains("this one has both"));
    let two_lines = "exclude = [\n  {\n    address = \"52.112.0.0/14\"\n    description = \"a \\\"]\"\n  },\n  \
                     { host = \"zoom.us\" },\n]\n";
    let read = pushed_of_terraform(two_lines);
    assert_eq!(
        read,
        ("0.0.0.0/0, ::/0".to_owned(), "52.112.0.0/14".to_owned())
    );
}

fn pushed_of_terraform(text: &str) -> (String, String) {
    super::tests::pushed(&cloudflare_warp_terraform::TARGET, text)
}

#[test]
fn options_of_a_kind_that_is_gone_are_removed_from_connected_clients() {
    use super::openvpn_push_update::{change, options_of};

    let had = "redirect-gateway def1,route 192.0.2.0 255.255.255.0 net_gateway,route-ipv6 fd00::/8";
    let command = change(had, "route 10.0.0.0 255.0.0.0").expect("it is short");
    assert_eq!(
        command,
        "push-update-broad \"-redirect-gateway,-route-ipv6,route 10.0.0.0 255.0.0.0\"\n"
    );
    assert_eq!(
        options_of(&command),
        "-redirect-gateway,-route-ipv6,route 10.0.0.0 255.0.0.0"
    );
    let long = "route 10.0.0.0 255.0.0.0,".repeat(11);
    assert!(change("", &long).is_err_and(|why| why.contains("275")));
}

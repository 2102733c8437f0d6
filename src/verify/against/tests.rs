//! Tests of existing files, correct and incorrect.

use super::*;
use crate::policy;
use crate::render::names::{bind, dnsmasq, rpz, unbound};
use crate::render::{Options, Target, render};

const POLICY: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
dns_servers = ["10.0.0.53"]
[[server]]
name = "Front End pool"
addresses = ["10.1.0.10"]
hosts = ["pool01.contoso.com"]
[[public]]
name = "Access Edge"
addresses = ["167.55.49.32"]
hosts = ["sip.contoso.com"]
srv = [{ name = "_sip._tls.contoso.com", target = "sip.contoso.com", port = 443 }]
[dns]
listen = ["172.16.1.1:53"]
sip_domains = ["contoso.com"]
"#;

/// Returns the findings of a file: `CODE what`.
fn found(existing: Existing, text: &str) -> Vec<String> {
    found_beside(existing, text, &[])
}

/// The files of a host, by their paths.
struct Beside<'b>(&'b [(&'b str, &'b str)]);

impl Files for Beside<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let known = self.0.iter().find(|(name, _)| *name == path);
        known
            .map(|(_, text)| text.as_bytes().to_vec())
            .ok_or(format!("there is no {path}"))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        let names = self.0.iter().filter_map(|(path, _)| {
            let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
            (above == folder).then(|| name.to_owned())
        });
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return Err(format!("there is no {folder}"));
        }
        Ok(names)
    }
}

/// Returns the findings of a file that names other files, which are `beside` it.
fn found_beside(existing: Existing, text: &str, beside: &[(&str, &str)]) -> Vec<String> {
    assert_eq!(Existing::detect(text), Some(existing));
    audited(&[("file", text)], beside).expect("it can be read")
}

/// Returns the findings of files that are named together.
fn audited(named: &[(&str, &str)], beside: &[(&str, &str)]) -> Result<Vec<String>, AuditError> {
    let (policy, _) = policy::parse("site.toml", POLICY.as_bytes()).expect("a good policy");
    let (plan, zones) = (RoutePlan::new(&policy), Zones::of(&policy));
    let subject = Subject {
        policy: &policy,
        plan: &plan,
        zones: &zones,
    };
    let named: Vec<Named> = named
        .iter()
        .map(|(path, text)| Named {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    let found = audit(&subject, &named, &Beside(beside), "")?;
    let told = found.iter().map(|it| format!("{} {}", it.code, it.what));
    Ok(told.collect())
}

const OPENVPN: &str = "server 172.16.1.0 255.255.255.0\npush \"route 10.0.0.0 255.0.0.0\"\npush \"dhcp-option DNS 172.16.1.1\"\n";

#[test]
fn an_openvpn_server_that_pushes_the_company_and_the_pin_point_server_is_in_order() {
    assert_eq!(found(Existing::OpenVpn, OPENVPN), [""; 0]);
}

#[test]
fn an_openvpn_server_is_told_about_leaks_hairpins_and_other_dns_servers() {
    let text = OPENVPN
        .replace("route 10.0.0.0 255.0.0.0", "redirect-gateway def1")
        .replace("172.16.1.1", "10.0.0.53")
        + "client-to-client\n";
    assert_eq!(
        found(Existing::OpenVpn, &text),
        [
            "LEAK file leads \"Access Edge\" into the tunnel: 167.55.49.32/32",
            "INTERNAL-REGISTRATION file:3 gives clients the DNS server 10.0.0.53, which pins and hides nothing",
            "HAIRPIN file:4 has client-to-client: OpenVPN forwards between its clients itself",
        ]
    );
}

#[test]
fn ocserv_that_pushes_a_part_of_the_company_cuts_off_the_rest_and_its_dns_server() {
    let text = "ipv4-network = 172.16.1.0/24\nroute = 10.128.0.0/255.128.0.0\ndns = 172.16.1.1\n";
    assert_eq!(
        found(Existing::Ocserv, text),
        [
            "BLACKHOLE file leaves the DNS server outside the tunnel: 10.0.0.53/32",
            "COLLATERAL file leaves corporate addresses outside the tunnel: 10.0.0.0/27, 10.0.0.32/28, 10.0.0.48/30, \
             10.0.0.52/32, 10.0.0.54/31, 10.0.0.56/29, 10.0.0.64/26, 10.0.0.128/25, 10.0.1.0/24, 10.0.2.0/23, \
             10.0.4.0/22, 10.0.8.0/21, 10.0.16.0/20, 10.0.32.0/19, 10.0.64.0/18, 10.0.128.0/17, 10.1.0.0/16, \
             10.2.0.0/15, 10.4.0.0/14, 10.8.0.0/13, 10.16.0.0/12, 10.32.0.0/11, 10.64.0.0/10",
        ]
    );
}

#[test]
fn a_wireguard_client_with_everything_in_the_tunnel_leaks() {
    let text = "[Interface]\nDNS = 172.16.1.1\n[Peer]\nAllowedIPs = 0.0.0.0/0\n";
    assert_eq!(
        found(Existing::WireGuard, text),
        ["LEAK file leads \"Access Edge\" into the tunnel: 167.55.49.32/32"]
    );
}

const UNBOUND: &str = r#"
local-zone: "sip.contoso.com." static
local-data: "sip.contoso.com. 60 IN A 167.55.49.32"
local-zone: "_sip._tls.contoso.com." static
local-data: "_sip._tls.contoso.com. 60 IN SRV 0 0 443 sip.contoso.com."
local-zone: "lyncdiscoverinternal.contoso.com." always_nxdomain
local-zone: "_sipinternaltls._tcp.contoso.com." always_nxdomain
local-zone: "_sipinternal._tcp.contoso.com." always_nxdomain
local-zone: "sipinternal.contoso.com." always_nxdomain
local-zone: "pool01.contoso.com." always_nxdomain
"#;

const DNSMASQ: &str = "local=/sip.contoso.com/\nhost-record=sip.contoso.com,167.55.49.32\n\
local=/_sip._tls.contoso.com/\nsrv-host=_sip._tls.contoso.com,sip.contoso.com,443,0,0\n\
address=/lyncdiscoverinternal.contoso.com/\nlocal=/_sipinternaltls._tcp.contoso.com/\n\
local=/_sipinternal._tcp.contoso.com/\nlocal=/sipinternal.contoso.com/\nlocal=/pool01.contoso.com/\n";

const ZONE: &str = "$TTL 60\n@ SOA localhost. root.localhost. 1 3600 600 86400 60\n  NS localhost.\n\
sip.contoso.com A 167.55.49.32\n_sip._tls.contoso.com SRV 0 0 443 sip.contoso.com.\n\
lyncdiscoverinternal.contoso.com CNAME . ; NXDOMAIN\n_sipinternaltls._tcp.contoso.com CNAME .\n\
_sipinternal._tcp.contoso.com CNAME .\nsipinternal.contoso.com CNAME .\npool01.contoso.com CNAME *.\n";

const DNS_SERVERS: [(Existing, &str); 3] = [
    (Existing::Unbound, UNBOUND),
    (Existing::Dnsmasq, DNSMASQ),
    (Existing::ResponsePolicyZone, ZONE),
];

#[test]
fn dns_servers_that_pin_and_hide_all_names_are_in_order() {
    for (existing, text) in DNS_SERVERS {
        assert_eq!(found(existing, text), [""; 0], "{}", existing.name());
    }
}

#[test]
fn what_is_rendered_for_a_dns_server_is_in_order() {
    let (policy, _) = policy::parse("site.toml", POLICY.as_bytes()).expect("a good policy");
    for (existing, target) in [
        (Existing::Unbound, &unbound::TARGET),
        (Existing::Dnsmasq, &dnsmasq::TARGET),
        (Existing::ResponsePolicyZone, &rpz::TARGET),
    ] {
        let file = render(target, &policy, &Options::default()).expect("all of it can be said");
        assert_eq!(found(existing, &file.text), [""; 0], "{}", file.text);
    }
}

#[test]
fn a_name_that_is_not_hidden_is_found_in_each() {
    for (existing, text) in DNS_SERVERS {
        let kept = text
            .lines()
            .filter(|line| !line.contains("lyncdiscoverinternal"));
        let text = kept.collect::<Vec<_>>().join("\n");
        assert_eq!(
            found(existing, &text),
            ["INTERNAL-REGISTRATION file: lyncdiscoverinternal.contoso.com is not hidden"],
            "{}",
            existing.name()
        );
    }
}

#[test]
fn a_name_with_an_internal_address_is_found_in_each() {
    for (existing, text) in DNS_SERVERS {
        let text = text.replace("167.55.49.32", "10.1.0.10");
        assert_eq!(
            found(existing, &text),
            [
                "LEAK file: sip.contoso.com resolves to 10.1.0.10, which is none of its public addresses"
            ],
            "{}",
            existing.name()
        );
    }
}

#[test]
fn a_host_record_alone_lets_other_types_of_the_name_through() {
    let text = DNSMASQ.replace("local=/sip.contoso.com/\n", "");
    assert_eq!(
        found(Existing::Dnsmasq, &text),
        ["PARITY file: sip.contoso.com is pinned for some record types alone"]
    );
    let text = UNBOUND.replace(
        "\"sip.contoso.com.\" static",
        "\"sip.contoso.com.\" typetransparent",
    );
    assert_eq!(
        found(Existing::Unbound, &text),
        ["PARITY file: sip.contoso.com is pinned for some record types alone"]
    );
}

/// The article's pin-point zones, as an administrator writes them by hand.
const NAMED: &str = r#"
// One zone for each name.
acl vpn { 172.16.0.0/12; };
options { directory "/var/lib/bind"; recursion yes; };
view "vpn" {
    match-clients { !10.0.0.0/8; vpn; };
    zone "sip.contoso.com" IN { type master; file "sip"; };
    zone "_sip._tls.contoso.com" { type primary; file "srv"; }; # RFC 2782
    /* They do not exist. */
    zone "pool01.contoso.com" { type primary; file "empty"; };
    include "hidden";
};
view "others" { zone "contoso.com" { type secondary; file "contoso"; }; };
"#;

const BESIDE: [(&str, &str); 5] = [
    (
        "/var/lib/bind/sip",
        "$TTL 60\n@ IN SOA ns root (\n 1 ; serial\n 3600 600 86400 60 )\n  IN NS localhost.\n  IN A 167.55.49.32\n",
    ),
    (
        "/var/lib/bind/srv",
        "@ IN SOA ns root 1 2 3 4 5\n  NS localhost.\n@ 60 IN SRV 0 0 443 sip.contoso.com.\n",
    ),
    (
        "/var/lib/bind/empty",
        "@ IN SOA ns root 1 2 3 4 5\n  NS localhost.\n",
    ),
    (
        "/var/lib/bind/hidden",
        "zone \"lyncdiscoverinternal.contoso.com\" { type primary; file \"empty\"; };\n\
         zone \"sipinternal.contoso.com\" { type primary; file \"empty\"; };\n\
         zone \"_sipinternaltls._tcp.contoso.com\" { type primary; file \"empty\"; };\n\
         zone \"_sipinternal._tcp.contoso.com\" { type primary; file \"empty\"; };\n",
    ),
    (
        "/var/lib/bind/contoso",
        "@ IN SOA ns root 1 2 3 4 5\n  NS localhost.\nsip A 10.1.0.10\n",
    ),
];

#[test]
fn the_zones_of_a_view_for_the_clients_are_what_counts() {
    assert_eq!(found_beside(Existing::Bind, NAMED, &BESIDE), [""; 0]);
    let one_less = NAMED.replace("zone \"pool01.contoso.com\"", "zone \"pool02.contoso.com\"");
    assert_eq!(
        found_beside(Existing::Bind, &one_less, &BESIDE),
        ["INTERNAL-REGISTRATION file: pool01.contoso.com is not hidden"]
    );
    let private = BESIDE.map(|(name, text)| (name, text.replace("167.55.49.32", "10.1.0.10")));
    let private = private.each_ref().map(|(name, text)| (*name, &**text));
    assert_eq!(
        found_beside(Existing::Bind, NAMED, &private),
        ["LEAK file: sip.contoso.com resolves to 10.1.0.10, which is none of its public addresses"]
    );
    let others = NAMED.replace("172.16.0.0/12", "192.0.2.0/24").replace(
        "view \"others\" {",
        "view \"others\" { match-clients { 10.0.0.0/8; };",
    );
    let found = found_beside(Existing::Bind, &others, &BESIDE);
    assert!(
        found[0].contains("has views, and none of them is for the clients of the VPN"),
        "{found:?}"
    );
}

#[test]
fn a_whole_zone_of_its_own_hides_what_it_does_not_list() {
    let conf = "zone \"contoso.com\" { type primary; file \"contoso\"; };";
    let zone = "$ORIGIN com.\ncontoso SOA ns root 1 2 3 4 5\n NS localhost.\n$ORIGIN contoso.com.\nsip A 167.55.49.32\n\
                _sip._tls SRV 0 0 443 sip\n";
    assert_eq!(
        found_beside(Existing::Bind, conf, &[("contoso", zone)]),
        [""; 0]
    );
    let listed = format!("{zone}pool01 A 10.1.0.10\n");
    assert_eq!(
        found_beside(Existing::Bind, conf, &[("contoso", &listed)]),
        ["INTERNAL-REGISTRATION file: pool01.contoso.com is not hidden"]
    );
    let unbound = "local-zone: \"contoso.com\" static\nlocal-data: \"sip.contoso.com A 167.55.49.32\"\n\
                   local-data: \"_sip._tls.contoso.com SRV 0 0 443 sip.contoso.com\"\n";
    assert_eq!(found(Existing::Unbound, unbound), [""; 0]);
    let dnsmasq = "local=/contoso.com/\nhost-record=sip.contoso.com,167.55.49.32\n\
                   srv-host=_sip._tls.contoso.com,sip.contoso.com,443\n";
    assert_eq!(found(Existing::Dnsmasq, dnsmasq), [""; 0]);
    let handed_on = format!("{dnsmasq}server=/pool01.contoso.com/10.0.0.53\n");
    assert_eq!(
        found(Existing::Dnsmasq, &handed_on),
        ["INTERNAL-REGISTRATION file: pool01.contoso.com is not hidden"]
    );
}

#[test]
fn a_policy_zone_of_bind_has_the_last_word() {
    let (policy, _) = policy::parse("site.toml", POLICY.as_bytes()).expect("a good policy");
    let written = |target: &'static Target| {
        render(target, &policy, &Options::default())
            .expect("it has names")
            .text
    };
    let (conf, policy_zone) = (written(&bind::TARGET), written(&rpz::TARGET));
    let beside = [("offramp.rpz", &*policy_zone)];
    assert_eq!(found_beside(Existing::Bind, &conf, &beside), [""; 0]);
    let own = conf.replace(
        "zone \"offramp.rpz\" {",
        "zone \"sip.contoso.com\" { type primary; file \"sip\"; };\n    zone \"offramp.rpz\" {",
    );
    let sip = "@ SOA ns root 1 2 3 4 5\n@ NS localhost.\n@ A 10.1.0.10\n";
    let beside = [("offramp.rpz", &*policy_zone), ("sip", sip)];
    assert_eq!(found_beside(Existing::Bind, &own, &beside), [""; 0]);
}

#[test]
fn what_cannot_be_read_of_a_named_conf_is_told_with_its_line() {
    let conf = |text: &str| format!("options {{ recursion yes; }};\n{text}");
    for (text, says) in [
        ("zone \"a\" {\n", "a `{` that is not closed"),
        ("\n};\n", "a `}` that closes nothing"),
        (
            "zone \"a..b\" { type primary; file \"x\"; };\n",
            "zone `a..b`",
        ),
    ] {
        let failed = audited(&[("file", &conf(text))], &[]);
        let said = failed.expect_err("it cannot be read").to_string();
        assert!(said.contains(says), "{said}");
    }
    let deep = conf(&"a {".repeat(100_000));
    let said = audited(&[("file", &deep)], &[])
        .expect_err("nobody writes that")
        .to_string();
    assert!(said.contains("braces are nested"), "{said}");
}

#[test]
fn a_file_of_no_known_kind_is_nothing_to_guess_about() {
    assert_eq!(Existing::detect("hello\n"), None);
    assert_eq!(Existing::detect(""), None);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Keywords of these files in any order, and arbitrary text between them.
    fn any_text() -> impl Strategy<Value = String> {
        let words = [
            "local-zone:",
            "local-data:",
            "\"sip.contoso.com.\"",
            "static",
            "60",
            "IN",
            "A",
            "AAAA",
            "SRV",
            "CNAME",
            ".",
            "*.",
            "local=/",
            "address=/",
            "server=/",
            "host-record=",
            "srv-host=",
            "sip.contoso.com",
            ",",
            "/",
            "=",
            "@",
            "SOA",
            "$TTL",
            ";",
            "#",
            "10.1.0.10",
            "::1",
            "zone",
            "view",
            "include",
            "match-clients",
            "response-policy",
            "type primary;",
            "file",
            "{",
            "}",
            "};",
            "/*",
            "(",
            "$ORIGIN",
            "push",
            "\"route",
            "dhcp-option",
            "DNS",
            "AllowedIPs",
            "\n",
            " ",
        ];
        let word = prop_oneof![
            4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
            1 => any::<String>(),
        ];
        prop::collection::vec(word, 0..40).prop_map(|words| words.join(" ").replace("\n ", "\n"))
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in any_text()) {
            // A first line for each kind, so that each reader has the text.
            for first in [
                "server 10.0.0.0 255.0.0.0",
                "ipv4-network = 10.0.0.0",
                "AllowedIPs = 10.0.0.0/8",
                "server:",
                "options { };",
                "@ SOA a. b. 1 2 3 4 5",
                "local=/a/",
            ] {
                let text = format!("{first}\n{text}");
                _ = audited(&[("file", &text)], &[("file", &text), ("x", &text)]);
            }
        }
    }
}

#[test]
fn the_configurations_of_no_sense_are_of_every_kind() {
    let kinds: std::collections::HashSet<_> =
        reference::kinds().map(|it| it.expect("a kind")).collect();
    assert_eq!(kinds.len(), reference::kinds().count());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 3_000, ..Default::default() })]

    #[test]
    fn whatever_is_in_the_files_reading_them_ends_without_a_panic(
        data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
    ) {
        reference::fuzz_against(&data);
    }
}

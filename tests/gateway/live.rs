//! `offramp verify --live`: compares a running gateway and a client with the policy.

use std::process::Command;

use serde_json::{Value, json};

use crate::beside::legacy;
use crate::site::plain::{self, MEDIA, OFFICE, PlainSite};
use crate::site::{Daemon, in_nftables_sandbox, in_sandbox, poll};
use crate::support::program;

const RULES: &str = "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.0/28\"]\nhosts = [\"pool01.contoso.com\"]\n\
     [[public]]\nname = \"Edge\"\naddresses = [\"167.55.49.32\"]\nhosts = [\"sip.contoso.com\"]\n\
     srv = [{ name = \"_sip._tls.contoso.com\", target = \"sip.contoso.com\", port = 443 }]\n";

fn dns(listen: &str) -> String {
    format!(
        "[dns]\nlisten = [\"{listen}\"]\nupstreams = [\"10.20.0.7\"]\nsip_domains = [\"contoso.com\"]\n"
    )
}

/// Returns the findings beyond those from the policy alone: `CODE what`.
#[track_caller]
fn found(site: &PlainSite, on_client: bool, arguments: &[&str]) -> Vec<String> {
    let policy = site.folder.path("policy.toml");
    let mut command = program(&["verify", &policy, "--json"]);
    command.args(arguments);
    let host = if on_client {
        &site.client
    } else {
        &site.concentrator
    };
    let ended = host.run(&mut command);
    let findings = ended.json()["findings"].clone();
    let findings = findings.as_array().expect("a list").iter();
    let is_live = |it: &&Value| {
        let why = it["why"].as_array().expect("a list");
        why.is_empty() || why.iter().any(|reason| reason["part"] == "host")
    };
    findings
        .filter(is_live)
        .map(|it| {
            let text = |key: &str| it[key].as_str().expect("a text").to_owned();
            format!("{} {}", text("code"), text("what"))
        })
        .collect()
}

#[test]
fn what_a_gateway_does_not_do_is_found() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("live_gateway");
        site.concentrator.ip("route add default via 192.0.2.7");
        let policy = |more: &str| format!("{}{RULES}{more}", dns("172.16.1.1:53"));
        for divert in ["suspects", "policy", "all"] {
            let options = format!("divert = \"{divert}\"\n{}", policy(""));
            let mut gateway = site.start(&options);
            assert_eq!(
                found(&site, false, &["--live", "gateway"]),
                [""; 0],
                "{divert}"
            );
            assert!(gateway.terminate().success());
        }
        let told = found(&site, false, &["--live", "gateway"]);
        assert!(
            told[0].contains("the DNS server 172.16.1.1:53 does not answer"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with("LEAK no gateway answers at "),
            "{told:?}"
        );

        let mut gateway = site.start(&policy(""));
        // The file changes and the gateway does not: it cannot load the new content.
        let ahead = "[[server]]\nname = \"New pool\"\naddresses = [\"198.51.100.0/28\"]\nhosts = [\"pool02.contoso.com\"]\n";
        let text = plain::policy(&site.folder, &policy(ahead));
        site.folder.write(
            "policy.toml",
            text.replace("\"tun0\"", "\"tun0\", \"offramp0\""),
        );
        poll("the refusal", || {
            gateway.log().contains("reload refused").then_some(())
        });
        let told = found(&site, false, &["--live", "gateway"]);
        assert!(
            told.iter()
                .any(|it| it.starts_with("STALE the gateway has refused the policy")),
            "{told:#?}"
        );
        assert!(!told.iter().any(|it| it.contains("self-test")), "{told:#?}");

        // The public service is routed into the tunnel.
        site.concentrator
            .ip("route add 167.55.49.32 via 172.16.1.10");
        let told = found(&site, false, &["--live", "gateway"]);
        let leak = "LEAK the kernel leads \"Edge\" into the tunnel: 167.55.49.32";
        assert!(told.iter().any(|it| it == leak), "{told:#?}");
        assert!(gateway.terminate().success());
    });
}

/// By nftables, packets of the self-test meet what a client's meet, whoever has set it up.
#[test]
fn what_takes_diverted_packets_away_is_found_by_packets_of_the_gateways_own() {
    in_nftables_sandbox(&["tc", "iptables-legacy-restore"], || {
        let site = PlainSite::new("live_takers");
        let mut gateway = site.start("divert = \"suspects\"\nmetrics = \"127.0.0.1:9464\"");
        let tested = || site.status()["diversion"]["self_test"]["failures"].clone();
        assert_eq!(
            site.status()["diversion"]["self_test"],
            json!({ "failures": [], "untested": [] })
        );
        assert_eq!(found(&site, false, &["--live", "gateway"]), [""; 0]);
        assert_eq!(site.get("/readyz").0, 200);

        let nft = |rules: &str| site.concentrator.nft(rules);
        let legacy = |rules: &str| legacy(&site, rules);
        let tc = |command: &str| {
            let mut tc = Command::new("tc");
            site.concentrator
                .run(tc.args(command.split_whitespace()))
                .success();
        };
        type Act<'a> = &'a dyn Fn();
        let scenes: [(&str, &str, Act<'_>, Act<'_>); 5] = [
            (
                "a firewall that stops IPv6 alone",
                "[fd00:2::2]:1024",
                &|| {
                    nft(
                        "table ip6 theirs { chain forward { type filter hook forward priority 0; oifname \"offramp0\" drop\n}\n}\n",
                    );
                },
                &|| nft("delete table ip6 theirs"),
            ),
            (
                "a firewall that stops half",
                "10.0.0.2:1024",
                &|| {
                    nft(
                        "table inet theirs { chain forward { type filter hook forward priority 0; oifname \"offramp0\" drop\n}\n}\n",
                    );
                },
                &|| nft("delete table inet theirs"),
            ),
            (
                "one that reads ports in its own way",
                "10.0.0.2:1024",
                &|| {
                    nft(
                        "table inet theirs { chain raw { type filter hook prerouting priority -310; @th,16,16 1024 drop\n}\n}\n",
                    );
                },
                &|| nft("delete table inet theirs"),
            ),
            (
                "rules of the other kind",
                "10.0.0.2:1024",
                &|| {
                    legacy(
                        "*mangle\n-A FORWARD -i tun0 -m length --length 0:65535 -j DROP\nCOMMIT\n",
                    );
                },
                &|| legacy("*mangle\nCOMMIT\n"),
            ),
            (
                "tc at the interface",
                "10.0.0.2:1024",
                &|| {
                    tc("qdisc add dev tun0 ingress");
                    tc(
                        "filter add dev tun0 parent ffff: protocol ip u32 match ip protocol 17 0xff action mirred egress redirect dev lo",
                    );
                },
                &|| tc("qdisc del dev tun0 ingress"),
            ),
        ];
        for (what, to, set_up, take_away) in scenes {
            set_up();
            let told = found(&site, false, &["--live", "gateway"]);
            let lost = format!(
                "LEAK the self-test of the gateway failed: a packet to {to} that enters at tun0 does not reach the filter"
            );
            assert!(
                told.iter().any(|it| it.starts_with(&lost)),
                "{what}: {told:#?}"
            );
            assert_eq!(site.get("/readyz").0, 503, "{what}");
            take_away();
            poll("the self-test to pass again", || {
                (tested() == json!([])).then_some(())
            });
        }
        gateway.wait_for_log("the self-test failed: a packet to");
        gateway.wait_for_log("the self-test passes again");

        // Its packets are no traffic, and nothing of it stays.
        assert_eq!(site.count("drop", "media"), 0);
        let mut show = Command::new("tc");
        let left = site
            .concentrator
            .run(show.args(["filter", "show", "dev", "offramp0", "ingress"]));
        assert_eq!(left.success(), "");
        site.send(OFFICE, MEDIA, 20, 100);
        poll("media to be counted", || {
            (site.count("drop", "media") == 20).then_some(())
        });
        assert!(gateway.terminate().success());
    });
}

/// A table that is emptied is restored within seconds; who asks meanwhile is told.
#[test]
fn an_emptied_table_is_found_at_once() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("live_emptied");
        let mut gateway = site.start("");
        poll("a finding before the table is restored", || {
            let mut nft = Command::new("nft");
            site.concentrator
                .run(nft.args(["flush", "table", "inet", "offramp"]));
            let told = found(&site, false, &["--live", "gateway"]);
            let lost = "LEAK the self-test of the gateway failed: ";
            told.iter().any(|it| it.starts_with(lost)).then_some(())
        });
        poll("the table to be restored", || {
            found(&site, false, &["--live", "gateway"])
                .is_empty()
                .then_some(())
        });
        assert!(gateway.terminate().success());
    });
}

#[test]
fn what_a_client_meets_is_held_against_the_policy() {
    in_sandbox(&[], || {
        let site = PlainSite::new("live_client");
        let mut gateway = site.start(&format!("{}{RULES}", dns("172.16.1.1:53")));
        let live = ["--live", "client", "--resolver", "172.16.1.1"];
        assert_eq!(
            found(&site, true, &live),
            ["LEAK the kernel leads \"Edge\" into the tunnel: 167.55.49.32"]
        );
        site.client.ip("
            link add home type veth peer name street
            link set street up
            address add 192.168.1.10/24 dev home
            link set home up
            route add 167.55.49.32 dev home");
        assert_eq!(found(&site, true, &live), [""; 0]);
        site.client.ip("route add 10.1.0.0/16 dev home");
        // The client queries a company server that knows only the internal names.
        let inside = format!(
            "{}[[public]]\nname = \"Pool\"\naddresses = [\"10.1.0.10\"]\nhosts = [\"pool01.contoso.com\", \"sip.contoso.com\"]\n",
            dns("172.16.1.1:5353")
        );
        let inside = site
            .folder
            .write("inside.toml", plain::policy(&site.folder, &inside));
        let mut company = Daemon::start(
            &site.concentrator,
            "offramp dns",
            site.folder.path("inside.log"),
            &mut program(&["dns", &inside]),
        );
        company.wait_for_log("DNS queries are answered at");
        let told = found(
            &site,
            true,
            &["--live", "client", "--resolver", "172.16.1.1:5353"],
        );
        for what in [
            "INTERNAL-REGISTRATION 172.16.1.1:5353 does not hide pool01.contoso.com A",
            "LEAK 172.16.1.1:5353 answers sip.contoso.com A with 10.1.0.10",
            "INTERNAL-REGISTRATION 172.16.1.1:5353 does not pin _sip._tls.contoso.com SRV",
        ] {
            assert!(told.iter().any(|it| it == what), "{what}: {told:#?}");
        }
        assert!(company.terminate().success());
        assert!(gateway.terminate().success());
    });
}

#[test]
fn a_home_without_ipv6_lacks_nothing_and_one_with_it_must_reach_the_services() {
    in_sandbox(&[], || {
        let site = PlainSite::new("live_home");
        let rules = RULES.replace(
            "\"167.55.49.32\"]",
            "\"167.55.49.32\", \"2001:db8:ffff::32\"]",
        );
        let mut gateway = site.start(&format!("{}{rules}", dns("172.16.1.1:53")));
        let live = ["--live", "client", "--resolver", "172.16.1.1"];
        site.client.ip("
            link add home type veth peer name street
            link set street up
            address add 192.168.1.10/24 dev home
            link set home up
            route add 167.55.49.32 dev home
            route del default via fd00:1::1
            route add fd00:2::/48 via fd00:1::1");
        assert_eq!(found(&site, true, &live), [""; 0]);
        let policy = site.folder.path("policy.toml");
        let mut verify = program(&["verify", &policy]);
        let said = site.client.run(verify.args(live));
        let unchecked = "routes: this host has no IPv6 outside the tunnel";
        let all = said.stdout + &said.stderr;
        assert!(all.contains(unchecked), "{all}");

        site.client
            .ip("address add 2001:db8:a1::10/64 dev home nodad");
        assert_eq!(
            found(&site, true, &live),
            ["BLACKHOLE the kernel has no way to \"Edge\": 2001:db8:ffff::32"]
        );
        assert!(gateway.terminate().success());
    });
}

//! The gateway beside the firewalls of others, loaded before it starts and while it runs.
//!
//! Under eBPF nothing of theirs has to be changed. Under nftables a firewall that would stop allowed traffic is an error at
//! the start, and while the gateway runs a finding: traffic and findings have to agree.

use std::process::Command;

use serde_json::Value;

use crate::site::plain::{self, DNS, ELSEWHERE, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Diversion, in_sandbox, poll};

/// A service at a media port that the policy allows.
pub(crate) const ALLOWED: u16 = 3_389;

/// A firewall as it is found on a concentrator.
struct Firewall {
    name: &'static str,
    load: Load,
    /// Part of the error where it stops what nftables diverts.
    stops: Option<&'static str>,
}

/// The way of loading a firewall.
enum Load {
    Nft(&'static str),
    /// The program, and its input.
    Restore(&'static [&'static str], &'static str),
    Setting(&'static str),
    Ufw,
}

pub(crate) const POLICY: &str = "metrics = \"127.0.0.1:9464\"\ndivert = \"suspects\"\n\
    [[allow]]\nname = \"desktops\"\nto = [\"10.20.0.0/16\", \"fd00:2::/64\"]\nports = [\"3389\"]\n\
    [[server]]\nname = \"pool\"\naddresses = [\"10.20.0.8\"]\n";

/// A usual firewall of a concentrator.
pub(crate) const DROP_BY_DEFAULT: &str = r#"table inet filter {
             chain forward { type filter hook forward priority 0; policy drop;
               ct state established,related accept
               iifname "tun0" accept
             }
           }
           table ip nat {
             chain out { type nat hook postrouting priority 100;
               ip saddr 172.16.1.0/24 oifname "eth1" masquerade
             }
           }"#;

const HAND_WRITTEN: Firewall = Firewall {
    name: "a hand-written one that drops by default",
    load: Load::Nft(DROP_BY_DEFAULT),
    stops: Some("what goes on from offramp0"),
};

const ZONES: Firewall = Firewall {
    name: "zones, as firewalld has them",
    load: Load::Nft(
        r#"table inet firewalld {
             chain forward { type filter hook forward priority filter + 10; policy accept;
               ct state { established, related } accept
               ct status dnat accept
               iifname "lo" accept
               ct state invalid drop
               jump policies
               reject with icmpx admin-prohibited
             }
             chain policies { iifname "tun0" goto vpn
               iifname "eth1" goto lan
             }
             chain vpn { accept
             }
             chain lan { ct state new accept
             }
           }"#,
    ),
    stops: Some("what goes on from offramp0"),
};

const REVERSE_PATH: Firewall = Firewall {
    name: "the reverse path filter of firewalld",
    load: Load::Nft(
        r#"table inet firewalld {
             chain prerouting { type filter hook prerouting priority filter + 10; policy accept;
               icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
               meta nfproto ipv6 fib saddr . mark . iif oif missing drop
             }
           }"#,
    ),
    stops: Some("is a reverse path filter"),
};

const REVERSE_PATH_WITHOUT_MARKS: Firewall = Firewall {
    name: "a reverse path filter that leaves marks out",
    load: Load::Nft(
        r#"table ip reverse {
             chain prerouting { type filter hook prerouting priority raw; policy accept;
               fib saddr . iif oif missing drop
             }
           }"#,
    ),
    stops: Some("packets that come back from the filter's device offramp0"),
};

const DOCKER: &str = "*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -i tun0 -j ACCEPT
-A DOCKER-USER -o tun0 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
";

const RPFILTER: &str = "*raw\n-A PREROUTING -m rpfilter --invert -j DROP\nCOMMIT\n";

/// One that lets pass what is diverted, both times.
const PREPARED: Firewall = Firewall {
    name: "one that knows of the filter's device",
    load: Load::Nft(
        r#"table inet filter {
             set vpn { type ifname; elements = { "tun0", "offramp0" } }
             chain forward { type filter hook forward priority 0; policy drop;
               ct state vmap { established : accept, related : accept, invalid : drop }
               oifname "offramp0" accept
               iifname @vpn jump from_vpn
             }
             chain from_vpn { ip daddr 192.0.2.66 drop
               accept
             }
             chain prerouting { type filter hook prerouting priority -10;
               iifname { "offramp0", "tun0" } accept
               fib saddr . mark . iif oif missing drop
             }
           }"#,
    ),
    stops: None,
};

const DOCKER_NFT: Firewall = Firewall {
    name: "Docker's, by iptables-nft",
    load: Load::Restore(&["iptables-nft-restore"], DOCKER),
    stops: Some("what goes on from offramp0"),
};

const DOCKER_LEGACY: Firewall = Firewall {
    name: "Docker's, by iptables-legacy",
    load: Load::Restore(&["iptables-legacy-restore"], DOCKER),
    stops: Some("(iptables-legacy) stops what it does not know"),
};

const RPFILTER_NFT: Firewall = Firewall {
    name: "a reverse path filter of iptables-nft",
    load: Load::Restore(&["iptables-nft-restore", "ip6tables-nft-restore"], RPFILTER),
    stops: Some("chain ip raw PREROUTING is a reverse path filter"),
};

const RPFILTER_LEGACY: Firewall = Firewall {
    name: "a reverse path filter of iptables-legacy",
    load: Load::Restore(
        &["iptables-legacy-restore", "ip6tables-legacy-restore"],
        RPFILTER,
    ),
    stops: Some("chain ip raw PREROUTING (iptables-legacy) is a reverse path filter"),
};

const STRICT: Firewall = Firewall {
    name: "strict reverse path filters",
    load: Load::Setting("ipv4/conf/all/rp_filter"),
    stops: Some("net.ipv4.conf.all.rp_filter is 1"),
};

const SPOOFED: Firewall = Firewall {
    name: "a filter of spoofed sources",
    load: Load::Nft(
        r#"table inet spoofed {
             chain before { type filter hook prerouting priority filter; policy accept;
               iifname != "tun0" ip saddr 172.16.1.0/24 drop
               iifname != "eth1" ip saddr 10.0.0.0/8 drop
             }
           }"#,
    ),
    stops: Some(
        "chain inet spoofed before stops what it does not know: what goes on from offramp0",
    ),
};

const SPOOFED_LEGACY: Firewall = Firewall {
    name: "a filter of spoofed sources of iptables-legacy",
    load: Load::Restore(
        &["iptables-legacy-restore"],
        "*filter\n-A FORWARD ! -i tun0 -s 172.16.1.0/24 -j REJECT\nCOMMIT\n",
    ),
    stops: Some("chain ip filter FORWARD (iptables-legacy) stops what it does not know"),
};

impl Firewall {
    fn load(&self, site: &PlainSite) {
        match &self.load {
            Load::Nft(rules) => site.concentrator.nft(rules),
            Load::Restore(programs, rules) => {
                let file = site.folder.write("rules", rules);
                for program in *programs {
                    let mut command = Command::new(program);
                    site.concentrator.run(command.arg(&file)).success();
                }
            }
            Load::Setting(key) => site.concentrator.set(key, "1"),
            Load::Ufw => {
                for arguments in [
                    &["route", "allow", "in", "on", "tun0"][..],
                    &["--force", "enable"],
                ] {
                    let mut command = Command::new("ufw");
                    site.concentrator.run(command.args(arguments)).success();
                }
            }
        }
    }

    fn unload(&self, site: &PlainSite) {
        match &self.load {
            Load::Nft(_) => remove_tables(site),
            Load::Restore(programs, rules) => {
                let tables: String = rules
                    .lines()
                    .filter(|line| line.starts_with('*'))
                    .map(|table| {
                        // A policy stays when rules are flushed.
                        let policy = if table == "*filter" {
                            ":FORWARD ACCEPT\n"
                        } else {
                            ""
                        };
                        format!("{table}\n{policy}COMMIT\n")
                    })
                    .collect();
                let file = site.folder.write("rules", tables);
                for program in *programs {
                    let mut command = Command::new(program);
                    site.concentrator.run(command.arg(&file)).success();
                }
            }
            Load::Setting(key) => site.concentrator.set(key, "0"),
            Load::Ufw => {
                let mut command = Command::new("ufw");
                site.concentrator
                    .run(command.args(["--force", "disable"]))
                    .success();
            }
        }
    }
}

/// Removes all tables of nftables but the gateway's own.
fn remove_tables(site: &PlainSite) {
    let mut list = Command::new("nft");
    let listed = site
        .concentrator
        .run(list.args(["list", "tables"]))
        .success();
    for table in listed.lines().filter(|line| !line.ends_with(" offramp")) {
        site.concentrator.nft(&format!("delete {table}"));
    }
}

pub(crate) fn site(name: &str) -> PlainSite {
    let site = PlainSite::new(name);
    for address in [OFFICE, OFFICE6] {
        for port in [DNS, MEDIA, ALLOWED] {
            site.echo(address, port);
        }
    }
    site.echo(ELSEWHERE, MEDIA);
    site
}

/// The faults in the traffic of a client.
pub(crate) fn faults(site: &PlainSite) -> Vec<String> {
    let mut faults = Vec::new();
    for address in [OFFICE, OFFICE6] {
        for (port, length) in [(DNS, 100), (ALLOWED, 100), (DNS, 4_000)] {
            if !site.is_answered(address, port, length) {
                faults.push(format!("no answer of {length} bytes from {address} {port}"));
            }
        }
        if site.is_answered(address, MEDIA, 100) {
            faults.push(format!("media is answered by {address}"));
        }
    }
    if !site.is_answered(ELSEWHERE, MEDIA, 100) {
        faults.push("no answer from elsewhere".to_owned());
    }
    faults
}

/// Returns the findings of a look at the host that begins from here on.
pub(crate) fn findings(site: &PlainSite) -> Vec<Value> {
    let checks = || site.status()["health_checks"].as_u64().expect("a number");
    let before = checks();
    // The next one may have begun already.
    poll("two looks at the host", || {
        (checks() >= before + 2).then_some(())
    });
    let status = site.status();
    status["health"].as_array().expect("a list").clone()
}

/// Loads a firewall before the gateway starts, and while it runs.
fn try_beside(site: &PlainSite, firewall: &Firewall) {
    let stops = match Diversion::here() {
        Diversion::Ebpf => None,
        Diversion::Nftables => firewall.stops,
    };
    let name = firewall.name;
    println!("{name}");
    let policy = plain::policy(&site.folder, POLICY);
    let policy = site.folder.write("policy.toml", policy);

    firewall.load(site);
    if let Some(part) = stops {
        let said = site.offramp(&["run", &policy]).failure(1);
        assert!(said.contains(part), "{name}: {said}");
    } else {
        let mut gateway = site.start_again("before.log");
        assert_eq!(findings(site), [] as [Value; 0], "{name}");
        assert_eq!(faults(site), [] as [String; 0], "{name}, loaded before");
        assert_eq!(gateway.terminate().code(), Some(0));
    }
    firewall.unload(site);

    let mut gateway = site.start_again("while.log");
    assert_eq!(findings(site), [] as [Value; 0], "{name} is gone");
    firewall.load(site);
    let found = findings(site);
    let faults_now = faults(site);
    if let Some(part) = stops {
        let is_it = |finding: &Value| {
            finding["severity"] == "error"
                && finding["what"]
                    .as_str()
                    .is_some_and(|what| what.contains(part))
        };
        assert!(found.iter().any(is_it), "{name}: {found:#?}");
        let (code, body) = site.get("/readyz");
        assert!(code == 503 && body.contains(part), "{name}: {code} {body}");
        assert_ne!(faults_now, [] as [String; 0], "{name} stops nothing");
        gateway.wait_for_log(part);
    } else {
        assert_eq!(found, [] as [Value; 0], "{name}");
        assert_eq!(faults_now, [] as [String; 0], "{name}, loaded later");
        assert_eq!(site.get("/readyz").0, 200, "{name}");
    }
    firewall.unload(site);
    assert_eq!(findings(site), [] as [Value; 0], "{name} is gone");
    assert_eq!(site.get("/readyz").0, 200);
    if stops.is_some() {
        gateway.wait_for_log("resolved: ");
    }
    assert_eq!(faults(site), [] as [String; 0], "{name} is gone");
    assert_eq!(gateway.terminate().code(), Some(0));
}

#[test]
fn firewalls_that_drop_by_default_stop_nothing_or_are_found() {
    in_sandbox(&[], || {
        let site = site("beside_defaults");
        for firewall in [HAND_WRITTEN, ZONES, PREPARED] {
            try_beside(&site, &firewall);
        }
    });
}

#[test]
fn reverse_path_filters_stop_nothing_or_are_found() {
    in_sandbox(&[], || {
        let site = site("beside_reverse_path");
        for firewall in [REVERSE_PATH, REVERSE_PATH_WITHOUT_MARKS, STRICT] {
            try_beside(&site, &firewall);
        }
    });
}

#[test]
fn filters_of_spoofed_sources_stop_nothing_or_are_found() {
    in_sandbox(&["iptables-legacy-restore"], || {
        let site = site("beside_spoofed");
        for firewall in [SPOOFED, SPOOFED_LEGACY] {
            try_beside(&site, &firewall);
        }
    });
}

#[test]
fn rules_of_iptables_nft_stop_nothing_or_are_found() {
    in_sandbox(&["iptables-nft-restore", "ip6tables-nft-restore"], || {
        let site = site("beside_iptables_nft");
        for firewall in [DOCKER_NFT, RPFILTER_NFT] {
            try_beside(&site, &firewall);
        }
    });
}

#[test]
fn rules_of_iptables_legacy_stop_nothing_or_are_found() {
    in_sandbox(
        &["iptables-legacy-restore", "ip6tables-legacy-restore"],
        || {
            let site = site("beside_iptables_legacy");
            for firewall in [DOCKER_LEGACY, RPFILTER_LEGACY] {
                try_beside(&site, &firewall);
            }
        },
    );
}

#[test]
fn ufw_stops_nothing_or_is_found() {
    in_sandbox(&["ufw"], || {
        let site = site("beside_ufw");
        // Its files are the sandbox's own.
        let copy = "cp -r /etc/ufw \"$0\" && mount --bind \"$0/ufw\" /etc/ufw";
        let folder = site.folder.path("");
        let mut command = Command::new("sh");
        site.concentrator
            .run(command.args(["-c", copy, &folder]))
            .success();
        try_beside(
            &site,
            &Firewall {
                name: "ufw",
                load: Load::Ufw,
                stops: Some("what goes on from offramp0"),
            },
        );
    });
}

/// A port forwarding as each program has it: it applies to clients, too.
const FORWARDINGS: [Firewall; 3] = [
    Firewall {
        name: "chain ip nat before leads packets of clients to 10.20.0.7:50020",
        load: Load::Nft(
            r#"table ip nat { chain before { type nat hook prerouting priority dstnat;
                 iifname "eth1" udp dport 444 dnat to 10.20.0.7:50020
                 udp dport 443 dnat to 10.20.0.7:50020
               }
             }"#,
        ),
        stops: None,
    },
    Firewall {
        name: "chain ip nat PREROUTING leads packets of clients to 10.20.0.7:50020",
        load: Load::Restore(&["iptables-nft-restore"], FORWARDING),
        stops: None,
    },
    Firewall {
        name: "chain ip nat PREROUTING (iptables-legacy) leads packets of clients to 10.20.0.7:50020",
        load: Load::Restore(&["iptables-legacy-restore"], FORWARDING),
        stops: None,
    },
];

const FORWARDING: &str = "*nat
-A PREROUTING -i eth1 -p udp --dport 444 -j DNAT --to-destination 10.20.0.7:50020
-A PREROUTING -p udp --dport 443 -j DNAT --to-destination 10.20.0.7:50020
COMMIT
";

#[test]
fn a_port_forwarding_past_the_policy_is_a_warning() {
    in_sandbox(&["iptables-nft-restore", "iptables-legacy-restore"], || {
        let site = site("port_forwarding");
        let mut gateway = site.start(POLICY);
        for forwarding in &FORWARDINGS {
            let says = forwarding.name;
            assert_eq!(findings(&site), [] as [Value; 0]);
            assert!(!site.is_answered(ELSEWHERE, 443, 100));
            forwarding.load(&site);
            let found = findings(&site);
            let [warning] = &found[..] else {
                panic!("{says}: {found:#?}");
            };
            assert_eq!(warning["severity"], "warning");
            let what = warning["what"].as_str().expect("a text");
            assert!(what.contains(says), "{what}");
            assert!(
                site.is_answered(ELSEWHERE, 443, 100),
                "{says}: it is no leak"
            );
            assert_eq!(site.get("/readyz").0, 200);
            gateway.wait_for_log(says);
            forwarding.unload(&site);
        }
        assert_eq!(gateway.terminate().code(), Some(0));
        // It is found before a start, too, and keeps none from starting.
        let [forwarding, ..] = &FORWARDINGS;
        forwarding.load(&site);
        let mut gateway = site.start_again("again.log");
        assert!(gateway.log().contains(forwarding.name));
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

//! Every target against the policy, and what cannot be written.

use super::*;
use crate::policy;
use crate::render::{Difference, Kind, Options, Read, compare, render};

const POLICY: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
[corporate]
subnets = ["10.0.0.0/8"]
dns_servers = ["10.0.0.53"]
[[server]]
name = "Front End pool"
addresses = ["10.1.0.10"]
hosts = ["pool01.contoso.com"]
[[public]]
name = "Access Edge"
addresses = ["167.55.49.32", "2001:db8:ed9e::32"]
hosts = ["sip.contoso.com"]
srv = [
    { name = "_sip._tls.contoso.com", target = "sip.contoso.com", port = 443 },
    { name = "_sip._tls.contoso.com", target = "sip.contoso.com", port = 5061, priority = 10, weight = 5 },
]
[[public]]
name = "Reverse proxy"
addresses = ["167.55.49.35", "167.55.50.35"]
hosts = ["meet.contoso.com", "meet.pool01.contoso.com", "www.fabrikam.com"]
[dns]
listen = ["172.16.1.1:53", "[fd00:1::1]:53"]
sip_domains = ["contoso.com"]
upstreams = ["10.0.0.53", "10.0.1.53:5353"]
"#;

fn targets() -> impl Iterator<Item = &'static Target> {
    Target::of_kind(Kind::Names)
}

fn written(target: &'static Target, text: &str) -> Result<Rendered, RenderError> {
    let (policy, _) = policy::parse("policy.toml", text.as_bytes()).expect("a good policy");
    of(target, &policy)
}

fn of(target: &'static Target, policy: &Policy) -> Result<Rendered, RenderError> {
    render(target, policy, &Options::default())
}

#[test]
fn every_target_is_written_as_its_program_reads_it() {
    for target in targets() {
        let file = written(target, POLICY).expect("all of it can be said");
        let warnings: String = file.warnings.iter().map(|it| format!("{it}\n")).collect();
        insta::assert_snapshot!(target.name, file.text.replace('\r', "") + &warnings);
    }
}

#[test]
fn no_name_of_the_policy_is_left_out_in_silence() {
    let (policy, _) = policy::parse("policy.toml", POLICY.as_bytes()).expect("a good policy");
    let zones = Zones::of(&policy);
    for target in targets().filter(|it| **it != bind::TARGET) {
        let file = of(target, &policy).expect("all of it can be said");
        let said = file.text + &file.warnings.concat();
        for owner in zones.owners() {
            assert!(
                said.contains(&owner.name.to_string()),
                "{target}: {}",
                owner.name
            );
        }
    }
}

#[test]
fn what_cannot_be_said_is_refused_with_what_to_write() {
    let nothing = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n";
    for target in targets() {
        assert_eq!(
            written(target, nothing),
            Err(RenderError::NoNames),
            "{target}"
        );
    }
    let elsewhere = POLICY.replace(":53\"", ":5300\"");
    let error = written(&windows_nrpt::TARGET, &elsewhere).expect_err("no server at port 53");
    assert!(error.to_string().contains("dns.listen"), "{error}");
    let label = "x".repeat(60);
    let long = POLICY.replace(
        "meet.contoso.com",
        &format!("{label}.{label}.{label}.{label}.com"),
    );
    assert!(matches!(
        written(&rpz::TARGET, &long),
        Err(RenderError::NameTooLong { .. })
    ));
    assert!(written(&unbound::TARGET, &long).is_ok());
}

#[test]
fn no_query_policy_of_windows_speaks_of_a_whole_zone() {
    let text = written(&windows_dns_policy::TARGET, POLICY)
        .expect("all of it can be said")
        .text;
    let policies = text
        .lines()
        .filter(|line| line.starts_with("Add-DnsServerQueryResolutionPolicy "));
    // Two zones, and a policy of the server for each name that is hidden.
    let of_zones = policies.clone().filter(|it| it.contains(" -ZoneName "));
    assert_eq!(of_zones.count(), 2, "{text}");
    assert!(
        policies.clone().all(|line| line.contains(" -Fqdn 'EQ,")),
        "{text}"
    );
}

#[test]
fn a_hidden_host_of_a_child_zone_is_refused_by_the_server_whatever_its_zone() {
    let child = POLICY.replace("\"pool01.contoso.com\"", "\"sfbpool.ad.contoso.com\"");
    let text = written(&windows_dns_policy::TARGET, &child)
        .expect("all of it can be said")
        .text;
    let policy = "-Action DENY -ClientSubnet 'EQ,offramp' -Fqdn 'EQ,sfbpool.ad.contoso.com,*.sfbpool.ad.contoso.com'\n";
    assert!(text.contains(policy), "{text}");
    assert!(!text.contains("-ZoneName 'ad.contoso.com'"), "{text}");
}

#[test]
fn a_zone_that_the_policy_does_not_name_is_said_to_be_guessed() {
    let guesses = |text: &str| {
        let warnings = written(&windows_dns_policy::TARGET, text)
            .expect("all of it can be said")
            .warnings;
        let mut guessed = warnings.into_iter();
        guessed.find(|it| it.contains("zones guessed"))
    };
    let child = POLICY.replace("\"sip.contoso.com\"", "\"sip.ad.contoso.com\"");
    for (text, zone) in [(POLICY, "fabrikam.com"), (&child, "contoso.com")] {
        let warning = guesses(text).expect("a zone that is guessed");
        assert!(warning.contains(zone), "{warning}");
    }
    let own = POLICY.replace("fabrikam.com", "contoso.com");
    let own = own.replace("\"meet.pool01.contoso.com\"", "\"join.contoso.com\"");
    assert_eq!(guesses(&own), None);
}

#[test]
fn a_rule_of_name_resolution_goes_to_a_client_or_to_a_group_policy() {
    let text = written(&windows_nrpt::TARGET, POLICY)
        .expect("a server at port 53")
        .text;
    let rules = text
        .lines()
        .filter(|it| it.starts_with("Add-DnsClientNrptRule"));
    assert!(rules.clone().count() > 2);
    assert!(
        rules
            .clone()
            .all(|it| it.starts_with("Add-DnsClientNrptRule @store ")),
        "{text}"
    );
    assert!(
        text.contains(r"HKLM:\SOFTWARE\Policies\Microsoft\Windows NT\DNSClient\DnsPolicyConfig")
    );
}

#[test]
fn a_zone_that_takes_a_domain_with_it_is_worth_a_warning() {
    let apex = POLICY.replace("\"www.fabrikam.com\"", "\"fabrikam.com\"");
    for target in [&windows_dnscmd::TARGET, &windows_dns::TARGET] {
        let file = written(target, &apex).expect("all of it can be said");
        assert!(
            file.warnings.iter().any(|it| it.contains("fabrikam.com")),
            "{target}: {:?}",
            file.warnings
        );
        let file = written(target, POLICY).expect("all of it can be said");
        assert_eq!(file.warnings, [] as [&str; 0], "{target}");
    }
}

#[test]
fn a_scope_of_windows_is_that_of_the_zone_in_which_a_name_stands() {
    let text = POLICY
        .replace(
            "\"www.fabrikam.com\"",
            "\"fabrikam.com\", \"www.litware.com\", \"a.b.c.contoso.com\"",
        )
        .replacen("_sip._tls.contoso.com", "_sip._tls.eu.fabrikam.com", 1);
    let text = written(&windows_dns_policy::TARGET, &text)
        .expect("all of it can be said")
        .text;
    let scopes: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Add-DnsServerZoneScope -ZoneName "))
        .collect();
    for zone in [
        "contoso.com",
        "fabrikam.com",
        "litware.com",
        "eu.fabrikam.com",
    ] {
        let scope = format!("'{zone}' -Name 'offramp'");
        assert!(scopes.contains(&scope.as_str()), "{zone}: {scopes:?}");
    }
    assert_eq!(scopes.len(), 4, "{scopes:?}");
    for (zone, node) in [
        ("fabrikam.com", "@"),
        ("litware.com", "www"),
        ("contoso.com", "a.b.c"),
        ("eu.fabrikam.com", "_sip._tls"),
    ] {
        let record = text.lines().any(|line| {
            line.contains(&format!("-ZoneName '{zone}'"))
                && line.contains(&format!(" -Name '{node}'"))
                && line.starts_with("Add-DnsServerResourceRecord")
        });
        assert!(record, "{node} in {zone}: {text}");
    }
}

/// RFC 1035 §2.3.4: a name has 255 bytes at most, lengths of labels and the root included.
#[test]
fn a_name_is_as_long_as_the_policy_zone_and_a_wildcard_leave_it() {
    let labels = "x".repeat(63);
    let named = |last: usize| {
        let name = format!("{labels}.{labels}.{labels}.{}.com", "x".repeat(last));
        written(&rpz::TARGET, &POLICY.replace("meet.contoso.com", &name))
    };
    // 3 × 64 + 44 + 4 + 1 = 241 bytes, 2 for the wildcard, 12 for `offramp.rpz`: 255.
    assert!(named(43).is_ok());
    assert!(matches!(named(44), Err(RenderError::NameTooLong { .. })));
}

#[test]
fn dnsmasq_listens_at_one_port() {
    let warnings = |listen: &str| {
        let text = POLICY.replace("\"172.16.1.1:53\", \"[fd00:1::1]:53\"", listen);
        let file = written(&dnsmasq::TARGET, &text).expect("all of it can be said");
        file.warnings
    };
    assert_eq!(
        warnings("\"172.16.1.1:53\", \"[fd00:1::1]:5353\""),
        ["dnsmasq listens at one port: the first of `dns.listen` is taken"]
    );
    assert_eq!(
        warnings(""),
        ["`dns.listen` is not set: add interface= or listen-address= for the tunnel"]
    );
    assert_eq!(warnings("\"172.16.1.1:53\""), [] as [&str; 0]);
}

#[test]
fn the_name_of_the_policy_file_stays_in_its_comment() {
    let (policy, _) =
        policy::parse("evil\nserver:\n%PATH%.toml", POLICY.as_bytes()).expect("a good policy");
    for target in targets() {
        let text = of(target, &policy).expect("all of it can be said").text;
        let first = text.lines().next().unwrap_or_default();
        assert!(first.contains("evil?server:?"), "{text}");
        // cmd.exe expands variables in comments, too.
        let is_bare = !first.contains('%');
        assert_eq!(is_bare, *target == windows_dnscmd::TARGET, "{text}");
    }
}

#[test]
fn a_file_that_people_edited_is_compared_by_what_it_says() {
    let (policy, _) = policy::parse("policy.toml", POLICY.as_bytes()).expect("a good policy");
    let compared = |target, change: &dyn Fn(&str) -> String| {
        let text = of(target, &policy).expect("all of it can be said").text;
        let difference = compare(target, &policy, &Options::default(), &change(&text));
        difference.map(|it| match it {
            None => Vec::new(),
            Some(Difference::Names(lines)) => lines,
            Some(other) => panic!("{other:?}"),
        })
    };
    for target in targets().filter(|it| !matches!(it.read, Read::No)) {
        let reordered = |text: &str| {
            text.lines()
                .rev()
                .map(|line| format!("  {line}\n"))
                .collect::<String>()
        };
        assert_eq!(compared(target, &reordered), Ok(Vec::new()), "{target}");
        let moved =
            compared(target, &|text| text.replace("167.55.50.35", "10.1.0.35")).expect("records");
        assert!(
            moved.iter().all(|line| line.contains("A 10.1.0.35")),
            "{target}: {moved:?}"
        );
        assert_eq!(moved.len(), 3, "{target}: {moved:?}");
        let dropped = |text: &str| -> String {
            let kept = text
                .lines()
                .filter(|line| !line.contains("lyncdiscoverinternal"));
            kept.map(|line| format!("{line}\n")).collect()
        };
        let dropped = compared(target, &dropped).expect("records");
        assert!(
            dropped[0]
                .contains("lyncdiscoverinternal.contoso.com: nothing, and should be: no such name"),
            "{target}: {dropped:?}"
        );
    }
    // Other words of the two programs for the same answers.
    let same = [
        (&unbound::TARGET, "always_nxdomain", "static"),
        (&dnsmasq::TARGET, "local=/", "address=/"),
    ];
    for (target, word, other) in same {
        let replaced = |text: &str| {
            assert!(text.contains(word), "{target}: {text}");
            text.replace(word, other)
        };
        assert_eq!(compared(target, &replaced), Ok(Vec::new()), "{target}");
    }
    let cut = compared(&dnsmasq::TARGET, &|_| {
        "\nsrv-host=a.contoso.com,b".to_owned()
    });
    assert_eq!(
        cut.map_err(|error| error.to_string()),
        Err("line 2: `srv-host=a.contoso.com,b` is incomplete".to_owned())
    );
    let leaking = compared(&unbound::TARGET, &|text| {
        text.replace("transparent", "typetransparent")
    });
    assert!(leaking.is_err_and(|error| error.to_string().contains("`typetransparent`")));
    let leaking = compared(&dnsmasq::TARGET, &|text| {
        text.replace("local=/sip.", "#local=/sip.")
    });
    assert!(leaking.is_err_and(|error| error.to_string().contains("would be forwarded")));
}

/// Lines of files, in pieces that fit together or do not.
const PIECES: &[&str] = &[
    "local-zone:",
    "local-data:",
    " \"sip.contoso.com. ",
    "transparent",
    "always_nxdomain\n",
    "60 IN ",
    "A 1.2.3.4\"\n",
    "CNAME ",
    ".\n",
    "*.",
    "sip.contoso.com ",
    "IN SRV 0 0 443 ",
    "local=/",
    "/\n",
    "server=/*.",
    "/#\n",
    "host-record=",
    ",",
    "srv-host=",
    "\\",
    "\n",
    "#",
    ";",
];

proptest::proptest! {
    // Each case writes and reads the files of all targets.
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn every_file_is_read_back_as_the_policy(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 2_000)) {
        reference::fuzz_names(&bytes);
    }

    #[test]
    fn no_text_makes_a_reader_panic(
        text in "[ -~\n]{0,200}",
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..12),
    ) {
        let (policy, _) = policy::parse("policy.toml", POLICY.as_bytes()).expect("a good policy");
        reference::fuzz_names_file(&policy, &text);
        reference::fuzz_names_file(&policy, &pieces.concat());
    }
}

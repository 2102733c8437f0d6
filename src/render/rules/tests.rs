//! Every target for people to read, and what must not break a file.

use super::{
    cisco_asa_filter, fortigate_policy, ipset, iptables, nftables, windows_firewall,
    windows_firewall_gpo, windows_intune, windows_netsh, windows_registry, windows_remediation,
    windows_remediation_detect, windows_task,
};
use crate::policy::{self, Policy};
use crate::render::{Kind, Options, RenderError, Rendered, Target, render};

/// A site with one of everything that a rule can say.
pub(super) const SITE: &str = r#"[vpn]
interfaces = ["tun0", "vpns*"]
client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
[corporate]
subnets = ["10.0.0.0/8", "fd00:2::/48"]
[[server]]
name = "Front End \"pool\" | Edge, internal"
addresses = ["10.1.0.10", "10.1.0.16/28", "fd00:2::10"]
[[allow]]
name = "Remote Desktop"
to = ["10.9.0.0/24"]
protocols = ["tcp"]
ports = ["3389"]
[[allow]]
name = "replies of services on clients"
to = ["10.0.0.0/8", "fd00:2::/48"]
from_ports = ["135", "1-100"]
lifts = ["media", "servers"]
[[public]]
name = "Edge"
addresses = ["167.55.49.32/29", "2001:db8:ed9e::/64"]
[[endpoint]]
name = "Skype for 'Business'"
product = "skype-for-business-c2r"
programs = ['C:\Tools\100%\x.exe']
profile = "domain"
interface_type = "remote-access"
[[endpoint]]
name = "Teams"
product = "teams"
"#;

fn parsed(text: &str) -> Policy {
    policy::parse("site.toml", text.as_bytes())
        .unwrap_or_else(|errors| panic!("{errors}"))
        .0
}

/// A name for those targets that need one.
fn name_of(target: &Target) -> Option<&'static str> {
    (*target == windows_firewall_gpo::TARGET).then_some(r"contoso.com\Lync over VPN")
}

fn targets() -> impl Iterator<Item = &'static Target> {
    Target::of_kind(Kind::GatewayRules).chain(Target::of_kind(Kind::ClientRules))
}

fn is_for_clients(target: &Target) -> bool {
    target.kind() == Kind::ClientRules
}

fn render_rules(
    target: &'static Target,
    policy: &Policy,
    name: Option<&str>,
) -> Result<Rendered, RenderError> {
    let options = Options {
        name: name.map(str::to_owned),
        ..Options::default()
    };
    render(target, policy, &options)
}

#[test]
fn every_target_is_written_for_people_too() {
    let policy = parsed(SITE);
    for target in targets() {
        let rendered = render_rules(target, &policy, name_of(target)).expect("a whole policy");
        assert!(rendered.measures.rules > 0, "{target}");
        let mut shown = rendered.text.replace('\r', "");
        for warning in rendered.warnings {
            shown.push_str(&format!("--- {warning}\n"));
        }
        insta::assert_snapshot!(target.name, shown);
    }
}

#[test]
fn without_an_endpoint_there_is_nothing_for_clients() {
    let policy = parsed("[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n");
    for target in targets() {
        let rendered = render_rules(target, &policy, name_of(target));
        let is_refused = matches!(rendered, Err(RenderError::NoEndpoint { .. }));
        assert_eq!(is_refused, is_for_clients(target), "{target}");
    }
}

#[test]
fn programs_that_differ_from_client_to_client_are_left_to_the_script_that_looks_them_up() {
    let policy = parsed(
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[[endpoint]]\nname = \"Teams\"\nproduct = \"teams\"\n",
    );
    for target in Target::of_kind(Kind::ClientRules) {
        let rendered = render_rules(target, &policy, name_of(target));
        let is_refused = matches!(rendered, Err(RenderError::NothingToSay { .. }));
        let looks_up = [
            &windows_firewall::TARGET,
            &windows_remediation_detect::TARGET,
            &windows_remediation::TARGET,
            &windows_task::TARGET,
        ];
        assert_eq!(is_refused, !looks_up.contains(&target), "{target}");
    }
}

#[test]
fn a_name_that_would_break_out_of_its_place_is_refused() {
    let policy = parsed(SITE);
    let bad = [
        (&cisco_asa_filter::TARGET, "X permit"),
        (&windows_firewall::TARGET, "*"),
        (&windows_netsh::TARGET, "x\" & del"),
        (&windows_registry::TARGET, "a|b"),
        (&windows_firewall_gpo::TARGET, "Lync over VPN"),
        (&windows_firewall_gpo::TARGET, r"contoso.com\a\b"),
        (&nftables::TARGET, "x"),
        (&fortigate_policy::TARGET, "a b"),
        (&fortigate_policy::TARGET, "sixteen-letters-"),
        (&windows_intune::TARGET, " "),
    ];
    for (target, name) in bad {
        let refused = render_rules(target, &policy, Some(name));
        assert!(
            matches!(refused, Err(RenderError::BadName { .. })),
            "{target} takes {name}"
        );
    }
    let none = render_rules(&windows_firewall_gpo::TARGET, &policy, None);
    assert!(matches!(none, Err(RenderError::NoName { .. })));
}

#[test]
fn no_line_of_a_file_ends_where_the_policy_wants_it_to() {
    // Names are one line of text; the name of the file may be anything.
    let mut policy = parsed(SITE);
    policy.origin = "a\nflushes ruleset\r\n\u{85}b".to_owned();
    for target in targets() {
        let text = render_rules(target, &policy, name_of(target)).expect("a whole policy");
        assert!(
            !text.text.lines().any(|line| line.starts_with("flushes")),
            "{target}"
        );
    }
}

#[test]
fn a_name_has_60_bytes_at_most() {
    let policy = parsed(SITE);
    for target in [&cisco_asa_filter::TARGET, &windows_registry::TARGET] {
        let taken = |length| render_rules(target, &policy, Some(&"x".repeat(length))).is_ok();
        assert_eq!([1, 60, 61].map(taken), [true, true, false], "{target}");
    }
}

/// Clients of a whole family, and a server whose every port is dropped.
const WIDE: &str = r#"
[vpn]
client_subnets = ["0.0.0.0/0"]
[[server]]
name = "Edge"
addresses = ["10.1.0.10"]
"#;

#[test]
fn a_set_of_ipset_has_the_whole_family_in_halves() {
    let text = render_rules(&ipset::TARGET, &parsed(WIDE), None)
        .expect("no names to choose")
        .text;
    for half in ["0.0.0.0/1", "128.0.0.0/1"] {
        let line = format!("add offramp-clients-v4-x {half}\n");
        assert!(text.contains(&line), "{text}");
    }
    assert!(!text.contains("0.0.0.0/0"), "{text}");
}

/// Non-first fragments are dropped where every port is.
#[test]
fn the_sets_that_iptables_names_are_those_of_ipset() {
    let policy = parsed(WIDE);
    let sets = render_rules(&ipset::TARGET, &policy, None).expect("no names to choose");
    let rules = render_rules(&iptables::TARGET, &policy, None).expect("no names to choose");
    let words = rules.text.split_whitespace();
    let named: Vec<&str> = words.filter(|word| word.starts_with("offramp-")).collect();
    for protocol in ["tcp", "udp"] {
        let tails = format!("offramp-tails-{protocol}-v4");
        assert!(named.contains(&tails.as_str()), "{}", rules.text);
    }
    for name in named {
        let create = format!("\ncreate {name} hash:net family inet maxelem");
        assert!(sets.text.contains(&create), "{name}: {}", sets.text);
    }
}

/// Endpoints that go by something else than a path.
const OTHERS: &str = r#"[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[[endpoint]]
name = "tagged"
match = "app-id"
app_id = "Calls"
[[endpoint]]
name = "packaged"
match = "package"
product = "teams"
[[endpoint]]
name = "by ports"
match = "ports"
product = "teams"
"#;

#[test]
fn tags_packages_and_ports_are_written_where_the_file_has_words_for_them() {
    let policy = parsed(OTHERS);
    let text = |target: &'static Target| {
        let rendered = render_rules(target, &policy, name_of(target)).expect("rules by ports");
        (rendered.text, rendered.warnings.join("\n"))
    };
    let (script, warnings) = text(&windows_firewall::TARGET);
    for part in [
        "AppId = 'Calls'",
        "Package = 'MSTeams_8wekyb3d8bbwe'",
        "LocalPort = @('50000-50059')",
        "# unverified: a packaged client",
        "# void until a policy of App Control",
        "blocks every other program",
    ] {
        assert!(script.contains(part), "{part}: {script}");
    }
    assert!(!warnings.contains("leaves out"), "{warnings}");
    let (json, warnings) = text(&windows_intune::TARGET);
    assert!(json.contains(r#""packageFamilyName": "MSTeams_8wekyb3d8bbwe""#));
    assert!(json.contains("unverified: a packaged client"));
    assert!(warnings.contains("leaves out [[endpoint]] \"tagged\""));
    for target in [&windows_netsh::TARGET, &windows_registry::TARGET] {
        let (_, warnings) = text(target);
        assert!(
            warnings.contains("leaves out [[endpoint]] \"tagged\""),
            "{warnings}"
        );
        assert!(
            warnings.contains("leaves out [[endpoint]] \"packaged\""),
            "{warnings}"
        );
    }
}

#[test]
fn an_allowed_proxy_is_no_rule_of_any_file() {
    let policy = parsed(
        "[vpn]\nclient_subnets = [\"10.99.0.0/22\"]\n[corporate]\nsubnets = [\"192.168.0.0/16\"]\n\
         [[allow]]\nname = \"proxy\"\nto = [\"192.168.5.5\"]\nprotocols = [\"tcp\"]\nports = [\"8080\"]\n\
         [[endpoint]]\nname = \"Teams\"\nprograms = ['C:\\x.exe']\n",
    );
    let written = [
        (
            &windows_firewall::TARGET,
            "RemotePort = @('0-8079', '8081-65535')",
        ),
        (
            &windows_netsh::TARGET,
            "protocol=tcp localport=any remoteport=0-8079,8081-65535",
        ),
        (
            &windows_registry::TARGET,
            "|Protocol=6|RPort2_10=0-8079|RPort2_10=8081-65535|",
        ),
        (&windows_intune::TARGET, "\"8081-65535\""),
    ];
    for (target, ports) in written {
        let text = render_rules(target, &policy, None)
            .expect("a fixed path")
            .text;
        assert!(text.contains(ports), "{target}: {text}");
        assert!(text.contains("192.168.5.5"), "{target}: {text}");
    }
}

#[test]
fn leaked_public_prefixes_are_blocked_where_the_filter_drops_them_or_the_endpoint_says_so() {
    let site = |filter: &str, endpoint: &str| {
        let policy = parsed(&format!(
            "[vpn]\nclient_subnets = [\"10.99.0.0/22\"]\n[filter]\nleaked_public = \"{filter}\"\n\
             [[public]]\nname = \"Teams media\"\naddresses = [\"52.112.0.0/14\"]\n\
             [[endpoint]]\nname = \"Teams\"\nprograms = ['C:\\x.exe']\n{endpoint}"
        ));
        let rendered = render_rules(&windows_firewall::TARGET, &policy, None);
        rendered.expect("a path").text.contains("52.112.0.0/14")
    };
    assert!(site("drop", ""));
    assert!(!site("forward", ""));
    assert!(site("forward", "leaked_public = \"drop\"\n"));
    assert!(!site("drop", "leaked_public = \"forward\"\n"));
}

/// A policy whose clients have programs at these paths.
fn programs(paths: &[String]) -> Policy {
    parsed(&format!(
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[[endpoint]]\nname = \"tools\"\nprograms = {paths:?}\n"
    ))
}

#[test]
fn a_program_has_two_rules_of_windows() {
    for count in [1, 3] {
        let paths: Vec<String> = (0..count).map(|at| format!(r"C:\{at}.exe")).collect();
        for target in Target::of_kind(Kind::ClientRules) {
            let rendered = render_rules(target, &programs(&paths), name_of(target));
            let rendered = rendered.expect("paths that are the same everywhere");
            assert_eq!(rendered.measures.rules, 2 * count, "{target}");
            assert_eq!(rendered.warnings, [] as [&str; 0], "{target}");
        }
    }
}

#[test]
fn intune_takes_150_rules_without_a_warning() {
    for (count, expected) in [(74, false), (75, false), (76, true)] {
        let paths: Vec<String> = (0..count).map(|at| format!(r"C:\{at}.exe")).collect();
        let rendered = render_rules(&windows_intune::TARGET, &programs(&paths), None);
        let warnings = rendered
            .expect("paths that are the same everywhere")
            .warnings;
        assert_eq!(!warnings.is_empty(), expected, "{count}: {warnings:?}");
    }
}

#[test]
fn a_path_that_regedit_would_misread_is_left_out_of_its_file() {
    let paths = [r"C:\x.exe", r"C:\é.exe"].map(str::to_owned);
    let rendered = render_rules(&windows_registry::TARGET, &programs(&paths), None);
    let rendered = rendered.expect("one of them can be written");
    assert!(!rendered.text.contains('é'), "{}", rendered.text);
    assert!(
        rendered
            .warnings
            .concat()
            .contains(r"leaves out `C:\é.exe`"),
        "{:?}",
        rendered.warnings
    );
}

//! Every target for people to read, and what must not break a file.

use super::{RuleError, RuleTarget, render_rules};
use crate::policy::{self, Policy};

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
fn name_of(target: RuleTarget) -> Option<&'static str> {
    (target == RuleTarget::WindowsFirewallGpo).then_some(r"contoso.com\Lync over VPN")
}

#[test]
fn every_target_is_written_for_people_too() {
    let policy = parsed(SITE);
    for target in RuleTarget::ALL {
        let rendered = render_rules(target, &policy, name_of(target)).expect("a whole policy");
        assert!(rendered.count > 0, "{target}");
        let mut shown = rendered.text.replace('\r', "");
        for warning in rendered.warnings {
            shown.push_str(&format!("--- {warning}\n"));
        }
        insta::assert_snapshot!(target.name(), shown);
    }
}

#[test]
fn without_an_endpoint_there_is_nothing_for_clients() {
    let policy = parsed("[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n");
    for target in RuleTarget::ALL {
        let rendered = render_rules(target, &policy, name_of(target));
        let is_refused = matches!(rendered, Err(RuleError::NoEndpoint { .. }));
        assert_eq!(is_refused, target.is_for_clients(), "{target}");
    }
}

#[test]
fn programs_that_differ_from_client_to_client_are_left_to_the_script_that_looks_them_up() {
    let policy = parsed(
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[[endpoint]]\nname = \"Teams\"\nproduct = \"teams\"\n",
    );
    for target in RuleTarget::ALL.into_iter().filter(|it| it.is_for_clients()) {
        let rendered = render_rules(target, &policy, name_of(target));
        let is_refused = matches!(rendered, Err(RuleError::NothingToSay { .. }));
        assert_eq!(
            is_refused,
            target != RuleTarget::WindowsFirewall,
            "{target}"
        );
    }
}

#[test]
fn a_name_that_would_break_out_of_its_place_is_refused() {
    let policy = parsed(SITE);
    let bad = [
        (RuleTarget::CiscoAsaFilter, "X permit"),
        (RuleTarget::WindowsFirewall, "*"),
        (RuleTarget::WindowsNetsh, "x\" & del"),
        (RuleTarget::WindowsRegistry, "a|b"),
        (RuleTarget::WindowsFirewallGpo, "Lync over VPN"),
        (RuleTarget::WindowsFirewallGpo, r"contoso.com\a\b"),
        (RuleTarget::Nftables, "x"),
        (RuleTarget::WindowsIntune, " "),
    ];
    for (target, name) in bad {
        let refused = render_rules(target, &policy, Some(name));
        assert!(
            matches!(refused, Err(RuleError::BadName { .. })),
            "{target} takes {name}"
        );
    }
    let none = render_rules(RuleTarget::WindowsFirewallGpo, &policy, None);
    assert!(matches!(none, Err(RuleError::NoName { .. })));
}

#[test]
fn no_line_of_a_file_ends_where_the_policy_wants_it_to() {
    // Names are one line of text; the name of the file may be anything.
    let mut policy = parsed(SITE);
    policy.origin = "a\nflushes ruleset\r\n\u{85}b".to_owned();
    for target in RuleTarget::ALL {
        let text = render_rules(target, &policy, name_of(target)).expect("a whole policy");
        assert!(
            !text.text.lines().any(|line| line.starts_with("flushes")),
            "{target}"
        );
    }
}

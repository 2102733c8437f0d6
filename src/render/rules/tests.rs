//! Every target for people to read, and what must not break a file.

use super::{
    cisco_asa_filter, nftables, windows_firewall, windows_firewall_gpo, windows_intune,
    windows_netsh, windows_registry,
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
        assert_eq!(is_refused, *target != windows_firewall::TARGET, "{target}");
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

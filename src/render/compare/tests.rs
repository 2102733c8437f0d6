//! Files in place against what would be written.

use super::*;
use crate::policy::{self, Policy};
use crate::render::routes::{dnsmasq, prefixes};

fn site() -> Policy {
    let text = r#"
        [vpn]
        client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
        [corporate]
        subnets = ["10.0.0.0/8"]
    "#;
    let (policy, _) = policy::parse("site.toml", text.as_bytes()).expect("a good policy");
    policy
}

fn options() -> Options {
    Options {
        via: Some("172.16.1.1".parse().expect("an address")),
        ..Options::default()
    }
}

/// Compares the file of a target, changed by `change`, with the policy that it was written from.
fn compared(
    target: &'static Target,
    change: impl Fn(&str) -> String,
) -> Result<Option<Difference>, CompareError> {
    let file = render(target, &site(), &options()).expect("within limits");
    compare(target, &site(), &options(), &change(&file.text))
}

fn named(name: &str) -> &'static Target {
    Target::named(name).expect("a target")
}

#[test]
fn comments_empty_lines_and_indentation_are_no_difference() {
    let edited = compared(named("iptables"), |text| {
        let indented = text.lines().map(|line| format!("  {line}\n\n"));
        format!(
            "# edited\n{}   # at the end\n",
            indented.collect::<String>()
        )
    });
    assert_eq!(edited, Ok(None));
}

#[test]
fn the_first_line_that_differs_is_shown_with_its_number() {
    let file = render(named("iptables"), &site(), &options()).expect("no limits");
    let last = file.text.lines().last().expect("a line").to_owned();
    let count = file.text.lines().count();
    let difference = |line, expected: Option<&str>, found: Option<&str>| {
        Ok(Some(Difference::Lines(LineDifference {
            line,
            expected: expected.map(str::to_owned),
            found: found.map(str::to_owned),
        })))
    };
    let without_last = file.text.trim_end().trim_end_matches(last.as_str());
    assert_eq!(
        compared(named("iptables"), |_| without_last.to_owned()),
        difference(None, Some(&last), None)
    );
    assert_eq!(
        compared(named("iptables"), |_| format!("{without_last}-A X\n")),
        difference(Some(count), Some(&last), Some("-A X"))
    );
    assert_eq!(
        compared(named("iptables"), |text| format!("\n{text}\nCOMMIT\n")),
        difference(Some(count + 3), None, Some("COMMIT"))
    );
}

#[test]
fn addresses_are_compared_in_the_families_that_a_target_has() {
    let without = |prefix: &'static str| {
        let kept = move |line: &&str| !line.contains(prefix);
        move |text: &str| -> String { text.split_inclusive('\n').filter(kept).collect() }
    };
    for prefix in ["10.0.0.0/8", "172.16.1.0/24", "fd00:1::/64"] {
        let Ok(Some(Difference::Addresses(difference))) =
            compared(&prefixes::TARGET, without(prefix))
        else {
            panic!("{prefix} is missing")
        };
        assert_eq!(difference.missing.to_string(), prefix);
        assert_eq!(difference.surplus, PrefixSet::EMPTY);
    }
    // DHCP has no routes of IPv6: nothing is missing.
    assert_eq!(compared(&dnsmasq::TARGET, str::to_owned), Ok(None));
}

#[test]
fn a_file_that_is_not_read_is_refused_with_the_targets_that_are() {
    let refused = compare(named("bind"), &site(), &options(), "").expect_err("no reader");
    assert_eq!(
        refused.to_string(),
        "--check reads the files of unbound, rpz and dnsmasq-names, and none of bind"
    );
}

#[test]
fn names_and_rules_are_not_compared_with_routes_alone() {
    let plan = RoutePlan::new(&site());
    for name in ["unbound", "iptables"] {
        let refused = compare(named(name), &plan, &options(), "").expect_err("no policy");
        assert_eq!(
            refused.to_string(),
            format!("{name} is not written from routes: it takes a policy")
        );
    }
}

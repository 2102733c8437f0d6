//! Checks find each pitfall, and a sound host passes all of them.

use std::collections::HashMap;

use super::*;
use crate::gateway::divert::DivertPlan;
use crate::gateway::host::sample::{assert_one, compiled};
use crate::policy::Severity;

/// Returns the findings for a sound host with `changes` to its settings.
fn settings_found(changes: &[(&str, i64)]) -> Vec<Finding> {
    let mut settings = HashMap::from([
        ("ipv4/conf/all/rp_filter", 0),
        ("ipv4/conf/default/rp_filter", 1),
        ("ipv4/conf/tun0/rp_filter", 1),
        ("ipv4/conf/all/src_valid_mark", 0),
    ]);
    settings.extend(changes.iter().copied());
    let read = move |key: &str| settings.get(key).copied();
    check_settings(&Diversion::of(&compiled("", 1)), &Settings { read })
}

#[test]
fn a_sound_host_has_nothing_to_change() {
    assert_eq!(settings_found(&[]), []);
    let local = ForeignRule {
        priority: 0,
        mark: None,
        is_local: true,
        is_inverted: false,
    };
    let main = ForeignRule {
        priority: 32_766,
        mark: None,
        is_local: false,
        is_inverted: false,
    };
    assert_eq!(
        check_rules(&Diversion::of(&compiled("", 1)), &[local, main]),
        []
    );
}

#[test]
fn a_strict_reverse_path_filter_for_all_interfaces_is_an_error() {
    let findings = settings_found(&[("ipv4/conf/all/rp_filter", 1)]);
    assert_one(&findings, Severity::Error, "rp_filter is 1");
    assert_eq!(settings_found(&[("ipv4/conf/all/rp_filter", 2)]), []);
}

#[test]
fn a_mark_in_the_reverse_path_check_is_an_error_where_it_is_strict() {
    let marked = ("ipv4/conf/all/src_valid_mark", 1);
    // Both entries: tun0 has a setting of its own, and vpns* will get the default.
    let findings = settings_found(&[marked]);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    let loose = [
        marked,
        ("ipv4/conf/tun0/rp_filter", 2),
        ("ipv4/conf/default/rp_filter", 0),
    ];
    assert_eq!(settings_found(&loose), []);
}

#[test]
fn answers_of_the_host_that_would_inherit_the_mark_are_an_error() {
    for key in [
        "ipv4/tcp_fwmark_accept",
        "ipv4/fwmark_reflect",
        "ipv6/fwmark_reflect",
    ] {
        assert_one(
            &settings_found(&[(key, 1)]),
            Severity::Error,
            &key.replace('/', "."),
        );
    }
}

#[test]
fn a_mark_that_somebody_else_uses_is_found() {
    let diversion = Diversion::of(&compiled("", 1));
    let rule = |mark, priority| ForeignRule {
        priority,
        mark,
        is_local: false,
        is_inverted: false,
    };
    let shared = check_rules(&diversion, &[rule(Some((0x2000_0000, 0xf000_0000)), 5_210)]);
    assert_one(&shared, Severity::Error, "shares bits");
    let whole = check_rules(&diversion, &[rule(Some((0x1000_0001, u32::MAX)), 5_210)]);
    assert_one(&whole, Severity::Error, "shares bits");
    let other = check_rules(&diversion, &[rule(Some((0x8_0000, 0xff_0000)), 5_210)]);
    assert_eq!(other, []);
    let alone = check_rules(&diversion, &[rule(Some((0x1, u32::MAX)), 5_210)]);
    assert_one(&alone, Severity::Warning, "nothing beside it");
    let wireguard = ForeignRule {
        is_inverted: true,
        ..rule(Some((0xca6c, u32::MAX)), 32_764)
    };
    assert_eq!(check_rules(&diversion, &[wireguard]), []);
    let earlier = check_rules(&diversion, &[rule(None, 100)]);
    assert_one(&earlier, Severity::Warning, "comes before");
}

//! Each check finds its pitfall, and a correctly configured host passes all of them.

use std::collections::HashMap;

use super::*;
use crate::gateway::divert::nftables::Diversion;
use crate::gateway::host::sample::{assert_one, compiled, policy};
use crate::policy::Severity;

/// The findings for correct forwarding settings with `changes` applied.
fn settings_found(changes: &[(&str, i64)]) -> Vec<Finding> {
    let mut settings = HashMap::from([("ipv4/ip_forward", 1), ("ipv6/conf/all/forwarding", 1)]);
    settings.extend(changes.iter().copied());
    let read = move |key: &str| settings.get(key).copied();
    check_forwarding(&policy(""), &Settings { read })
}

fn plan(options: &str) -> DivertSummary {
    Diversion::of(&compiled(options, 1)).summary()
}

#[test]
fn a_sound_host_has_nothing_to_change() {
    assert_eq!(settings_found(&[]), []);
    let present = ["lo", "eth0", "tun0", "vpns3"].map(str::to_owned);
    assert_eq!(check_interfaces(&plan(""), &present), []);
}

#[test]
fn a_host_that_does_not_forward_is_told_how_to() {
    let findings = settings_found(&[("ipv4/ip_forward", 0)]);
    assert_one(&findings, Severity::Error, "does not forward IPv4");
    let findings = settings_found(&[("ipv6/conf/all/forwarding", 0)]);
    assert_one(&findings, Severity::Error, "does not forward IPv6");
}

#[test]
fn an_interface_that_is_missing_is_named_with_those_there_are() {
    let diversion = plan("");
    let present = ["lo", "eth0", "tun1", "vpns0"].map(str::to_owned);
    let findings = check_interfaces(&diversion, &present);
    assert_one(&findings, Severity::Warning, "no interface tun0 yet");
    assert!(findings[0].remedy.contains("lo, eth0, tun1, vpns0"));
}

#[test]
fn the_device_must_be_none_of_the_vpn() {
    let diversion = plan("[gateway]\ndevice = \"vpns99\"\n");
    let findings = check_interfaces(&diversion, &["tun0", "vpns0"].map(str::to_owned));
    assert_one(&findings, Severity::Error, "the filter's own device");
}

#[test]
fn capabilities_are_read_from_the_effective_set() {
    let status = |mask: &str| format!("Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t{mask}\n");
    assert!(has_net_admin(&status("000001ffffffffff")));
    assert!(!has_net_admin(&status("0000000000000000")));
    assert!(!has_net_admin(""));
}

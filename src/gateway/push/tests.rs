//! Routes that are pushed, and the answers of servers.

use super::content::{Known, add_servers, steps};
use crate::gateway::host::sample::policy;
use crate::policy::Policy;

fn with(corporate: &str, more: &str) -> Policy {
    let mut it = policy(&format!(
        "[routes]\npush = [\"openvpn:/run/management.sock\"]\n{more}"
    ));
    let networks = corporate.split(' ').filter(|net| !net.is_empty());
    let networks = networks.map(|net| net.parse().expect("a prefix"));
    it.corporate
        .subnets
        .retain(|net| net.value.addr().is_ipv4());
    let first = it.corporate.subnets[0];
    it.corporate
        .subnets
        .extend(networks.map(|value| crate::policy::Sourced { value, ..first }));
    it
}

/// The pushes for the change of one policy to another, as a dry run has them.
fn planned(before: &Policy, after: &Policy) -> Vec<String> {
    let mut known = Known::new();
    add_servers(&mut known, after, before);
    let steps = steps(after, &known).into_iter();
    let words = steps.map(|(target, step)| match step {
        Ok(None) => format!("{target}: none"),
        Ok(Some(step)) => format!("{target}: {step}"),
        Err(why) => format!("{target}: cannot: {why}"),
    });
    words.collect()
}

#[test]
fn the_same_routes_are_not_pushed() {
    let before = with("192.168.7.0/24", "");
    let after = with("192.168.7.0/25 192.168.7.128/25", "");
    assert_eq!(
        planned(&before, &after),
        ["openvpn:/run/management.sock: none"]
    );
}

#[test]
fn every_route_is_pushed_when_one_changes() {
    let words = planned(&with("", ""), &with("192.168.7.0/24", ""));
    assert_eq!(
        words,
        [
            "openvpn:/run/management.sock: push-update-broad \"route 10.0.0.0 255.0.0.0,route 172.16.1.0 255.255.255.0,\
             route 192.168.7.0 255.255.255.0,route-ipv6 fd00:1::/64\" to every connected client"
        ]
    );
}

#[test]
fn more_routes_than_a_command_takes_are_a_reason() {
    let many: Vec<String> = (0..20)
        .map(|it| format!("192.168.{}.0/24", 2 * it))
        .collect();
    let words = planned(&with("", ""), &with(&many.join(" "), ""));
    assert!(words[0].contains("cannot: "), "{words:?}");
    assert!(words[0].contains("256"), "{words:?}");
}

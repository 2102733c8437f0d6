//! `offramp top` and `offramp trace` where they cannot do their work.

use crate::support::offramp;

#[test]
fn top_without_a_terminal_names_what_to_use_instead() {
    let said = offramp(&["top"]).error(2);
    assert!(
        said.contains("`offramp status --watch` prints rates"),
        "{said}"
    );
    assert!(
        said.contains("`offramp status --json` is for programs"),
        "{said}"
    );
    let said = offramp(&["top", "--interval", "1"]).failure(2);
    assert!(said.contains("write a time with its unit"), "{said}");
}

#[test]
fn trace_without_a_gateway_says_that_none_listens() {
    let socket = "/nonexistent/control.sock";
    let said = offramp(&["trace", "172.16.1.10", "--control", socket]).error(1);
    assert!(
        said.contains("no gateway listens on /nonexistent/control.sock"),
        "{said}"
    );
    let said = offramp(&["trace", "172.16.1.10", "--packets", "0"]).failure(2);
    assert!(said.contains("0 is not in 1..=100000"), "{said}");
}

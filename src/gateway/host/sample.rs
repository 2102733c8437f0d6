//! A small site for the gateway's own tests: its policy, and packets of a client.

use crate::filter::{CompiledPolicy, Generation};
use crate::policy::{Policy, Severity};
use crate::verify::Finding;

/// Returns a policy with clients and a corporate network of both families, and `more` at its end.
pub(in crate::gateway) fn policy(more: &str) -> Policy {
    let text = format!(
        "[vpn]\ninterfaces = [\"tun0\", \"vpns*\"]\nclient_subnets = [\"172.16.1.0/24\", \"fd00:1::/64\"]\n\
         [corporate]\nsubnets = [\"10.0.0.0/8\", \"fd00:2::/48\"]\n{more}"
    );
    match crate::policy::parse("test.toml", text.as_bytes()) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{errors}"),
    }
}

/// Returns the same, compiled.
pub(in crate::gateway) fn compiled(more: &str, generation: u64) -> CompiledPolicy {
    CompiledPolicy::new(policy(more), Generation(generation)).expect("a small policy")
}

/// Returns a datagram of a client with `length` bytes of data.
pub(in crate::gateway) fn datagram(destination: [u8; 4], port: u16, length: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4([172, 16, 1, 10], destination, 64)
        .udp(50_000, port)
        .write(&mut packet, &vec![7; length])
        .expect("room");
    packet
}

/// Asserts that a check has found one thing, which says `part`.
#[track_caller]
pub(in crate::gateway) fn assert_one(findings: &[Finding], severity: Severity, part: &str) {
    assert!(
        matches!(findings, [one] if one.severity == severity && one.what.contains(part)),
        "{findings:#?}"
    );
}

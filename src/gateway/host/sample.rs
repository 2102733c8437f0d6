//! The policy of a small site, for the gateway's own tests.

use crate::filter::{CompiledPolicy, Generation};
use crate::policy::Policy;

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

//! [`diverted`] and [`diverted_on_every_port`]: the destinations that selective diversion sends through the filter.

use crate::address::PrefixSet;
use crate::policy::Policy;

/// Returns the destinations that a rule of the policy covers: public services (so that leaks are counted), servers,
/// corporate hosts and other clients. A packet to any other address gets `forward default` if its source is a client
/// and it is neither malformed nor source-routed, so a kernel that forwards it without the filter changes no verdict.
pub fn diverted(policy: &Policy) -> PrefixSet {
    let lists = [&policy.vpn.client_subnets, &policy.corporate.subnets];
    let internal = lists.into_iter().flatten().map(|prefix| prefix.value);
    let internal: PrefixSet = internal.collect();
    internal.union(&diverted_on_every_port(policy))
}

/// Returns the diverted destinations for which every port matters: traffic to servers is dropped on all ports, and
/// traffic to public services is a leak on any. For the other destinations only media ports matter.
pub fn diverted_on_every_port(policy: &Policy) -> PrefixSet {
    let servers = policy.servers.iter().map(|server| &server.addresses);
    let publics = policy.publics.iter().map(|public| &public.addresses);
    let written = servers.chain(publics).flatten().map(|prefix| prefix.value);
    let feeds = policy.feeds.iter().flat_map(|feed| feed.prefixes.iter());
    let published = feeds.flatten().map(|taken| taken.prefix);
    written.chain(published).collect()
}

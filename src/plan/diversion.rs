//! [`diverted`] and [`diverted_on_every_port`]: the destinations that selective diversion has to send through the filter.

use crate::address::PrefixSet;
use crate::policy::Policy;

/// Destinations whose packets a rule of the policy speaks of: public services (a leak is counted there), servers,
/// corporate hosts and other clients. A packet to any other address is forwarded as `default`, if its source is a client
/// and it is neither malformed nor source-routed, so a kernel that forwards it unseen changes no verdict.
pub fn diverted(policy: &Policy) -> PrefixSet {
    let lists = [&policy.vpn.client_subnets, &policy.corporate.subnets];
    let internal = lists.into_iter().flatten().map(|prefix| prefix.value);
    let internal: PrefixSet = internal.collect();
    internal.union(&diverted_on_every_port(policy))
}

/// Those among them at which every port matters: a server's are dropped, and a public service's are leaks. At the others
/// only media ports do.
pub fn diverted_on_every_port(policy: &Policy) -> PrefixSet {
    let servers = policy.servers.iter().map(|server| &server.addresses);
    let publics = policy.publics.iter().map(|public| &public.addresses);
    let written = servers.chain(publics).flatten().map(|prefix| prefix.value);
    let feeds = policy.feeds.iter().flat_map(|feed| feed.prefixes.iter());
    let published = feeds.flatten().map(|taken| taken.prefix);
    written.chain(published).collect()
}

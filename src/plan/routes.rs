//! [`RoutePlan`]: which addresses enter the tunnel.
//!
//! One rule decides each address, so that every form of the plan can be checked against it:
//!
//! ```text
//!  its family                     no client has an address of it     outside
//!  routes.gateways                has it                             outside: the tunnel itself goes there
//!  dns.listen, dns_servers        have it                            inside
//!  corporate and client subnets   most specific, or as specific      inside
//!  [[public]] and feeds           most specific                      outside
//!  nothing                        tunnel = "full"                    inside
//!                                 tunnel = "split"                   outside
//! ```
//!
//! *Most specific* is what a route table does, and what both sides of a policy mean: 167.55.49.32/32 leaves the tunnel
//! where 167.55.0.0/16 is corporate, and 10.1.0.0/16 stays in it whatever a public list says of 10.0.0.0/8.

use std::net::IpAddr;

use ipnet::IpNet;

use super::entry::entries;
use super::source::sources;
use super::{Entry, Source, SourceKind, remark};
use crate::address::{PrefixSet, more_specific};
use crate::policy::{Policy, Remark, TunnelMode};

/// Which addresses enter the tunnel, in both forms, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    /// Name of the policy file.
    pub origin: String,
    /// `routes.tunnel`.
    pub mode: TunnelMode,
    /// Every address of the families of which clients have addresses; of another family nothing is pushed.
    pub families: PrefixSet,
    /// What would enter the tunnel if nothing were excluded.
    pub base: PrefixSet,
    /// What enters it.
    pub tunnel: PrefixSet,
    /// Addresses to which clients connect; outside the tunnel by themselves.
    pub gateways: PrefixSet,
    /// Everything in the policy that bears on the routes.
    pub sources: Vec<Source>,
    /// Exclude form: what is left out of `base`, in the fewest prefixes. A gateway stands here only where it is part of
    /// something public: VPN clients keep a route of their own to it, and a second one would fight with that.
    pub excludes: Vec<Entry>,
    /// Include form: `tunnel` in the fewest prefixes.
    pub includes: Vec<Entry>,
    /// Positions in `sources` of public prefixes that need no entry, because nothing that is pushed covers them.
    pub unneeded: Vec<usize>,
    /// What there is to say about it; with an error among them, the plan must not be used.
    pub remarks: Vec<Remark>,
}

impl RoutePlan {
    /// The plan that follows from `policy`, whose feeds have been taken.
    pub fn new(policy: &Policy) -> Self {
        let sources = sources(policy);
        let set = |counts: &dyn Fn(&SourceKind) -> bool| -> PrefixSet {
            let chosen = sources.iter().filter(|source| counts(&source.kind));
            chosen.map(|source| source.prefix).collect()
        };
        let is_internal =
            |kind: &SourceKind| matches!(kind, SourceKind::Clients | SourceKind::Corporate);
        let is_dns =
            |kind: &SourceKind| matches!(kind, SourceKind::PinPointDns | SourceKind::DnsServer);
        let families = families(policy);
        let gateways = set(&|kind| *kind == SourceKind::Gateway);
        let dns = set(&is_dns);
        let base = match policy.routes.tunnel {
            TunnelMode::Split => set(&is_internal).union(&dns).intersect(&families),
            TunnelMode::Full => families.clone(),
        };
        let public = more_specific(
            prefixes(&sources, SourceKind::is_public),
            prefixes(&sources, is_internal),
        );
        let excluded = base.intersect(&public).subtract(&dns);
        let tunnel = base.subtract(&excluded).subtract(&gateways);
        // Dropping a gateway that stands alone must not cut a public prefix that happens to have it.
        let alone: PrefixSet = excluded
            .prefixes()
            .filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len())
            .collect();
        let listed = excluded.subtract(&alone.intersect(&gateways));
        let unneeded = sources
            .iter()
            .enumerate()
            .filter(|(_, source)| source.kind.is_public() && !base.overlaps(source.prefix))
            .map(|(at, _)| at)
            .collect();
        let excludes = entries(&listed, &sources, |source| source.kind.is_public());
        let includes = entries(&tunnel, &sources, |source| {
            is_internal(&source.kind) || is_dns(&source.kind)
        });
        let mut plan = Self {
            origin: policy.origin.clone(),
            mode: policy.routes.tunnel,
            families,
            base,
            tunnel,
            gateways,
            sources,
            excludes,
            includes,
            unneeded,
            remarks: Vec::new(),
        };
        plan.remarks = remark::remarks(policy, &plan);
        plan
    }

    /// What is left out of `base`, as the exclude form lists it.
    pub fn excluded(&self) -> PrefixSet {
        self.excludes.iter().map(|entry| entry.prefix).collect()
    }

    /// What the include form lists where the VPN client itself keeps its gateway outside the tunnel: the tunnel without
    /// holes for the gateways.
    pub fn included_but_gateways(&self) -> PrefixSet {
        self.base.subtract(&self.excluded())
    }

    /// How `tunnel` differs from the plan; not at all where only the gateways tell them apart, to which clients keep
    /// routes of their own, or a family of which clients have no addresses.
    pub fn differs(&self, tunnel: &PrefixSet) -> Option<PlanDifference> {
        let counts = |set: PrefixSet| set.subtract(&self.gateways).intersect(&self.families);
        let missing = counts(self.tunnel.subtract(tunnel));
        let surplus = counts(tunnel.subtract(&self.tunnel));
        let same = missing.is_empty() && surplus.is_empty();
        (!same).then_some(PlanDifference { missing, surplus })
    }

    /// The first thing that forbids to use it.
    pub fn error(&self) -> Option<&Remark> {
        self.remarks.iter().find(|remark| remark.is_error())
    }
}

/// How a file in place differs from a plan, in addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanDifference {
    /// What should enter the tunnel and does not.
    pub missing: PrefixSet,
    /// What enters it and should not.
    pub surplus: PrefixSet,
}

/// Everything in the families of which clients have addresses: routes of another lead nowhere.
pub(super) fn families(policy: &Policy) -> PrefixSet {
    let has = |v6: bool| {
        let mut subnets = policy.vpn.client_subnets.iter();
        subnets.any(|subnet| subnet.value.addr().is_ipv6() == v6)
    };
    let mut families = PrefixSet::EMPTY;
    if has(false) {
        families = families.union(&PrefixSet::all_v4());
    }
    if has(true) {
        families = families.union(&PrefixSet::all_v6());
    }
    families
}

fn prefixes(sources: &[Source], counts: impl Fn(&SourceKind) -> bool) -> Vec<IpNet> {
    let chosen = sources.iter().filter(|source| counts(&source.kind));
    chosen.map(|source| source.prefix).collect()
}

/// Whether the policy puts `address` into the tunnel, by the table above, one address at a time: the oracle of the plan.
pub fn enters_tunnel(policy: &Policy, address: IpAddr) -> bool {
    let same_family = |net: &IpNet| net.addr().is_ipv4() == address.is_ipv4();
    let clients = &policy.vpn.client_subnets;
    if !clients.iter().any(|subnet| same_family(&subnet.value)) {
        return false;
    }
    if policy.routes.gateways.iter().any(|it| it.value == address) {
        return false;
    }
    let mut dns = policy.corporate.dns_servers.iter().map(|it| it.value);
    let mut pin_point = policy.dns.listen.iter().map(|listen| listen.value.ip());
    if dns.any(|it| it == address)
        || (!address.is_unspecified() && pin_point.any(|it| it == address))
    {
        return true;
    }
    let longest = |nets: &mut dyn Iterator<Item = IpNet>| {
        nets.filter(|net| net.contains(&address))
            .map(|net| net.prefix_len())
            .max()
    };
    let internal = longest(
        &mut clients
            .iter()
            .chain(&policy.corporate.subnets)
            .map(|it| it.value),
    );
    let services = policy.publics.iter().flat_map(|public| &public.addresses);
    let feeds = policy
        .feeds
        .iter()
        .flat_map(|feed| feed.prefixes.iter().flatten());
    let public = longest(&mut services.map(|it| it.value).chain(feeds.map(|it| it.prefix)));
    match (internal, public) {
        (internal, public) if public > internal => false,
        (Some(_), _) => true,
        (None, _) => policy.routes.tunnel == TunnelMode::Full,
    }
}

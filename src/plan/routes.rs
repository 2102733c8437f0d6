//! [`RoutePlan`]: the addresses that enter the tunnel.
//!
//! One rule decides for each address, so every form of the plan can be checked against it:
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
//! *Most specific* is longest-prefix match, as in a route table: 167.55.49.32/32 leaves the tunnel where 167.55.0.0/16
//! is corporate, and 10.1.0.0/16 stays in it whatever a public list says of 10.0.0.0/8.

use std::net::IpAddr;

use ipnet::IpNet;

use super::prefix::planned;
use super::source::sources;
use super::{PlannedPrefix, Source, SourceKind, remark};
use crate::address::{PrefixSet, more_specific};
use crate::policy::{Policy, Remark, TunnelMode};

/// The addresses that enter the tunnel, in include and exclude form, with their sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    /// Name of the policy file.
    pub origin: String,
    /// `routes.tunnel`.
    pub mode: TunnelMode,
    /// Every address of the families that clients have; nothing is pushed for other families.
    pub families: PrefixSet,
    /// The addresses that would enter the tunnel without exclusions.
    pub base: PrefixSet,
    /// The addresses that enter the tunnel.
    pub tunnel: PrefixSet,
    /// Addresses that clients connect to; always outside the tunnel.
    pub gateways: PrefixSet,
    /// Everything in the policy that affects the routes.
    pub sources: Vec<Source>,
    /// Exclude form: the addresses of `base` outside the tunnel, in the fewest prefixes. A gateway is listed only as
    /// part of a public prefix: VPN clients keep their own route to the gateway, and a second one would conflict with
    /// it.
    pub excludes: Vec<PlannedPrefix>,
    /// Include form: `tunnel` in the fewest prefixes.
    pub includes: Vec<PlannedPrefix>,
    /// Positions in `sources` of public prefixes that need no entry, because no pushed prefix covers them.
    pub unneeded: Vec<usize>,
    /// Remarks about the plan; if one of them is an error, the plan must not be used.
    pub remarks: Vec<Remark>,
}

impl RoutePlan {
    /// Builds the plan of `policy`, whose feeds must be loaded.
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
        // Dropping a lone gateway must not split a public prefix that contains it.
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
        let excludes = planned(&listed, &sources, |source| source.kind.is_public());
        let includes = planned(&tunnel, &sources, |source| {
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

    /// Returns the addresses of `base` that the exclude form lists.
    pub fn excluded(&self) -> PrefixSet {
        self.excludes.iter().map(|entry| entry.prefix).collect()
    }

    /// Returns the addresses for the include form of VPN clients that keep the gateway outside the tunnel themselves:
    /// the tunnel without holes for the gateways.
    pub fn included_but_gateways(&self) -> PrefixSet {
        self.base.subtract(&self.excluded())
    }

    /// Compares `tunnel` with the plan. Returns `None` if they differ only in gateways, to which clients keep their own
    /// routes, or in a family that no client has.
    pub fn differs(&self, tunnel: &PrefixSet) -> Option<PlanDifference> {
        let counts = |set: PrefixSet| set.subtract(&self.gateways).intersect(&self.families);
        let missing = counts(self.tunnel.subtract(tunnel));
        let surplus = counts(tunnel.subtract(&self.tunnel));
        let same = missing.is_empty() && surplus.is_empty();
        (!same).then_some(PlanDifference { missing, surplus })
    }

    /// The addresses at which clients reach the policy's DNS server; none where it listens at every address.
    pub fn dns_servers(&self) -> impl Iterator<Item = IpAddr> {
        let listens = self
            .sources
            .iter()
            .filter(|it| it.kind == SourceKind::PinPointDns);
        let addresses = listens.map(|it| it.prefix.addr());
        addresses.filter(|it| !it.is_unspecified() && !it.is_loopback())
    }

    /// Returns the first remark that forbids using the plan.
    pub fn error(&self) -> Option<&Remark> {
        self.remarks.iter().find(|remark| remark.is_error())
    }
}

/// The difference in addresses between the file in use and a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanDifference {
    /// Addresses that should enter the tunnel but do not.
    pub missing: PrefixSet,
    /// Addresses that enter the tunnel but should not.
    pub surplus: PrefixSet,
}

/// Returns all addresses of the families that clients have; routes of another family lead nowhere.
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

/// Returns `true` if the policy puts `address` into the tunnel. Applies the table above to one address at a time; it is
/// the oracle of the plan.
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

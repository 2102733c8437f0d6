//! [`Widening`]: fewer, wider exclusions for targets that limit their number. Only on request.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{RoutePlan, SourceKind};
use crate::address::PrefixSet;
use crate::feed::guard::{MIN_V4_LENGTH, MIN_V6_LENGTH};
use crate::policy::{Policy, TunnelMode};

/// The exclusions of a widened plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widening {
    /// All addresses excluded from the tunnel.
    pub excluded: PrefixSet,
    /// Addresses excluded in addition to those of the policy.
    pub extra: PrefixSet,
}

/// Error: no widening is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "widening reaches {least} entries at the fewest: more would take internal addresses out of the tunnel"
)]
pub struct TooNarrow {
    /// The fewest entries that widening can reach.
    pub least: usize,
}

impl RoutePlan {
    /// Widens exclusions until `count` returns at most `most` entries. Addresses that the policy keeps in the tunnel
    /// (corporate and client subnets, DNS servers, servers) are never excluded.
    ///
    /// Merges two neighboring exclusions into the smallest prefix that covers both, beginning with the pair whose
    /// merged prefix is longest. No exclusion becomes wider than the widest prefix that a feed may have.
    ///
    /// # Errors
    /// [`TooNarrow`] if that is not enough, and always for a split tunnel, which excludes only internal addresses.
    pub fn widen(
        &self,
        policy: &Policy,
        most: usize,
        count: impl Fn(&PrefixSet) -> usize,
    ) -> Result<Widening, TooNarrow> {
        let asked = self.excluded();
        let mut excluded = asked.clone();
        let kept = self.kept(policy);
        while count(&excluded) > most {
            let nets: Vec<IpNet> = excluded.prefixes().collect();
            let joined = match self.mode {
                TunnelMode::Full => cheapest(&nets, &kept),
                TunnelMode::Split => None,
            };
            let Some(joined) = joined else {
                let least = count(&excluded);
                return Err(TooNarrow { least });
            };
            excluded = excluded.union(&PrefixSet::from_iter([joined]));
        }
        let extra = excluded.subtract(&asked);
        Ok(Widening { excluded, extra })
    }

    /// Returns the plan with `excluded` outside the tunnel. `excluded` must contain everything that this plan excludes.
    #[must_use]
    pub fn excluding(&self, excluded: &PrefixSet) -> Self {
        let mut plan = self.clone();
        plan.tunnel = self.tunnel.subtract(excluded);
        plan.excludes =
            super::prefix::planned(excluded, &self.sources, |source| source.kind.is_public());
        plan.includes = super::prefix::planned(&plan.tunnel, &self.sources, |source| {
            !source.kind.is_public()
        });
        plan
    }

    /// Returns the addresses that no widening may take out of the tunnel.
    fn kept(&self, policy: &Policy) -> PrefixSet {
        let internal = self.sources.iter().filter(|source| match source.kind {
            SourceKind::Clients
            | SourceKind::Corporate
            | SourceKind::PinPointDns
            | SourceKind::DnsServer => true,
            SourceKind::Gateway | SourceKind::Public(_) | SourceKind::Feed(..) => false,
        });
        let servers = policy.servers.iter().flat_map(|server| &server.addresses);
        let kept: PrefixSet = internal
            .map(|source| source.prefix)
            .chain(servers.map(|address| address.value))
            .collect();
        // If the policy itself excludes some of these, widening loses nothing there.
        kept.intersect(&self.tunnel)
    }
}

/// Returns the smallest prefix around two neighbors that adds the fewest addresses and contains none of `kept`.
fn cheapest(nets: &[IpNet], kept: &PrefixSet) -> Option<IpNet> {
    nets.windows(2)
        .filter_map(|pair| around(pair[0], pair[1]))
        .filter(|joined| match joined {
            IpNet::V4(net) => net.prefix_len() >= MIN_V4_LENGTH,
            IpNet::V6(net) => net.prefix_len() >= MIN_V6_LENGTH,
        })
        .filter(|joined| !kept.overlaps(*joined))
        .max_by_key(IpNet::prefix_len)
}

/// Returns the smallest prefix that covers both; `None` for two different families.
fn around(a: IpNet, b: IpNet) -> Option<IpNet> {
    match (a.network(), b.network()) {
        (IpAddr::V4(x), IpAddr::V4(y)) => {
            let shared = (x.to_bits() ^ y.to_bits()).leading_zeros() as u8;
            let length = shared.min(a.prefix_len()).min(b.prefix_len());
            let net = Ipv4Net::new(x, length).ok()?;
            Some(IpNet::V4(net.trunc()))
        }
        (IpAddr::V6(x), IpAddr::V6(y)) => {
            let shared = (x.to_bits() ^ y.to_bits()).leading_zeros() as u8;
            let length = shared.min(a.prefix_len()).min(b.prefix_len());
            let net = Ipv6Net::new(x, length).ok()?;
            Some(IpNet::V6(net.trunc()))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

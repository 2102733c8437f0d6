//! [`Widening`]: fewer, wider exclusions, for targets that take only so many. Only ever on request.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{RoutePlan, SourceKind};
use crate::address::PrefixSet;
use crate::feed::guard::{SHORTEST_V4, SHORTEST_V6};
use crate::policy::{Policy, TunnelMode};

/// What a widened plan leaves out of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widening {
    /// What is left out.
    pub excluded: PrefixSet,
    /// What is left out beyond what the policy asks for.
    pub extra: PrefixSet,
}

/// No widening is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "widening reaches {least} entries at the fewest: more would take internal addresses out of the tunnel"
)]
pub struct TooNarrow {
    /// The fewest entries that can be reached.
    pub least: usize,
}

impl RoutePlan {
    /// The plan with wider exclusions, until `count` says that there are at most `most` entries; what stays in the
    /// tunnel by the policy's word (corporate and client subnets, DNS servers, servers) is never touched.
    ///
    /// Two neighboring exclusions become the smallest prefix around both, beginning with the pair for which that is the
    /// longest; none becomes wider than the prefixes that a feed may have.
    ///
    /// # Errors
    /// [`TooNarrow`] where that is not enough, and in a split tunnel, which excludes only internal addresses.
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

    /// The plan with `excluded` left out of the tunnel, which has at least what this plan leaves out.
    #[must_use]
    pub fn excluding(&self, excluded: &PrefixSet) -> Self {
        let mut plan = self.clone();
        plan.tunnel = self.tunnel.subtract(excluded);
        plan.excludes =
            super::entry::entries(excluded, &self.sources, |source| source.kind.is_public());
        plan.includes = super::entry::entries(&plan.tunnel, &self.sources, |source| {
            !source.kind.is_public()
        });
        plan
    }

    /// What no widening may take out of the tunnel.
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
        // Where the policy itself takes some of it out, nothing is lost.
        kept.intersect(&self.tunnel)
    }
}

/// The smallest prefix around two neighbors that adds the fewest addresses and none of `kept`.
fn cheapest(nets: &[IpNet], kept: &PrefixSet) -> Option<IpNet> {
    nets.windows(2)
        .filter_map(|pair| around(pair[0], pair[1]))
        .filter(|joined| match joined {
            IpNet::V4(net) => net.prefix_len() >= SHORTEST_V4,
            IpNet::V6(net) => net.prefix_len() >= SHORTEST_V6,
        })
        .filter(|joined| !kept.overlaps(*joined))
        .max_by_key(IpNet::prefix_len)
}

/// The smallest prefix that has both; none for two families.
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

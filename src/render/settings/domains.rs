//! [`VendorDomains`]: the names of a vendor's servers, for programs that take a domain for every name below it.

use std::fmt;

use crate::policy::Policy;
use crate::vendor::{Domains, Vendor};

/// Domains of the vendors that a policy has profiles of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct VendorDomains {
    /// Each vendor once, in the order of the policy.
    pub(super) lists: Vec<VendorList>,
    /// Names that no list of domains can say, since a wildcard stands elsewhere than before the first dot.
    pub(super) wildcards: Vec<&'static str>,
    /// Titles of the vendors that publish no names.
    pub(super) without: Vec<&'static str>,
    /// True if Microsoft's vendor is among the profiles: its media goes by address.
    pub(super) has_microsoft: bool,
}

/// Domains of one vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VendorList {
    title: &'static str,
    facts: &'static Domains,
    /// The domains; none lies below another of any list.
    pub(super) domains: Vec<&'static str>,
}

impl VendorDomains {
    pub(super) fn of(policy: &Policy) -> Self {
        let mut found = Self::default();
        let mut seen: Vec<Vendor> = Vec::new();
        for vendor in policy.feeds.iter().filter_map(|feed| feed.vendor) {
            if seen.contains(&vendor) {
                continue;
            }
            seen.push(vendor);
            let facts = vendor.facts();
            match (&facts.domains, vendor) {
                (_, Vendor::Teams) => found.has_microsoft = true,
                (None, _) => found.without.push(&facts.title),
                (Some(list), _) => {
                    let mut domains = Vec::new();
                    for name in &list.names {
                        let domain = name.strip_prefix("*.").unwrap_or(name);
                        match domain.contains('*') {
                            true => found.wildcards.push(name),
                            false => domains.push(domain),
                        }
                    }
                    found.lists.push(VendorList {
                        title: &facts.title,
                        facts: list,
                        domains,
                    });
                }
            }
        }
        let all: Vec<&str> = found.all().collect();
        let mut kept: Vec<&str> = Vec::new();
        for list in &mut found.lists {
            list.domains.retain(|domain| {
                let is_below = all
                    .iter()
                    .any(|other| other != domain && lies_in(domain, other));
                let is_needed = !is_below && !kept.contains(domain);
                kept.extend(is_needed.then_some(*domain));
                is_needed
            });
        }
        found
    }

    /// Every domain.
    pub(super) fn all(&self) -> impl Iterator<Item = &'static str> {
        self.lists
            .iter()
            .flat_map(|list| list.domains.iter().copied())
    }
}

impl fmt::Display for VendorList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, facts, .. } = self;
        write!(out, "{title}: {}, {}", facts.source, facts.as_of)
    }
}

/// Returns `true` if `name` is `domain`, or lies below it.
pub(super) fn lies_in(name: &str, domain: &str) -> bool {
    let above = name.strip_suffix(domain);
    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

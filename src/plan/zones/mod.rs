//! [`Zones`]: the names that VPN clients get a local answer for.
//!
//! ```text
//!  [[public]] hosts, srv ──▶ pinned   A, AAAA, SRV as given; every other type: no data
//!  dns.sip_domains ───────┐
//!  [[server]] hosts ──────┴▶ hidden   NXDOMAIN, and so is whatever is below
//!  dns.canaries ───────────▶ no data
//!  any other name ─────────▶ forwarded as it is
//! ```
//!
//! A pinned name is exactly that name: names above, below and beside it are forwarded. One zone per name, as in the
//! article, would also cover everything below the name, which is the whole company once `contoso.com` itself is pinned.
//! A name with two rules is pinned rather than hidden, as public comes before servers in verdicts.
//!
//! [`Zones::answer`] alone decides. The DNS server, `explain`, the renderers for other DNS servers and the tests call
//! it.

mod owner;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::FixedState;

pub use owner::{NameSource, NameSourceKind, Owner, Records, Srv, Treatment};

use crate::name::{DnsName, record_type};
use crate::policy::{Policy, PublicService};

/// The names of a policy that are not forwarded unchanged.
#[derive(Debug, Clone)]
pub struct Zones {
    owners: Vec<Owner>,
    /// Positions in `owners`.
    by_name: HashMap<DnsName, usize, FixedState>,
    /// Names with a pinned name below them.
    above_pinned: HashSet<DnsName, FixedState>,
    /// Maximum number of labels of an owner: ancestors with more need no lookup.
    most_labels: usize,
    ttl_seconds: u32,
}

/// The answer that a client gets for a name and a type.
///
/// The class is `IN`; the server refuses others. `AA` is set on all but [`Answer::Forward`], `RA` always.
///
/// A negative answer carries a start of authority (RFC 2308 §3) owned by `owner`: the zone is the name itself, as with
/// the article's pin-point zones, so the answer claims no authority for the company's zones. [`Soa`] has its values;
/// its negative TTL equals the TTL of the records.
///
/// - The answer for a pinned name does not depend on the company's own domain of that name: no data comes from there.
/// - A name that exists only because of names below it (`_tls.contoso.com` above `_sip._tls.contoso.com`) is forwarded,
///   and may be NXDOMAIN. RFC 8020 lets a cache conclude that nothing exists below. Caches that do so require DNSSEC
///   proof, and resolvers that walk down label by label do not query a forwarder.
/// - Pinned names are unsigned. A validating client finds them bogus if the domain is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'z> {
    /// NOERROR with these records of the name; at least one.
    Records {
        /// The name and the rules that pin it.
        owner: &'z Owner,
        /// The records of the type asked for; all of them for ANY (RFC 8482).
        sets: RecordSets<'z>,
    },
    /// NOERROR without records.
    NoData {
        /// The name and the rules that apply to it.
        owner: &'z Owner,
    },
    /// NXDOMAIN.
    NxDomain {
        /// The hidden name (the name asked for or one above it) and the rules that hide it.
        owner: &'z Owner,
    },
    /// The upstream's answer, without records of names that must not be forwarded.
    Forward,
}

impl<'z> Answer<'z> {
    /// Returns the name that decides, with its rules; `None` if no rule of the policy applies.
    pub const fn owner(&self) -> Option<&'z Owner> {
        match self {
            Self::Records { owner, .. } | Self::NoData { owner } | Self::NxDomain { owner } => {
                Some(owner)
            }
            Self::Forward => None,
        }
    }

    /// Returns the answer in one word, for programs: `records`, `no-data`, `no-such-name` or `forward`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Records { .. } => "records",
            Self::NoData { .. } => "no-data",
            Self::NxDomain { .. } => "no-such-name",
            Self::Forward => "forward",
        }
    }

    /// Returns the data of the records in zone file format: addresses, and SRV as `0 0 443 sip.contoso.com`. Empty for
    /// all but [`Answer::Records`].
    pub fn data(&self) -> Vec<String> {
        let sets = match self {
            Self::Records { sets, .. } => *sets,
            Self::NoData { .. } | Self::NxDomain { .. } | Self::Forward => RecordSets::default(),
        };
        let v4 = sets.ipv4.iter().map(ToString::to_string);
        let v6 = sets.ipv6.iter().map(ToString::to_string);
        let srv = sets.srv.iter().map(ToString::to_string);
        v4.chain(v6).chain(srv).collect()
    }
}

/// Records of a pinned name, by type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordSets<'z> {
    /// A.
    pub ipv4: &'z [Ipv4Addr],
    /// AAAA.
    pub ipv6: &'z [Ipv6Addr],
    /// SRV.
    pub srv: &'z [Srv],
}

impl RecordSets<'_> {
    /// Returns `true` if there are no records.
    pub const fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty() && self.srv.is_empty()
    }
}

/// The start of authority of negative answers (RFC 1035 §3.3.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soa {
    /// `MNAME`.
    pub primary: &'static str,
    /// `RNAME`: a mailbox that does not exist.
    pub mailbox: &'static str,
    /// Without meaning: the zone is never transferred.
    pub serial: u32,
    /// As above.
    pub refresh_seconds: u32,
    /// As above.
    pub retry_seconds: u32,
    /// As above.
    pub expire_seconds: u32,
    /// TTL of negative answers (RFC 2308 §4), and of the record itself.
    pub negative_ttl_seconds: u32,
}

/// Writes the data in zone file format.
impl fmt::Display for Soa {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            primary,
            mailbox,
            serial,
            refresh_seconds,
            retry_seconds,
            expire_seconds,
            negative_ttl_seconds,
        } = self;
        write!(
            out,
            "{primary}. {mailbox}. {serial} {refresh_seconds} {retry_seconds} {expire_seconds} {negative_ttl_seconds}"
        )
    }
}

impl Zones {
    /// Builds the zones of `policy`.
    pub fn of(policy: &Policy) -> Self {
        let mut zones = Self {
            owners: Vec::new(),
            by_name: HashMap::default(),
            above_pinned: HashSet::default(),
            most_labels: 0,
            ttl_seconds: policy.dns.ttl_seconds.into(),
        };
        for public in &policy.publics {
            zones.pin_hosts(public);
            zones.pin_services(public);
        }
        for domain in &policy.dns.sip_domains {
            for internal in INTERNAL_DISCOVERY {
                let name = format!("{internal}.{}", domain.value);
                let kind = NameSourceKind::SipDomain(domain.value.clone());
                zones.add(&name, kind, domain.line, Treatment::Hidden);
            }
        }
        for server in &policy.servers {
            for host in &server.hosts {
                let kind = NameSourceKind::ServerHost(server.name.value.clone());
                zones.add(&host.value, kind, host.line, Treatment::Hidden);
            }
        }
        for canary in &policy.dns.canaries {
            for name in canary.value.names() {
                let treatment = Treatment::NoData(canary.value);
                zones.add(name, NameSourceKind::Canaries, canary.line, treatment);
            }
        }
        zones.measure();
        zones
    }

    /// Builds the zones of `policy` for clients for whom it is not enforced: no name is hidden.
    pub fn hiding_nothing(policy: &Policy) -> Self {
        let mut policy = policy.clone();
        policy.dns.sip_domains.clear();
        for server in &mut policy.servers {
            server.hosts.clear();
        }
        Self::of(&policy)
    }

    /// Precomputes what lookups of names above and below need.
    fn measure(&mut self) {
        let pinned = self.owners.iter().filter(|owner| owner.is_pinned());
        self.above_pinned = pinned
            .flat_map(|owner| std::iter::successors(owner.name.parent(), DnsName::parent))
            .collect();
        let labels = self.owners.iter().map(|owner| owner.name.labels().count());
        self.most_labels = labels.max().unwrap_or(0);
        // Names between a hidden name and a pinned one below it are distinguished from others below the hidden name.
        let between: Vec<_> = self
            .above_pinned
            .iter()
            .filter(|name| self.find(name).is_none())
            .filter_map(|&name| Some((name, self.nearest_above(&name)?)))
            .filter(|(_, owner)| owner.treatment == Treatment::Hidden)
            .map(|(name, owner)| Owner {
                name,
                ..owner.clone()
            })
            .collect();
        for owner in between {
            self.by_name.insert(owner.name, self.owners.len());
            self.owners.push(owner);
        }
    }

    fn pin_hosts(&mut self, public: &PublicService) {
        let mut records = Records::default();
        for address in public.host_addresses() {
            match address {
                IpAddr::V4(address) => push_once(&mut records.ipv4, address),
                IpAddr::V6(address) => push_once(&mut records.ipv6, address),
            }
        }
        // Prefixes alone give no addresses to answer with: such names are left to the public DNS.
        if records == Records::default() {
            return;
        }
        for host in &public.hosts {
            let kind = NameSourceKind::PublicHost(public.name.value.clone());
            let treatment = Treatment::Pinned(records.clone());
            self.add(&host.value, kind, host.line, treatment);
        }
    }

    fn pin_services(&mut self, public: &PublicService) {
        for record in &public.srv {
            let Ok(target) = record.target.parse() else {
                continue;
            };
            let srv = Srv {
                priority: record.priority,
                weight: record.weight,
                port: record.port,
                target,
            };
            let kind = NameSourceKind::PublicService(public.name.value.clone());
            let treatment = Treatment::Pinned(Records {
                srv: vec![srv],
                ..Records::default()
            });
            self.add(&record.name.value, kind, record.name.line, treatment);
        }
    }

    /// Adds the treatment that a rule asks for. Earlier rules keep precedence; pinned records are merged.
    fn add(&mut self, name: &str, kind: NameSourceKind, line: u32, treatment: Treatment) {
        // A domain close to 255 bytes can have no names below it, so there is nothing to hide.
        let Ok(name) = name.parse::<DnsName>() else {
            return;
        };
        let source = NameSource { kind, line };
        let at = *self.by_name.entry(name).or_insert_with(|| {
            self.owners.push(Owner {
                name,
                treatment: treatment.clone(),
                sources: Vec::new(),
            });
            self.owners.len() - 1
        });
        let owner = &mut self.owners[at];
        match (&mut owner.treatment, treatment) {
            (Treatment::Pinned(records), Treatment::Pinned(more)) => {
                more.ipv4
                    .into_iter()
                    .for_each(|it| push_once(&mut records.ipv4, it));
                more.ipv6
                    .into_iter()
                    .for_each(|it| push_once(&mut records.ipv6, it));
                more.srv
                    .into_iter()
                    .for_each(|it| push_once(&mut records.srv, it));
            }
            (Treatment::Hidden, Treatment::Hidden)
            | (Treatment::NoData(_), Treatment::NoData(_)) => {}
            // Rules are added in order of precedence: pinned, hidden, canary.
            (_, Treatment::Pinned(_) | Treatment::Hidden | Treatment::NoData(_)) => return,
        }
        push_once(&mut owner.sources, source);
    }

    /// Returns the names in policy order: pinned, hidden, canaries, followed by names that must exist between a hidden
    /// name and a pinned one below it.
    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// Returns the policy's entry for exactly this name.
    pub fn find(&self, name: &DnsName) -> Option<&Owner> {
        self.by_name.get(name).map(|&at| &self.owners[at])
    }

    /// Returns the TTL of every local record, and of negative answers.
    pub const fn ttl_seconds(&self) -> u32 {
        self.ttl_seconds
    }

    /// Returns the start of authority of every negative answer; its owner is that of the answer.
    pub const fn soa(&self) -> Soa {
        Soa {
            primary: "localhost",
            mailbox: "nobody.invalid",
            serial: 1,
            refresh_seconds: 3_600,
            retry_seconds: 1_200,
            expire_seconds: 604_800,
            negative_ttl_seconds: self.ttl_seconds,
        }
    }

    /// Returns the answer that a client gets for a name and a record type.
    pub fn answer(&self, name: &DnsName, record_type: u16) -> Answer<'_> {
        let Some(owner) = self.find(name) else {
            return match self.nearest_above(name) {
                Some(owner) if owner.treatment == Treatment::Hidden => self.deny(name, owner),
                Some(_) | None => Answer::Forward,
            };
        };
        let records = match &owner.treatment {
            Treatment::Pinned(records) => records,
            Treatment::Hidden => return self.deny(name, owner),
            Treatment::NoData(_) => return Answer::NoData { owner },
        };
        let mut sets = RecordSets::default();
        let is = |wanted| record_type == wanted || record_type == record_type::ANY;
        if is(record_type::A) {
            sets.ipv4 = &records.ipv4;
        }
        if is(record_type::AAAA) {
            sets.ipv6 = &records.ipv6;
        }
        if is(record_type::SRV) {
            sets.srv = &records.srv;
        }
        if sets.is_empty() {
            Answer::NoData { owner }
        } else {
            Answer::Records { owner, sets }
        }
    }

    /// Returns the answer for a name that `owner` hides, either itself or as an ancestor.
    fn deny<'z>(&self, name: &DnsName, owner: &'z Owner) -> Answer<'z> {
        // Pinned names below must still resolve, and nothing exists below a name that does not exist (RFC 8020).
        if self.above_pinned.contains(name) {
            Answer::NoData { owner }
        } else {
            Answer::NxDomain { owner }
        }
    }

    /// Returns the policy's entry for the nearest name above this one.
    fn nearest_above(&self, name: &DnsName) -> Option<&Owner> {
        let nearest = name.parent()?.last_labels(self.most_labels);
        std::iter::successors(Some(nearest), DnsName::parent).find_map(|above| self.find(&above))
    }
}

fn push_once<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Names by which clients find internal servers, below each SIP domain ("Advanced Edge Server DNS planning" for Skype
/// for Business Server; "Lync client discovery" before it). `sip` is left out: the Access Edge has the same name.
const INTERNAL_DISCOVERY: &[&str] = &[
    "lyncdiscoverinternal",
    "_sipinternaltls._tcp",
    "_sipinternal._tcp",
    "sipinternal",
];

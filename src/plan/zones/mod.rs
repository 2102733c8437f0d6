//! [`Zones`]: which names VPN clients get an answer of their own for.
//!
//! ```text
//!  [[public]] hosts, srv ──▶ pinned   A, AAAA, SRV as given; every other type: no data
//!  dns.sip_domains ───────┐
//!  [[server]] hosts ──────┴▶ hidden   NXDOMAIN, and so is whatever is below
//!  dns.canaries ───────────▶ no data
//!  any other name ─────────▶ forwarded as it is
//! ```
//!
//! A pinned name is exactly that name: those above, below and beside it are forwarded. A zone for each name, as the
//! article makes it, would also swallow what is below, which is the whole company once `contoso.com` itself is pinned. A
//! name with two rules is pinned rather than hidden, as public comes before servers in verdicts.
//!
//! [`Zones::answer`] is the one place that decides. The DNS server, `explain`, the files for other DNS servers and the
//! tests ask it.

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

/// The names of a policy that are not simply forwarded.
#[derive(Debug, Clone)]
pub struct Zones {
    owners: Vec<Owner>,
    /// Positions in `owners`.
    by_name: HashMap<DnsName, usize, FixedState>,
    /// Names that have a pinned one below them.
    above_pinned: HashSet<DnsName, FixedState>,
    /// Most labels of an owner: no ancestor with more has to be looked up.
    most_labels: usize,
    ttl_seconds: u32,
}

/// What a client gets for a name and a type.
///
/// The class is `IN`; others are for the server to refuse. `AA` is set on all but [`Answer::Forward`], `RA` always.
///
/// A negative answer carries a start of authority (RFC 2308 §3) whose owner is `owner`: the zone is the name, as with
/// the article's pin-point zones, so no zone of the company is spoken for. [`Soa`] has its values, its negative TTL
/// is that of the records.
///
/// - Whether the domain of a pinned name exists inside the company does not matter: nothing of the answer comes from there.
/// - A name that exists only because of names below it (`_tls.contoso.com` above `_sip._tls.contoso.com`) is forwarded,
///   and may be NXDOMAIN. RFC 8020 lets a cache conclude that nothing is below; those that do ask for DNSSEC's proof, and
///   resolvers that walk down label by label do not ask a forwarder.
/// - Pinned names are unsigned. A client that validates for itself finds them bogus where the domain is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'z> {
    /// NOERROR with these records of the name; at least one.
    Records {
        /// The name and why.
        owner: &'z Owner,
        /// The records of the type asked for; all of them for ANY (RFC 8482).
        sets: RecordSets<'z>,
    },
    /// NOERROR without records.
    NoData {
        /// The name and why.
        owner: &'z Owner,
    },
    /// NXDOMAIN.
    NxDomain {
        /// The hidden name, which is the name asked for or above it, and why.
        owner: &'z Owner,
    },
    /// Whatever the upstream says, but for records of names that are not to be forwarded.
    Forward,
}

impl<'z> Answer<'z> {
    /// The name that decides, and why; `None` where nothing of the policy speaks of it.
    pub const fn owner(&self) -> Option<&'z Owner> {
        match self {
            Self::Records { owner, .. } | Self::NoData { owner } | Self::NxDomain { owner } => {
                Some(owner)
            }
            Self::Forward => None,
        }
    }

    /// What it is in a word, for programs: `records`, `no-data`, `no-such-name` or `forward`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Records { .. } => "records",
            Self::NoData { .. } => "no-data",
            Self::NxDomain { .. } => "no-such-name",
            Self::Forward => "forward",
        }
    }

    /// The data of its records as zone files write them: addresses, and SRV as `0 0 443 sip.contoso.com`. None but for
    /// [`Answer::Records`].
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
    /// Whether there is no record.
    pub const fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty() && self.srv.is_empty()
    }
}

/// The start of authority of negative answers (RFC 1035 §3.3.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soa {
    /// `MNAME`.
    pub primary: &'static str,
    /// `RNAME`: nobody's mailbox.
    pub mailbox: &'static str,
    /// Of no meaning: nobody transfers the zone.
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

/// Its data as a zone file writes it.
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
    /// The names of `policy`.
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

    /// Works out what questions about names above and below need.
    fn measure(&mut self) {
        let pinned = self.owners.iter().filter(|owner| owner.is_pinned());
        self.above_pinned = pinned
            .flat_map(|owner| std::iter::successors(owner.name.parent(), DnsName::parent))
            .collect();
        let labels = self.owners.iter().map(|owner| owner.name.labels().count());
        self.most_labels = labels.max().unwrap_or(0);
        // Names between a hidden one and a pinned one below it are told apart from others below the hidden one.
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
        // Prefixes alone are no addresses to answer with: such names stay with the public DNS.
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

    /// Adds what a rule asks for; what came before is not overruled, pinned records join.
    fn add(&mut self, name: &str, kind: NameSourceKind, line: u32, treatment: Treatment) {
        // A domain close to 255 bytes has no names below it: there is nothing to hide.
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
            // Pinned before hidden before canary, which is the order in which they are added.
            (_, Treatment::Pinned(_) | Treatment::Hidden | Treatment::NoData(_)) => return,
        }
        push_once(&mut owner.sources, source);
    }

    /// The names, in the order of the policy: pinned ones, hidden ones, canaries. Behind them are those that have to exist
    /// between a hidden name and a pinned one below it.
    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// What the policy says of exactly this name.
    pub fn find(&self, name: &DnsName) -> Option<&Owner> {
        self.by_name.get(name).map(|&at| &self.owners[at])
    }

    /// TTL of every record of one's own, and of negative answers.
    pub const fn ttl_seconds(&self) -> u32 {
        self.ttl_seconds
    }

    /// The start of authority of every negative answer; its owner is that of the answer.
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

    /// What a client gets for a name and a record type.
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

    /// The answer for a name that `owner` hides, itself or from above.
    fn deny<'z>(&self, name: &DnsName, owner: &'z Owner) -> Answer<'z> {
        // What is pinned below must be possible: a name that does not exist has nothing below it (RFC 8020).
        if self.above_pinned.contains(name) {
            Answer::NoData { owner }
        } else {
            Answer::NxDomain { owner }
        }
    }

    /// What the policy says of the nearest name above this one.
    fn nearest_above(&self, name: &DnsName) -> Option<&Owner> {
        let mut labels = name.labels().count();
        std::iter::successors(name.parent(), DnsName::parent)
            .filter(|_| {
                labels -= 1;
                labels <= self.most_labels
            })
            .find_map(|above| self.find(&above))
    }
}

fn push_once<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// Where clients look for internal servers, below each SIP domain ("Advanced Edge Server DNS planning" for Skype for
/// Business Server; "Lync client discovery" before it). `sip` is left out: the Access Edge's name is the same.
const INTERNAL_DISCOVERY: &[&str] = &[
    "lyncdiscoverinternal",
    "_sipinternaltls._tcp",
    "_sipinternal._tcp",
    "sipinternal",
];

//! Classes of addresses: the combinations of sets that a policy makes out of the address space.
//!
//! A policy needs several facts about an address: if it is a client, if it is corporate, its server, and the
//! `[[allow]]` entries that contain it; a gateway also needs to know if it is its own. All of these together are its
//! *class*. A policy of 10,000 prefixes has a few dozen classes, so one trie that maps an address to its class answers
//! every question in one lookup, and the compiler evaluates the rules once for each class.
//!
//! ```text
//!   10.0.0.0/8   corporate           10.0.0.0 ─┐ class 1: corporate
//!   10.1.0.0/28  server "Front End"  10.1.0.0 ─┤ class 2: corporate, server "Front End"
//!   10.1.0.3/32  allow "portal"      10.1.0.3 ─┤ class 3: corporate, server "Front End", allow "portal"
//!                                    10.1.0.4 ─┤ class 2
//!                                    10.1.0.16 ┘ class 1
//! ```

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::address::ClassNumber;
use crate::policy::{Policy, Sourced};

/// The sets of a policy and of its gateway that one address belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Class {
    /// In `vpn.client_subnets`.
    pub(super) client: bool,
    /// In `corporate.subnets`.
    pub(super) corporate: bool,
    /// One of the gateway's own addresses, and no `[[server]]` lists exactly it.
    pub(super) gateway: bool,
    /// Position of the `[[server]]` with the most specific prefix that contains it.
    pub(super) server: Option<u32>,
    /// Position of the `[[public]]` service, or of the feed after these, with the most specific prefix that contains
    /// it.
    pub(super) public: Option<u32>,
    /// Positions of the `[[allow]]` entries whose `to` covers it, ascending.
    pub(super) allows: Vec<u32>,
    /// Positions of those that cover it by a prefix inside `vpn.client_subnets`, ascending.
    pub(super) allows_between_clients: Vec<u32>,
}

/// One set that a prefix puts its addresses into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Membership {
    Client,
    Corporate,
    Gateway,
    Server(u32),
    Public(u32),
    Allow(u32),
    AllowBetweenClients(u32),
}

/// The error for a policy with more combinations of sets than class numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyClasses;

/// Every class of a policy, and the prefixes at which the class of an address changes.
pub(super) struct Classes {
    /// The classes by number; number 0 belongs to no set.
    pub(super) classes: Vec<Class>,
    pub(super) v4: Vec<(Ipv4Net, ClassNumber)>,
    pub(super) v6: Vec<(Ipv6Net, ClassNumber)>,
}

impl Classes {
    /// Numbers the classes of `policy` at a gateway whose addresses are `own`.
    pub(super) fn of(policy: &Policy, own: &[IpAddr]) -> Result<Self, TooManyClasses> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, membership) in memberships(policy).chain(gateway(policy, own)) {
            match prefix {
                IpNet::V4(prefix) => v4.push((prefix, membership)),
                IpNet::V6(prefix) => v6.push((prefix, membership)),
            }
        }
        let mut interner = Interner::new();
        let v4 = sweep(v4, &mut interner, |outer, inner| outer.contains(inner))?;
        let v6 = sweep(v6, &mut interner, |outer, inner| outer.contains(inner))?;
        Ok(Self {
            classes: interner.classes,
            v4,
            v6,
        })
    }
}

/// Every prefix of the policy with the set it belongs to, in an order that lets the first entry of a file win over a
/// later one for the same prefix, once they are applied one after the other.
fn memberships(policy: &Policy) -> impl Iterator<Item = (IpNet, Membership)> {
    fn each(
        prefixes: &[Sourced<IpNet>],
        membership: Membership,
    ) -> impl Iterator<Item = (IpNet, Membership)> {
        prefixes
            .iter()
            .map(move |prefix| (prefix.value, membership))
    }
    let number = |position: usize| {
        u32::try_from(position).expect("a policy file is too small to hold 2^32 rules")
    };
    let servers = policy.servers.iter().enumerate().rev();
    let publics = policy.publics.iter().enumerate().rev();
    // Feeds are numbered after the public services, as in the rule table.
    let feeds = policy.feeds.iter().enumerate().rev();
    let first_feed = policy.publics.len();
    let clients = policy.vpn.client_addresses();
    let allows = policy.allows.iter().enumerate();
    let allows = allows.flat_map(move |(at, rule)| {
        let all = rule.prefixes(&policy.vpn);
        let between_clients = rule.prefixes_between_clients(&policy.vpn, &clients);
        let all = all.map(move |it| (it.value, Membership::Allow(number(at))));
        let between_clients =
            between_clients.map(move |it| (it.value, Membership::AllowBetweenClients(number(at))));
        all.chain(between_clients).collect::<Vec<_>>()
    });
    each(&policy.vpn.client_subnets, Membership::Client)
        .chain(each(&policy.corporate.subnets, Membership::Corporate))
        .chain(
            servers
                .flat_map(move |(at, rule)| each(&rule.addresses, Membership::Server(number(at)))),
        )
        .chain(feeds.flat_map(move |(at, feed)| {
            let membership = Membership::Public(number(first_feed + at));
            let prefixes = feed.prefixes.iter().flatten();
            prefixes.map(move |taken| (taken.prefix, membership))
        }))
        .chain(
            publics
                .flat_map(move |(at, rule)| each(&rule.addresses, Membership::Public(number(at)))),
        )
        .chain(allows)
}

/// The addresses of `own` that no `[[server]]` lists by themselves.
fn gateway(policy: &Policy, own: &[IpAddr]) -> impl Iterator<Item = (IpNet, Membership)> {
    let mut unlisted: BTreeSet<IpNet> = own.iter().map(|address| IpNet::from(*address)).collect();
    for prefix in policy.servers.iter().flat_map(|server| &server.addresses) {
        unlisted.remove(&prefix.value);
    }
    unlisted
        .into_iter()
        .map(|address| (address, Membership::Gateway))
}

/// Walks the prefixes from the lowest address up, outer before inner, and gives each the class of its parent with its
/// own memberships added.
fn sweep<Net: Ord + Copy>(
    mut members: Vec<(Net, Membership)>,
    interner: &mut Interner,
    contains: impl Fn(&Net, &Net) -> bool,
) -> Result<Vec<(Net, ClassNumber)>, TooManyClasses> {
    // ipnet orders by network address, then by prefix length; a stable sort keeps the order of equal prefixes.
    members.sort_by_key(|(prefix, _)| *prefix);
    let mut classes: Vec<(Net, ClassNumber)> = Vec::with_capacity(members.len());
    let mut enclosing: Vec<(Net, ClassNumber)> = Vec::new();
    for same_prefix in members.chunk_by(|a, b| a.0 == b.0) {
        let prefix = same_prefix[0].0;
        while enclosing
            .pop_if(|(outer, _)| !contains(outer, &prefix))
            .is_some()
        {}
        let mut class = enclosing.last().map_or(0, |(_, class)| *class);
        for (_, membership) in same_prefix {
            class = interner.with(class, *membership)?;
        }
        classes.push((prefix, class));
        enclosing.push((prefix, class));
    }
    Ok(classes)
}

/// Adds `position` to an ascending list, once.
fn insert(positions: &mut Vec<u32>, position: u32) {
    if let Err(at) = positions.binary_search(&position) {
        positions.insert(at, position);
    }
}

/// Numbers classes in the order of their first occurrence.
struct Interner {
    classes: Vec<Class>,
    numbers: HashMap<Class, ClassNumber>,
    /// A class and an added membership → the resulting class: saves comparisons for a million prefixes of few sets.
    joined: HashMap<(ClassNumber, Membership), ClassNumber>,
}

impl Interner {
    fn new() -> Self {
        let none = Class::default();
        Self {
            classes: vec![none.clone()],
            numbers: HashMap::from([(none, 0)]),
            joined: HashMap::new(),
        }
    }

    fn with(
        &mut self,
        class: ClassNumber,
        membership: Membership,
    ) -> Result<ClassNumber, TooManyClasses> {
        if let Some(joined) = self.joined.get(&(class, membership)) {
            return Ok(*joined);
        }
        let mut joined = self.classes[usize::from(class)].clone();
        match membership {
            Membership::Client => joined.client = true,
            Membership::Corporate => joined.corporate = true,
            Membership::Gateway => joined.gateway = true,
            Membership::Server(position) => joined.server = Some(position),
            Membership::Public(position) => joined.public = Some(position),
            Membership::Allow(position) => insert(&mut joined.allows, position),
            Membership::AllowBetweenClients(position) => {
                insert(&mut joined.allows_between_clients, position);
            }
        }
        let number = self.number(joined)?;
        self.joined.insert((class, membership), number);
        Ok(number)
    }

    fn number(&mut self, class: Class) -> Result<ClassNumber, TooManyClasses> {
        if let Some(number) = self.numbers.get(&class) {
            return Ok(*number);
        }
        let number = ClassNumber::try_from(self.classes.len()).map_err(|_| TooManyClasses)?;
        self.classes.push(class.clone());
        self.numbers.insert(class, number);
        Ok(number)
    }
}

//! Address match lists of BIND, as sets of addresses.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::syntax::Statement;
use crate::address::PrefixSet;
use crate::verify::against::files::{DEEPEST, Loader};

/// The lists with a name, each evaluated once.
pub(super) struct Acls<'s> {
    lists: HashMap<&'s str, &'s Statement>,
    known: RefCell<HashMap<&'s str, PrefixSet>>,
    loader: &'s Loader<'s>,
}

impl<'s> Acls<'s> {
    pub(super) fn new(statements: &'s [Statement], loader: &'s Loader<'s>) -> Self {
        let acls = statements.iter().filter(|it| it.is("acl"));
        Self {
            lists: acls
                .filter_map(|it| Some((it.value()?, it)))
                .collect::<HashMap<_, _>>(),
            known: RefCell::default(),
            loader,
        }
    }

    /// Returns the addresses that a list matches: its first element that contains an address decides.
    pub(super) fn set(&self, elements: &'s [Statement]) -> PrefixSet {
        self.list(elements, 0)
    }

    fn list(&self, elements: &'s [Statement], depth: usize) -> PrefixSet {
        let (mut matched, mut decided) = (PrefixSet::EMPTY, PrefixSet::EMPTY);
        let mut elements = elements.iter().peekable();
        while let Some(element) = elements.next() {
            // Prefixes in a row are one set: lists of countries have thousands.
            if let Some(first) = plain(element) {
                let mut row = vec![first];
                while let Some(next) = elements.peek().and_then(|it| plain(it)) {
                    row.push(next);
                    elements.next();
                }
                let set = PrefixSet::from_iter(row);
                matched = matched.union(&set.subtract(&decided));
                decided = decided.union(&set);
                continue;
            }
            let (is_negated, words) = match &element.words[..] {
                [first, rest @ ..] if first == "!" => (true, rest),
                words => (false, words),
            };
            let set = self.element(element, words, depth);
            if !is_negated {
                matched = matched.union(&set.subtract(&decided));
            }
            decided = decided.union(&set);
        }
        matched
    }

    /// Returns the addresses that an element matches; within a nested list, what is negated does not match.
    fn element(&self, element: &'s Statement, words: &'s [String], depth: usize) -> PrefixSet {
        if depth == DEEPEST * 4 {
            self.loader.note(
                &element.place,
                element.key(),
                "lists are nested too deeply, or in a circle",
            );
            return PrefixSet::EMPTY;
        }
        let note = |why: &str| self.loader.note(&element.place, &words.join(" "), why);
        match words {
            [] => self.list(&element.block, depth + 1),
            [word] => match word.as_str() {
                "any" => PrefixSet::all_v4().union(&PrefixSet::all_v6()),
                // Clients of the VPN are other hosts.
                "none" | "localhost" => PrefixSet::EMPTY,
                "localnets" => {
                    note("it depends on the interfaces of the host");
                    PrefixSet::EMPTY
                }
                word => match prefix(word) {
                    Some(prefix) => PrefixSet::from_iter([prefix]),
                    None => self.named(word, depth + 1).unwrap_or_else(|| {
                        note("there is no such acl");
                        PrefixSet::EMPTY
                    }),
                },
            },
            // Clients sign no queries.
            [word, _] if word == "key" => PrefixSet::EMPTY,
            _ => {
                note("elements of this kind are not read");
                PrefixSet::EMPTY
            }
        }
    }

    fn named(&self, name: &str, depth: usize) -> Option<PrefixSet> {
        let (name, statement) = self.lists.get_key_value(name)?;
        if let Some(known) = self.known.borrow().get(name) {
            return Some(known.clone());
        }
        // A list that contains itself is empty there; named refuses it.
        self.known.borrow_mut().insert(name, PrefixSet::EMPTY);
        let set = self.list(&statement.block, depth);
        self.known.borrow_mut().insert(name, set.clone());
        Some(set)
    }
}

/// Returns the prefix of an element that is one, and not negated.
fn plain(element: &Statement) -> Option<IpNet> {
    match &element.words[..] {
        [word] if element.block.is_empty() => prefix(word),
        _ => None,
    }
}

/// Reads an address or a prefix, which may leave out its last bytes: `10/8`, `172.16/12`.
pub(super) fn prefix(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address));
    }
    if let Ok(prefix) = text.parse::<IpNet>() {
        return Some(prefix.trunc());
    }
    let (address, length) = text.split_once('/')?;
    let mut bytes = [0; 4];
    let parts: Vec<&str> = address.trim_end_matches('.').split('.').collect();
    for (byte, part) in bytes.iter_mut().zip(&parts) {
        *byte = part.parse().ok()?;
    }
    let net = Ipv4Net::new(Ipv4Addr::from(bytes), length.parse().ok()?).ok()?;
    (parts.len() <= 4).then_some(IpNet::V4(net.trunc()))
}

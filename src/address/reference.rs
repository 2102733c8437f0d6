//! A slow, simple reference table: a linear scan for the longest prefix that contains an address.
//!
//! Tests, fuzzing and benchmarks compare the tries with it. It shares no code with them.

use super::{ClassNumber, NO_CLASS};
use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A list of prefixes, scanned completely for each address.
#[derive(Debug, Clone)]
pub struct LinearTable<Net> {
    prefixes: Vec<(Net, ClassNumber)>,
}

impl<Net> LinearTable<Net> {
    /// Takes the prefixes unchanged; if one is listed twice, the last entry counts.
    pub fn new(prefixes: impl IntoIterator<Item = (Net, ClassNumber)>) -> Self {
        Self {
            prefixes: prefixes.into_iter().collect(),
        }
    }
}

impl LinearTable<Ipv4Net> {
    /// The class of the longest prefix that contains the address.
    pub fn lookup(&self, address: u32) -> ClassNumber {
        let address = Ipv4Addr::from_bits(address);
        self.prefixes
            .iter()
            .filter(|(net, _)| net.contains(&address))
            .max_by_key(|(net, _)| net.prefix_len())
            .map_or(NO_CLASS, |(_, class)| *class)
    }
}

impl LinearTable<Ipv6Net> {
    /// The class of the longest prefix that contains the address.
    pub fn lookup(&self, address: u128) -> ClassNumber {
        let address = Ipv6Addr::from_bits(address);
        self.prefixes
            .iter()
            .filter(|(net, _)| net.contains(&address))
            .max_by_key(|(net, _)| net.prefix_len())
            .map_or(NO_CLASS, |(_, class)| *class)
    }
}

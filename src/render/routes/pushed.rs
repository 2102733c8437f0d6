//! [`Pushed`]: what a file of a target says, in prefixes.

use std::net::{IpAddr, Ipv4Addr};

use crate::address::{PrefixSet, more_specific};
use crate::message::shorten;
use crate::render::{ReadError, code_lines};
use ipnet::{IpNet, Ipv4Net};

/// Prefixes that a file sends into the tunnel and keeps out of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Prefixes that enter the tunnel, unless a more specific one says otherwise.
    pub includes: Vec<IpNet>,
    /// Prefixes that do not, unless a more specific one says otherwise.
    pub excludes: Vec<IpNet>,
    /// Entries that are for some ports or protocols alone, each with its line: they are not compared.
    pub left_out: Vec<(usize, String)>,
}

impl Pushed {
    /// The addresses that enter the tunnel: the most specific prefix decides, as in a route table.
    pub fn tunnel(&self) -> PrefixSet {
        more_specific(self.includes.iter().copied(), self.excludes.iter().copied())
    }

    /// Everything of a family.
    pub(super) fn everything(v6: bool) -> IpNet {
        if v6 {
            IpNet::V6(ipnet::Ipv6Net::default())
        } else {
            IpNet::V4(Ipv4Net::default())
        }
    }
}

/// As [`read_prefix`], but host bits are masked.
pub(super) fn read_masked_prefix(line: usize, text: &str) -> Result<IpNet, ReadError> {
    match text.parse::<IpNet>() {
        Ok(net) => Ok(net.trunc()),
        Err(_) => read_prefix(line, text),
    }
}

/// Reads `A/LENGTH`, `A/MASK` or an address alone; host bits are an error, as programs differ in what they make of them.
pub(super) fn read_prefix(line: usize, text: &str) -> Result<IpNet, ReadError> {
    let wrong = || ReadError::new(line, format!("`{}` is not a prefix", shorten(text)));
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    match (address, length) {
        (address, None) => Ok(IpNet::from(address)),
        (IpAddr::V4(address), Some(mask)) if mask.contains('.') => {
            let mask: Ipv4Addr = mask.parse().map_err(|_| wrong())?;
            masked(line, address, mask)
        }
        (address, Some(length)) => {
            let length = length.parse().map_err(|_| wrong())?;
            let net = IpNet::new(address, length).map_err(|_| wrong())?;
            without_host_bits(line, net)
        }
    }
}

/// The prefix of an address and its netmask.
pub(super) fn masked(line: usize, address: Ipv4Addr, mask: Ipv4Addr) -> Result<IpNet, ReadError> {
    let net = Ipv4Net::with_netmask(address, mask)
        .map_err(|_| ReadError::new(line, format!("{mask} is not a netmask")))?;
    without_host_bits(line, IpNet::V4(net))
}

fn without_host_bits(line: usize, net: IpNet) -> Result<IpNet, ReadError> {
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(ReadError::new(line, format!("{net} has host bits set")))
    }
}

/// The prefixes of every `key = A,B,…` line; `None` without such a line.
pub(super) fn read_list(text: &str, key: &str) -> Result<Option<Vec<IpNet>>, ReadError> {
    let mut list = None;
    for (number, line) in code_lines(text, &['#']) {
        if let Some((found, value)) = line.split_once('=')
            && found.trim() == key
        {
            let list = list.get_or_insert_with(Vec::new);
            let prefixes = value.split(',').map(str::trim);
            for prefix in prefixes.filter(|prefix| !prefix.is_empty()) {
                list.push(read_prefix(number, prefix)?);
            }
        }
    }
    Ok(list)
}

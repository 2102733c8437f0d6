//! Sources that rules ask for, as each program writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::Value;

use super::chain::Condition;

/// The first and the last address of a range.
pub(super) type Range = (IpAddr, IpAddr);

/// The condition that the source is in `ranges`; `other`, which has a number, where these are unknown.
pub(super) fn source(ranges: Option<Vec<Range>>, other: Condition) -> Condition {
    match (ranges, other) {
        (Some(ranges), Condition::Other(number)) => Condition::Source(ranges, number),
        (_, other) => other,
    }
}

/// The ranges of a value of `nft --json`: an address, a prefix, a range, or a set of them; `None` if it has anything else.
pub(super) fn of_nft(value: &Value) -> Option<Vec<Range>> {
    if let Some(set) = value["set"].as_array() {
        let ranges: Option<Vec<_>> = set.iter().map(of_nft).collect();
        return Some(ranges?.concat());
    }
    let element = value["elem"].get("val").unwrap_or(value);
    if element["prefix"].is_object() {
        let address: IpAddr = element["prefix"]["addr"].as_str()?.parse().ok()?;
        let length = u8::try_from(element["prefix"]["len"].as_u64()?).ok()?;
        return Some(vec![range_of(IpNet::new(address, length).ok()?)]);
    }
    Some(vec![range_of_nft(element)?])
}

/// The range of a value of `nft --json`: an address or a range.
pub(super) fn range_of_nft(value: &Value) -> Option<Range> {
    let ends: Vec<&str> = match value["range"].as_array() {
        Some(ends) => ends.iter().filter_map(Value::as_str).collect(),
        None => value.as_str().into_iter().collect(),
    };
    let (first, last) = (ends.first()?, ends.last()?);
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// The range of an argument of `iptables -s`: an address or a prefix.
pub(super) fn of_iptables(argument: &str) -> Option<Vec<Range>> {
    let one = || argument.parse().map(|it: IpAddr| (it, it)).ok();
    let range = argument.parse().map(range_of).ok().or_else(one);
    range.map(|it| vec![it])
}

/// The range of an address and a mask as the kernel keeps them, both of one family; `None` if the mask is none of a prefix.
pub(super) fn of_mask(address: &[u8], mask: &[u8]) -> Option<Vec<Range>> {
    let (address, mask): (IpAddr, IpAddr) = match address.len() {
        4 => (
            Ipv4Addr::from(*address.first_chunk()?).into(),
            Ipv4Addr::from(*mask.first_chunk()?).into(),
        ),
        _ => (
            Ipv6Addr::from(*address.first_chunk()?).into(),
            Ipv6Addr::from(*mask.first_chunk()?).into(),
        ),
    };
    Some(vec![range_of(IpNet::with_netmask(address, mask).ok()?)])
}

fn range_of(prefix: IpNet) -> Range {
    (prefix.network(), prefix.broadcast())
}

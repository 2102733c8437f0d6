//! Prefixes as feeds write them: any spelling that means one prefix is taken, and said.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::{EntryKey, FeedError, Note};
use crate::message::shorten;

/// Reads a prefix or an address; an unusual spelling adds to `notes`.
pub(super) fn parse_prefix(
    entry: EntryKey,
    text: &str,
    notes: &mut Vec<Note>,
) -> Result<IpNet, FeedError> {
    let bad = |why: &str| FeedError::BadPrefix {
        entry,
        text: shorten(text),
        why: why.to_owned(),
    };
    let (address_text, length_text) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address_text.parse().map_err(|_| bad("is not a prefix"))?;
    if let IpAddr::V6(address) = address
        && Ipv6Addr::to_ipv4_mapped(&address).is_some()
    {
        return Err(bad("is an IPv4 prefix written as IPv6"));
    }
    let widest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length_text {
        None => widest,
        Some(digits) => {
            let decimal =
                (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            let length = digits.parse().ok().filter(|&length: &u8| length <= widest);
            length
                .filter(|_| decimal)
                .ok_or_else(|| bad(&format!("has no valid length; /{widest} is the longest")))?
        }
    };
    let taken = IpNet::new(address, length)
        .map_err(|_| bad("has no valid length"))?
        .trunc();
    let usual = taken.to_string() == text || (length_text.is_none() && address.to_string() == text);
    if !usual {
        notes.push(Note::Spelling {
            entry,
            text: shorten(text),
            taken,
        });
    }
    Ok(taken)
}

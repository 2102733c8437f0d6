//! Refuses what no public feed has: special-purpose addresses, and prefixes that would empty the tunnel.
//!
//! A feed is fetched over the network, edited by hand, or handed on by mail. The worst it can do is not to be wrong in
//! one prefix, but to be `0.0.0.0/0`: then nothing is left in the tunnel.

use ipnet::IpNet;

use super::{EntryKey, FeedError};
use crate::address::{PrefixSet, special};

/// The shortest IPv4 prefix that is taken: no company publishes more than a /8 in one piece.
pub const MIN_V4_LENGTH: u8 = 8;
/// The shortest IPv6 prefix that is taken: registries give providers a /19 at most.
pub const MIN_V6_LENGTH: u8 = 16;
/// The most IPv4 addresses of one feed, a sixteenth of all: the largest cloud publishes a quarter of that.
pub const MAX_V4_ADDRESSES: u64 = 1 << 28;
/// The most IPv6 addresses of one feed: as many as the prefix `::/12` has.
pub const MAX_V6_ADDRESSES: u128 = 1 << 116;

/// Refuses prefixes without any address on the Internet ([`special`]).
///
/// # Errors
/// [`FeedError::NotPublic`] for the first such prefix.
pub fn refuse_not_public(prefixes: &[(EntryKey, IpNet)]) -> Result<(), FeedError> {
    let mut rows = prefixes
        .iter()
        .filter_map(|(entry, prefix)| Some((*entry, *prefix, special::unreachable(*prefix)?)));
    match rows.next() {
        Some((entry, prefix, row)) => Err(FeedError::NotPublic {
            entry,
            prefix,
            purpose: row.name,
            document: row.source,
        }),
        None => Ok(()),
    }
}

/// Refuses prefixes that would empty the tunnel, alone or together.
///
/// # Errors
/// [`FeedError::TooWide`] for the first such prefix, [`FeedError::TooMuch`] for all together.
pub fn refuse_wide(prefixes: &[(EntryKey, IpNet)]) -> Result<(), FeedError> {
    for (entry, prefix) in prefixes {
        let limit = match prefix {
            IpNet::V4(_) => MIN_V4_LENGTH,
            IpNet::V6(_) => MIN_V6_LENGTH,
        };
        if prefix.prefix_len() < limit {
            return Err(FeedError::TooWide {
                entry: *entry,
                prefix: *prefix,
                limit,
            });
        }
    }
    let all: PrefixSet = prefixes.iter().map(|(_, prefix)| *prefix).collect();
    let too_much = |family, one_in: u128| {
        Err(FeedError::TooMuch {
            family,
            share: match one_in {
                0..=1 => "half or more".to_owned(),
                _ => format!("1/{one_in}"),
            },
        })
    };
    let v4 = all.v4_addresses();
    if v4 > MAX_V4_ADDRESSES {
        return too_much("IPv4", u128::from((1_u64 << 32) / v4));
    }
    let v6 = all.v6_addresses();
    if v6 > MAX_V6_ADDRESSES {
        return too_much("IPv6", u128::MAX / v6);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(prefixes: &[&str]) -> Vec<(EntryKey, IpNet)> {
        let numbered = (1..).zip(prefixes);
        let line = |(number, text): (u32, &&str)| {
            (EntryKey::Line(number), text.parse().expect("a prefix"))
        };
        numbered.map(line).collect()
    }

    #[test]
    fn a_prefix_that_would_empty_the_tunnel_is_refused() {
        for wide in ["0.0.0.0/0", "0.0.0.0/1", "52.0.0.0/7", "::/0", "2000::/3"] {
            let error = refuse_wide(&lines(&["52.112.0.0/14", wide])).expect_err(wide);
            assert!(error.to_string().starts_with("line 2: "), "{error}");
        }
        assert_eq!(refuse_wide(&lines(&["52.0.0.0/8", "2600::/16"])), Ok(()));
    }

    #[test]
    fn many_prefixes_that_would_empty_the_tunnel_together_are_refused() {
        let eights: Vec<String> = (11..=43).map(|first| format!("{first}.0.0.0/8")).collect();
        let eights: Vec<&str> = eights.iter().map(String::as_str).collect();
        assert_eq!(refuse_wide(&lines(&eights[..16])), Ok(()));
        let error = refuse_wide(&lines(&eights)).expect_err("33 of 256");
        assert!(
            error
                .to_string()
                .starts_with("its IPv4 prefixes are a 1/7 of"),
            "{error}"
        );
    }

    #[test]
    fn private_space_in_a_public_feed_is_refused() {
        for private in [
            "10.1.0.0/16",
            "192.168.7.1/32",
            "fd00::/8",
            "ff02::1/128",
            "100.64.0.0/10",
        ] {
            assert!(
                refuse_not_public(&lines(&["52.112.0.0/14", private])).is_err(),
                "{private}"
            );
        }
        assert_eq!(
            refuse_not_public(&lines(&["52.112.0.0/14", "2603:1063::/38"])),
            Ok(())
        );
    }
}

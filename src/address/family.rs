//! [`Family`]: IPv4 or IPv6.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::PrefixSet;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Its name: `IPv4`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The end of names that differ by family: `v4`.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    /// Returns the prefix of all its addresses.
    pub fn everything(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(Ipv4Net::default()),
            Self::V6 => IpNet::V6(Ipv6Net::default()),
        }
    }

    /// Returns the addresses of this family.
    pub fn of(self, addresses: &PrefixSet) -> PrefixSet {
        match self {
            Self::V4 => addresses.only_v4(),
            Self::V6 => addresses.only_v6(),
        }
    }

    /// Returns `true` if `addresses` has one of this family.
    pub fn is_in(self, addresses: &PrefixSet) -> bool {
        match self {
            Self::V4 => addresses.has_v4(),
            Self::V6 => addresses.has_v6(),
        }
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{Family, PrefixSet};

    #[test]
    fn families_have_the_names_of_messages_and_of_generated_files() {
        let names = Family::BOTH.map(|family| (family.name(), family.suffix()));
        assert_eq!(names, [("IPv4", "v4"), ("IPv6", "v6")]);
        assert_eq!(
            Family::BOTH.map(|it| format!("{it:>6}")),
            ["  IPv4", "  IPv6"]
        );
    }

    #[test]
    fn a_family_is_in_a_set_that_has_an_address_of_it() {
        for (prefixes, expected) in [
            (&[][..], [false, false]),
            (&["10.0.0.0/8"], [true, false]),
            (&["::1/128"], [false, true]),
            (&["10.0.0.0/8", "::1/128"], [true, true]),
        ] {
            let prefixes = prefixes.iter().map(|it| it.parse::<ipnet::IpNet>());
            let set: PrefixSet = prefixes.map(|it| it.expect("a prefix")).collect();
            assert_eq!(Family::BOTH.map(|it| it.is_in(&set)), expected, "{set}");
        }
    }
}

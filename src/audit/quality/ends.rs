//! [`Ends`]: which end of a stream is a client, and what the other one is.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::Policy;

/// The client of a stream and its peer, by the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ends {
    /// The pool of the client; of the sender, if both are clients. `None` if neither is one.
    pub pool: Option<IpNet>,
    /// The direction of the stream.
    pub direction: Direction,
    /// The kind of the other end.
    pub peer: Peer,
}

/// The direction of a stream, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "gateway", derive(serde::Serialize))]
#[cfg_attr(feature = "gateway", serde(rename_all = "kebab-case"))]
pub enum Direction {
    /// A client sends it: at the concentrator, it has its way through the tunnel behind it.
    FromClient,
    /// A client receives it: its way through the tunnel is still to come.
    ToClient,
    /// No client has to do with it.
    Neither,
}

/// The kind of host that a client exchanges media with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "gateway", derive(serde::Serialize))]
#[cfg_attr(feature = "gateway", serde(rename_all = "kebab-case"))]
pub enum Peer {
    /// A corporate host, servers among them.
    Corporate,
    /// Another VPN client.
    Client,
    /// Any other host.
    Elsewhere,
}

impl Peer {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Corporate, Self::Client, Self::Elsewhere];

    /// The word for it in summaries and in `status`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Corporate => "corporate",
            Self::Client => "client",
            Self::Elsewhere => "elsewhere",
        }
    }

    fn of(policy: &Policy, address: IpAddr) -> Self {
        let servers = policy.servers.iter().flat_map(|it| &it.addresses);
        let mut corporate = policy.corporate.subnets.iter().chain(servers);
        if pool_of(policy, address).is_some() {
            Self::Client
        } else if corporate.any(|prefix| prefix.value.contains(&address)) {
            Self::Corporate
        } else {
            Self::Elsewhere
        }
    }
}

impl Ends {
    /// The ends of a stream from `source` to `destination`.
    pub fn of(policy: &Policy, source: IpAddr, destination: IpAddr) -> Self {
        let of = |pool, direction, peer| Self {
            pool,
            direction,
            peer: Peer::of(policy, peer),
        };
        let pools = (pool_of(policy, source), pool_of(policy, destination));
        match pools {
            (Some(pool), _) => of(Some(pool), Direction::FromClient, destination),
            (None, Some(pool)) => of(Some(pool), Direction::ToClient, source),
            (None, None) => of(None, Direction::Neither, destination),
        }
    }
}

/// The most specific pool of a client's address.
fn pool_of(policy: &Policy, address: IpAddr) -> Option<IpNet> {
    let pools = policy.vpn.client_subnets.iter().map(|pool| pool.value);
    pools
        .filter(|pool| pool.contains(&address))
        .max_by_key(IpNet::prefix_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_found_at_either_end_and_the_peer_at_the_other() {
        let text = r#"
[vpn]
client_subnets = ["172.16.0.0/16", "172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8", "172.16.0.0/12"]
[[server]]
name = "Edge"
addresses = ["198.51.100.10"]
"#;
        let (policy, _) = crate::policy::parse("ends.toml", text.as_bytes()).expect("in order");
        let ends = |source: &str, destination: &str| {
            let address = |text: &str| text.parse().expect("an address");
            let ends = Ends::of(&policy, address(source), address(destination));
            let pool = ends.pool.map(|pool| pool.to_string()).unwrap_or_default();
            (pool, ends.direction, ends.peer)
        };
        let pool = |text: &str| text.to_owned();
        let (narrow, wide) = (pool("172.16.1.0/24"), pool("172.16.0.0/16"));
        use Direction::{FromClient, Neither, ToClient};
        assert_eq!(
            ends("172.16.1.5", "10.0.0.9"),
            (narrow.clone(), FromClient, Peer::Corporate)
        );
        assert_eq!(
            ends("172.16.1.5", "198.51.100.10"),
            (narrow.clone(), FromClient, Peer::Corporate)
        );
        assert_eq!(
            ends("10.0.0.9", "172.16.2.5"),
            (wide.clone(), ToClient, Peer::Corporate)
        );
        assert_eq!(
            ends("172.16.2.5", "172.16.1.5"),
            (wide, FromClient, Peer::Client)
        );
        assert_eq!(
            ends("203.0.113.7", "172.16.1.5"),
            (narrow, ToClient, Peer::Elsewhere)
        );
        assert_eq!(
            ends("203.0.113.7", "10.0.0.9"),
            (String::new(), Neither, Peer::Corporate)
        );
    }
}

//! [`Service`]: which service a dropped packet belongs to, and on which side of it the client is.
//!
//! Only the client's half of a conversation is judged, so the service is told by that half alone:
//!
//! ```text
//!   TCP SYN                                      a request: the destination port is the service
//!   TCP SYN+ACK                                  a reply: the source port is a service that runs on the client
//!   a flow whose start was seen                  as its start said
//!   both ports below 1024                        a request, where the destination has a name or the source has none
//!   source below 1024 and named                  a reply: no client program gets such a port
//!   destination named                            a request
//!   source named                                 a reply
//!   one port below 1024                          that one
//!   UDP, the rest                                peer to peer: media, as the article describes it
//!   TCP, the rest                                the port that is less likely to be an ephemeral one; else a request
//! ```

use crate::packet::Protocol;
use crate::policy::{PortRange, services};

/// On which side of a service the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "gateway", derive(serde::Serialize))]
#[cfg_attr(feature = "gateway", serde(rename_all = "kebab-case"))]
pub enum Role {
    /// The client calls the service.
    Request,
    /// The service runs on the client, and somebody else calls it: what is cut off are its replies.
    Reply,
}

/// The kind of host on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "gateway", derive(serde::Serialize))]
#[cfg_attr(feature = "gateway", serde(rename_all = "kebab-case"))]
pub enum Scope {
    /// A corporate host.
    Corporate,
    /// Another VPN client.
    Client,
}

/// The ports of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServicePort {
    /// One port.
    Port(u16),
    /// TCP, [`DYNAMIC_PORTS`]: Windows RPC, or media over TCP.
    DynamicTcp,
    /// UDP between ports that nothing is known by: media, most probably.
    PeerUdp,
}

impl ServicePort {
    pub(super) const fn range(self) -> PortRange {
        match self {
            Self::Port(port) => PortRange::single(port),
            Self::DynamicTcp => DYNAMIC_PORTS,
            Self::PeerUdp => PEER_PORTS,
        }
    }
}

/// A service that would be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) protocol: Protocol,
    pub(super) port: ServicePort,
    pub(super) role: Role,
    pub(super) scope: Scope,
}

impl Service {
    /// A number that no other service has.
    pub(super) const fn key(self) -> u32 {
        let port = match self.port {
            ServicePort::Port(port) => port as u32,
            ServicePort::DynamicTcp | ServicePort::PeerUdp => 1 << 16,
        };
        port << 3 | (self.protocol as u32) << 2 | (self.role as u32) << 1 | self.scope as u32
    }
}

/// The ports that services are known by: `services::name`, fast, and without the range of Windows RPC, which is also
/// that of every Windows client's own ports.
#[derive(Debug)]
pub(super) struct KnownPorts {
    bits: Box<[[u64; WORDS]; 2]>,
}

impl KnownPorts {
    pub(super) fn new() -> Self {
        let mut bits = Box::new([[0; WORDS]; 2]);
        for service in services::SERVICES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                if service.ports == DYNAMIC_PORTS || !service.protocols.contains(protocol) {
                    continue;
                }
                for port in service.ports.first()..=service.ports.last() {
                    bits[protocol as usize][usize::from(port) / 64] |= 1 << (port % 64);
                }
            }
        }
        Self { bits }
    }

    /// Returns `true` if a service is known by `port`.
    #[inline]
    pub(super) fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.bits[protocol as usize][usize::from(port) / 64] >> (port % 64) & 1 == 1
    }

    /// Bytes they take.
    pub(super) const MEMORY: usize = size_of::<[[u64; WORDS]; 2]>();

    /// Which port names the service of a packet, and on which side of it the client is; `start` is what TCP's flags say.
    pub(super) fn tell(
        &self,
        protocol: Protocol,
        source: u16,
        destination: u16,
        start: Option<Role>,
    ) -> (ServicePort, Role) {
        let role = start.unwrap_or_else(|| self.role(protocol, source, destination));
        let port = match role {
            Role::Request => destination,
            Role::Reply => source,
        };
        let known = |port| port < FIRST_USER_PORT || self.contains(protocol, port);
        let service = match protocol {
            Protocol::Tcp if DYNAMIC_PORTS.contains(port) => ServicePort::DynamicTcp,
            Protocol::Udp if !known(port) => return (ServicePort::PeerUdp, Role::Request),
            Protocol::Tcp | Protocol::Udp => ServicePort::Port(port),
        };
        (service, role)
    }

    fn role(&self, protocol: Protocol, source: u16, destination: u16) -> Role {
        let named_source = self.contains(protocol, source);
        let named_destination = self.contains(protocol, destination);
        let low_source = source < FIRST_USER_PORT;
        let low_destination = destination < FIRST_USER_PORT;
        if low_source && low_destination {
            return if named_destination || !named_source {
                Role::Request
            } else {
                Role::Reply
            };
        }
        if named_source && low_source {
            Role::Reply
        } else if named_destination {
            Role::Request
        } else if named_source || low_source {
            Role::Reply
        } else if low_destination || ephemeral_rank(source) >= ephemeral_rank(destination) {
            Role::Request
        } else {
            Role::Reply
        }
    }
}

/// How likely it is that a system chose the port for a client: all that any system chooses from are alike; of those below,
/// the lower is more often the service.
const fn ephemeral_rank(port: u16) -> u16 {
    if port < FIRST_EPHEMERAL {
        port
    } else {
        FIRST_EPHEMERAL
    }
}

/// Ports that Windows and macOS give to programs that ask for any, and Windows to its RPC services (RFC 6335 §6).
pub(super) const DYNAMIC_PORTS: PortRange = match PortRange::new(49_152, u16::MAX) {
    Some(ports) => ports,
    None => panic!("the range is not empty"),
};

/// Ports of peer-to-peer media: all that need no privilege.
const PEER_PORTS: PortRange = match PortRange::new(FIRST_USER_PORT, u16::MAX) {
    Some(ports) => ports,
    None => panic!("the range is not empty"),
};

/// Ports below are for system services (RFC 6335 §6).
const FIRST_USER_PORT: u16 = 1_024;

/// Linux's `ip_local_port_range` begins here; [`DYNAMIC_PORTS`] lie in it.
const FIRST_EPHEMERAL: u16 = 32_768;

/// 64-bit words that hold one bit for each port.
const WORDS: usize = 65_536 / 64;

#[cfg(test)]
mod tests {
    use super::*;
    use Protocol::{Tcp, Udp};
    use Role::{Reply, Request};
    use ServicePort::{DynamicTcp, PeerUdp, Port};

    fn tell(
        protocol: Protocol,
        source: u16,
        destination: u16,
        start: Option<Role>,
    ) -> (ServicePort, Role) {
        KnownPorts::new().tell(protocol, source, destination, start)
    }

    #[test]
    fn a_syn_names_the_destination_port_whatever_the_ports_are() {
        assert_eq!(
            tell(Tcp, 1433, 50_001, Some(Request)),
            (DynamicTcp, Request)
        );
        assert_eq!(tell(Tcp, 2000, 7001, Some(Request)), (Port(7001), Request));
    }

    #[test]
    fn a_syn_ack_names_the_source_port() {
        assert_eq!(tell(Tcp, 7001, 2000, Some(Reply)), (Port(7001), Reply));
        assert_eq!(tell(Tcp, 50_001, 3389, Some(Reply)), (DynamicTcp, Reply));
    }

    #[test]
    fn a_reply_of_a_system_service_on_the_client_is_no_request() {
        assert_eq!(tell(Tcp, 445, 50_123, None), (Port(445), Reply));
        assert_eq!(tell(Tcp, 22, 3389, None), (Port(22), Reply));
    }

    #[test]
    fn a_reply_of_a_named_service_on_the_client_is_no_request() {
        assert_eq!(tell(Tcp, 3389, 50_123, None), (Port(3389), Reply));
        assert_eq!(tell(Udp, 3389, 50_123, None), (Port(3389), Reply));
    }

    #[test]
    fn a_privileged_port_without_a_name_is_an_nfs_client_not_a_service() {
        assert_eq!(tell(Tcp, 793, 2049, None), (Port(2049), Request));
    }

    #[test]
    fn between_two_system_ports_the_named_destination_is_the_service() {
        assert_eq!(tell(Udp, 123, 123, None), (Port(123), Request));
        assert_eq!(tell(Tcp, 22, 1000, None), (Port(22), Reply));
    }

    #[test]
    fn between_two_named_ports_the_client_calls() {
        assert_eq!(tell(Tcp, 1521, 3389, None), (Port(3389), Request));
    }

    #[test]
    fn without_names_the_port_that_is_less_ephemeral_is_the_service() {
        assert_eq!(tell(Tcp, 50_000, 7001, None), (Port(7001), Request));
        assert_eq!(tell(Tcp, 7001, 50_000, None), (Port(7001), Reply));
        assert_eq!(tell(Tcp, 40_000, 50_000, None), (DynamicTcp, Request));
        assert_eq!(tell(Tcp, 50_000, 40_000, None), (Port(40_000), Request));
    }

    #[test]
    fn udp_between_high_ports_is_peer_to_peer() {
        assert_eq!(tell(Udp, 50_020, 24_000, None), (PeerUdp, Request));
        assert_eq!(tell(Udp, 24_000, 50_020, None), (PeerUdp, Request));
    }

    #[test]
    fn the_known_ports_are_those_of_the_table_but_for_the_dynamic_range() {
        let known = KnownPorts::new();
        for port in 0..=u16::MAX {
            for protocol in [Tcp, Udp] {
                let expected =
                    services::name(protocol, port).is_some_and(|name| name != "Windows RPC");
                assert_eq!(
                    known.contains(protocol, port),
                    expected,
                    "{protocol} {port}"
                );
            }
        }
    }
}

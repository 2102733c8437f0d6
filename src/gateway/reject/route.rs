//! [`Routes`]: asks the kernel for the way to a client (rtnetlink), one question at a time.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::libc;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{LinkAttribute, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use socket2::{Domain, Protocol, Socket, Type};

/// The ways to clients; an answer of the kernel holds for [`LIFETIME`].
#[derive(Debug)]
pub(super) struct Routes {
    socket: Socket,
    sequence: u32,
    known: HashMap<IpAddr, Option<Way>>,
    interfaces: HashMap<u32, Option<Interface>>,
    since: Instant,
}

/// A way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// The index of the interface that it leaves by.
    pub(super) interface: u32,
    /// The neighbor there: a router, or the address itself.
    pub(super) neighbor: IpAddr,
}

/// An interface that a way leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    /// True if its packets have Ethernet headers.
    pub(super) has_ethernet: bool,
}

impl Routes {
    /// Opens the socket.
    ///
    /// # Errors
    /// The kernel's error.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW,
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            sequence: 0,
            known: HashMap::new(),
            interfaces: HashMap::new(),
            since: Instant::now(),
        })
    }

    /// Forgets what may have changed by `now`, and makes room.
    pub(super) fn refresh(&mut self, now: Instant) {
        let is_full = self.known.len() >= MAX_KNOWN || self.interfaces.len() >= MAX_KNOWN;
        if is_full || now.saturating_duration_since(self.since) >= LIFETIME {
            self.known.clear();
            self.interfaces.clear();
            self.since = now;
        }
    }

    /// The way that packets of this host take to `address`; `None` if there is none to one other host.
    pub(super) fn way(&mut self, address: IpAddr) -> Option<Way> {
        if let Some(known) = self.known.get(&address) {
            return *known;
        }
        let way = match self.route(address) {
            Some((RouteType::Unicast, way)) => way,
            _ => None,
        };
        self.known.insert(address, way);
        way
    }

    /// True if `address` is that of many hosts, by the routes of this one.
    pub(super) fn is_broadcast(&mut self, address: IpAddr) -> bool {
        // IPv6 has none, and those of remote networks are their routers' to refuse.
        address.is_ipv4()
            && matches!(
                self.route(address),
                Some((RouteType::Broadcast | RouteType::Multicast, _))
            )
    }

    fn route(&mut self, address: IpAddr) -> Option<(RouteType, Option<Way>)> {
        let mut request = RouteMessage::default();
        let (family, length, destination) = match address {
            IpAddr::V4(it) => (AddressFamily::Inet, 32, RouteAddress::Inet(it)),
            IpAddr::V6(it) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(it)),
        };
        request.header.address_family = family;
        request.header.destination_prefix_length = length;
        request
            .attributes
            .push(RouteAttribute::Destination(destination));
        match self.ask(RouteNetlinkMessage::GetRoute(request)).ok()?? {
            RouteNetlinkMessage::NewRoute(route) => {
                Some((route.header.kind, way_of(&route, address)))
            }
            _ => None,
        }
    }

    /// The interface of this index.
    pub(super) fn interface(&mut self, index: u32) -> Option<&Interface> {
        if !self.interfaces.contains_key(&index) {
            let mut request = LinkMessage::default();
            request.header.index = index;
            let found = match self.ask(RouteNetlinkMessage::GetLink(request)) {
                Ok(Some(RouteNetlinkMessage::NewLink(link))) => interface_of(&link),
                _ => None,
            };
            self.interfaces.insert(index, found);
        }
        self.interfaces.get(&index)?.as_ref()
    }

    /// The Ethernet address of a neighbor, if the kernel has learned it.
    pub(super) fn neighbor(&mut self, way: Way) -> Option<[u8; 6]> {
        let mut request = NeighbourMessage::default();
        let (family, address) = match way.neighbor {
            IpAddr::V4(it) => (AddressFamily::Inet, NeighbourAddress::Inet(it)),
            IpAddr::V6(it) => (AddressFamily::Inet6, NeighbourAddress::Inet6(it)),
        };
        request.header.family = family;
        request.header.ifindex = way.interface;
        request
            .attributes
            .push(NeighbourAttribute::Destination(address));
        match self.ask(RouteNetlinkMessage::GetNeighbour(request)) {
            Ok(Some(RouteNetlinkMessage::NewNeighbour(found))) => {
                found.attributes.iter().find_map(|it| match it {
                    NeighbourAttribute::LinkLayerAddress(address) => {
                        address.first_chunk::<6>().copied()
                    }
                    _ => None,
                })
            }
            _ => None,
        }
    }

    /// Asks one question; `None` if the kernel answers with an error.
    fn ask(&mut self, question: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(question);
        message.header.flags = NLM_F_REQUEST;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes)?;
        let mut answer = vec![0; ANSWER];
        loop {
            let length = io::Read::read(&mut &self.socket, &mut answer)?;
            let read = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer[..length]);
            let read = read.map_err(io::Error::other)?;
            // The answer to an earlier question that came too late is skipped.
            if read.header.sequence_number == self.sequence {
                return Ok(match read.payload {
                    NetlinkPayload::InnerMessage(answer) => Some(answer),
                    _ => None,
                });
            }
        }
    }
}

fn way_of(route: &RouteMessage, address: IpAddr) -> Option<Way> {
    let mut interface = None;
    let mut neighbor = address;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(router)) => neighbor = (*router).into(),
            RouteAttribute::Gateway(RouteAddress::Inet6(router)) => neighbor = (*router).into(),
            _ => {}
        }
    }
    Some(Way {
        interface: interface?,
        neighbor,
    })
}

fn interface_of(link: &LinkMessage) -> Option<Interface> {
    let name = link.attributes.iter().find_map(|it| match it {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    Some(Interface {
        name: name?,
        has_ethernet: link.header.link_layer_type == LinkLayerType::Ether,
    })
}

/// The time for which an answer of the kernel holds.
const LIFETIME: Duration = Duration::from_secs(1);
/// Addresses, and interfaces, that are remembered.
const MAX_KNOWN: usize = 4_096;
/// The kernel answers at once; but a full buffer loses answers.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes of an answer: a link has a few kilobytes of attributes.
const ANSWER: usize = 32 << 10;

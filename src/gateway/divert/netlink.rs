//! Interfaces and the filter's device, by rtnetlink.

use std::io;
use std::net::Ipv4Addr;
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::gateway::host::addresses::IPV4_DUMMY;
use crate::verify::Finding;

/// A connection to the kernel for links, routes and rules.
#[derive(Debug, Clone)]
pub struct Netlink {
    pub(super) handle: Handle,
}

/// The reason why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct NetlinkError {
    /// The request.
    pub what: String,
    /// The kernel's answer.
    pub source: io::Error,
}

impl From<&NetlinkError> for Finding {
    fn from(error: &NetlinkError) -> Self {
        Self::host_error(
            error.to_string(),
            "offramp needs rtnetlink, and the right to use it (CAP_NET_ADMIN)",
        )
    }
}

/// A change of the host's interfaces or addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkChange {
    /// It exists and is up.
    Up(String),
    /// It exists and is down.
    Down(String),
    /// It is gone.
    Gone(String),
    /// An interface has gained or lost an address.
    Addresses,
    /// The kernel's buffer overflowed, and some changes were not reported.
    Overrun,
}

/// Reports changes of interfaces and of their addresses as they happen.
pub struct LinkChanges {
    changes: UnboundedReceiver<(LinkChange, Instant)>,
}

impl LinkChanges {
    /// Starts to listen, as tasks of the calling tokio runtime.
    ///
    /// # Errors
    /// The kernel has no rtnetlink socket for us.
    pub fn new() -> io::Result<Self> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (connection, _, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        let (sender, changes) = unbounded_channel();
        // By itself, so that each change has the time when it was heard of, whatever control is busy with.
        tokio::spawn(async move {
            while let Some((message, _)) = messages.next().await {
                if let Some(change) = LinkChange::of(message)
                    && sender.send((change, Instant::now())).is_err()
                {
                    break;
                }
            }
        });
        Ok(Self { changes })
    }

    /// Waits for the next change; returns the time when it was heard of, too.
    pub async fn next(&mut self) -> (LinkChange, Instant) {
        match self.changes.recv().await {
            Some(change) => change,
            // The socket has failed: no more changes are reported.
            None => std::future::pending().await,
        }
    }
}

impl LinkChange {
    fn of(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Self> {
        let message = match message.payload {
            NetlinkPayload::InnerMessage(message) => message,
            NetlinkPayload::Overrun(_) => return Some(Self::Overrun),
            _ => return None,
        };
        let (link, change): (_, fn(String) -> Self) = match message {
            RouteNetlinkMessage::DelLink(link) => (link, Self::Gone),
            RouteNetlinkMessage::NewLink(link) if link.header.flags.contains(LinkFlags::Up) => {
                (link, Self::Up)
            }
            RouteNetlinkMessage::NewLink(link) => (link, Self::Down),
            RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => {
                return Some(Self::Addresses);
            }
            _ => return None,
        };
        name_of(&link).map(change)
    }
}

impl Netlink {
    /// Opens the connection, served by a task of the calling tokio runtime.
    ///
    /// # Errors
    /// The kernel has no rtnetlink socket for us.
    pub fn new() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Returns the names of all interfaces.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn interfaces(&self) -> Result<Vec<String>, NetlinkError> {
        let links = self.links().await?;
        Ok(links.into_iter().map(|link| link.name).collect())
    }

    /// Returns all interfaces.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|error| failed("list the interfaces", error))?;
        Ok(links.iter().filter_map(Link::of).collect())
    }

    /// Sets the MTU and queue length of the tap device called `name` and switches it on.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn set_up_tap(&self, name: &str) -> Result<(), NetlinkError> {
        let index = self.link(name, "set up").await?.header.index;
        self.switch_on(name, index, TAP_MTU).await
    }

    /// Counts the packets dropped because the queue of the device called `name` was full.
    ///
    /// # Errors
    /// [`NetlinkError`], also if the kernel's answer lacks the number.
    pub async fn dropped(&self, name: &str) -> Result<u64, NetlinkError> {
        let link = self.link(name, "read the counters of").await?;
        let dropped = link
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Stats64(stats) => Some(stats.tx_dropped),
                _ => None,
            });
        dropped.ok_or_else(|| NetlinkError {
            what: format!("read the counters of {name}"),
            source: io::ErrorKind::InvalidData.into(),
        })
    }

    pub(super) async fn link(&self, name: &str, doing: &str) -> Result<LinkMessage, NetlinkError> {
        let what = format!("{doing} {name}");
        let mut found = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute();
        match found.try_next().await {
            Ok(Some(link)) => Ok(link),
            Ok(None) => Err(NetlinkError {
                what,
                source: io::ErrorKind::NotFound.into(),
            }),
            Err(error) => Err(failed(&what, error)),
        }
    }

    /// Sets the address, MTU and queue length of the device called `name` and switches it on; returns its index.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn set_up_device(&self, name: &str) -> Result<u32, NetlinkError> {
        let what = format!("set up {name}");
        let index = self.link(name, "set up").await?.header.index;
        self.handle
            .address()
            .add(index, DEVICE_ADDRESS.into(), 32)
            .replace()
            .execute()
            .await
            .map_err(|error| failed(&what, error))?;
        self.switch_on(name, index, DEVICE_MTU).await?;
        Ok(index)
    }

    async fn switch_on(&self, name: &str, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        let what = format!("set up {name}");
        // In two steps: in one the kernel switches the device on first, and takes its queue away for a moment to change
        // its length. Packets that the device itself sends at that moment would be counted as lost.
        let sized = LinkUnspec::new_with_index(index)
            .mtu(mtu)
            .append_extra_attribute(LinkAttribute::TxQueueLen(DEVICE_TX_QUEUE))
            .build();
        let on = LinkUnspec::new_with_index(index).up().build();
        for change in [sized, on] {
            self.handle
                .link()
                .change(change)
                .execute()
                .await
                .map_err(|error| failed(&what, error))?;
        }
        Ok(())
    }
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// The headers of its packets.
    pub kind: LinkKind,
    /// True if it is a port of a bridge, whose packets it then is.
    pub is_bridge_port: bool,
    /// True if it is up.
    pub is_up: bool,
    /// The packets that have entered there.
    pub received: u64,
}

/// The headers that packets of an interface begin with (`ARPHRD_*`, linux/if_arp.h).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// Ethernet headers; its address.
    Ethernet([u8; 6]),
    /// IP headers: tun, WireGuard, PPP, tunnels.
    Ip,
    /// Others, by their name.
    Other(String),
}

impl Link {
    fn of(message: &LinkMessage) -> Option<Self> {
        let name = name_of(message)?;
        let address = message.attributes.iter().find_map(|it| match it {
            LinkAttribute::Address(address) => address.first_chunk::<6>().copied(),
            _ => None,
        });
        let kind = match (message.header.link_layer_type, address) {
            (LinkLayerType::Ether, Some(address)) => LinkKind::Ethernet(address),
            (
                LinkLayerType::None
                | LinkLayerType::Rawip
                | LinkLayerType::Ppp
                | LinkLayerType::Tunnel
                | LinkLayerType::Tunnel6
                | LinkLayerType::Sit
                | LinkLayerType::Ipgre
                | LinkLayerType::Ip6gre,
                _,
            ) => LinkKind::Ip,
            (other, _) => LinkKind::Other(format!("{other:?}")),
        };
        let is_bridge_port = message.attributes.iter().any(|it| {
            let LinkAttribute::LinkInfo(about) = it else {
                return false;
            };
            let port = LinkInfo::PortKind(InfoPortKind::Bridge);
            about.contains(&port)
        });
        let counters = message.attributes.iter().find_map(|it| match it {
            LinkAttribute::Stats64(counters) => Some(counters.rx_packets),
            _ => None,
        });
        let received = counters.unwrap_or_default();
        Some(Self {
            name,
            index: message.header.index,
            kind,
            is_bridge_port,
            is_up: message.header.flags.contains(LinkFlags::Up),
            received,
        })
    }
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })
}

pub(super) fn failed(what: &str, error: rtnetlink::Error) -> NetlinkError {
    NetlinkError {
        what: what.to_owned(),
        source: io_error(error),
    }
}

pub(super) fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// The address of the filter's device, which stands nowhere else. A device without one is no source for the kernel's reverse path check, and every packet written back would be lost.
pub const DEVICE_ADDRESS: Ipv4Addr = IPV4_DUMMY;

/// The largest MTU: no VPN has a larger one, and the device must not refuse any packet that came in.
pub const DEVICE_MTU: u32 = 65_535;

/// The largest MTU that the kernel gives a tap: 65,535 less its header.
pub const TAP_MTU: u32 = 65_521;

/// The number of packets that the device queues for the filter: bursts overflow the usual 500.
pub const DEVICE_TX_QUEUE: u32 = 5_000;

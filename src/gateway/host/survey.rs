//! [`Survey`]: the interfaces of this host, their addresses, and the routes of its main table.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::addresses::{interface_addresses, interface_networks};

/// The interfaces and routes of this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// All interfaces, in the kernel's order.
    pub interfaces: Vec<Interface>,
    /// Routes of the main table that lead out by an interface.
    pub routes: Vec<Route>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: InterfaceKind,
    /// Its own addresses, without link-local ones of IPv6.
    pub addresses: Vec<IpAddr>,
    /// The networks that it is in, and the addresses of its peers.
    pub networks: Vec<IpNet>,
}

/// Kind of an interface, as far as VPN daemons make some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterfaceKind {
    /// A tun device: IP packets.
    Tun,
    /// A tap device: Ethernet frames.
    Tap,
    /// A device of WireGuard in the kernel.
    WireGuard,
    /// A device of OpenVPN's data channel in the kernel.
    OpenVpn,
    /// Any other.
    Other,
}

impl InterfaceKind {
    /// Returns its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Tap => "tap",
            Self::WireGuard => "wireguard",
            Self::OpenVpn => "openvpn",
            Self::Other => "other",
        }
    }

    /// Returns `true` if it carries the IP packets of a VPN's clients.
    pub const fn is_tunnel(self) -> bool {
        match self {
            Self::Tun | Self::WireGuard | Self::OpenVpn => true,
            Self::Tap | Self::Other => false,
        }
    }
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its destination.
    pub prefix: IpNet,
    /// The interface that it leaves by.
    pub interface: String,
}

impl Survey {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn of_host() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
            tokio::spawn(connection);
            Self::ask(&handle).await
        })
    }

    async fn ask(handle: &Handle) -> io::Result<Self> {
        let links = handle.link().get().execute();
        let links: Vec<LinkMessage> = links.try_collect().await.map_err(io_error)?;
        let names: BTreeMap<u32, String> = links
            .iter()
            .filter_map(|link| Some((link.header.index, name_of(link)?)))
            .collect();
        let (addresses, networks) = (interface_addresses()?, interface_networks()?);
        let interfaces = links.iter().filter_map(|link| {
            let name = name_of(link)?;
            let own = addresses.iter().filter(|(of, _)| *of == name);
            let around = networks.iter().filter(|(of, _)| *of == name);
            Some(Interface {
                kind: kind_of(link),
                addresses: own.map(|(_, it)| *it).collect(),
                networks: around.map(|(_, it)| *it).collect(),
                name,
            })
        });
        let mut routes = Vec::new();
        for message in main_table(handle).await? {
            routes.extend(route_of(&message, &names));
        }
        Ok(Self {
            interfaces: interfaces.collect(),
            routes,
        })
    }
}

/// Returns the routes of the main table, of each family that the kernel has.
async fn main_table(handle: &Handle) -> io::Result<Vec<RouteMessage>> {
    let mut requests = vec![RouteMessageBuilder::<Ipv4Addr>::new().build()];
    if Path::new("/proc/sys/net/ipv6").exists() {
        requests.push(RouteMessageBuilder::<Ipv6Addr>::new().build());
    }
    let mut routes = Vec::new();
    for mut request in requests {
        // The kernel filters by what the header names.
        request.header.kind = RouteType::Unspec;
        request.header.protocol = Default::default();
        request.header.table = RouteHeader::RT_TABLE_MAIN;
        let found = handle.route().get(request).execute();
        routes.extend(found.try_collect::<Vec<_>>().await.map_err(io_error)?);
    }
    Ok(routes)
}

fn route_of(message: &RouteMessage, names: &BTreeMap<u32, String>) -> Option<Route> {
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let attributes = message.attributes.iter();
    let destination = attributes.clone().find_map(|it| match it {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    let any = match header.address_family {
        rtnetlink::packet_route::AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    let index = attributes.clone().find_map(|it| match it {
        RouteAttribute::Oif(index) => Some(*index),
        // Of several ways the first stands for all.
        RouteAttribute::MultiPath(ways) => ways.first().map(|it| it.interface_index),
        _ => None,
    })?;
    Some(Route {
        prefix: IpNet::new(destination.unwrap_or(any), header.destination_prefix_length).ok()?,
        interface: names.get(&index)?.clone(),
    })
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|it| match it {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn kind_of(link: &LinkMessage) -> InterfaceKind {
    let infos = link.attributes.iter().filter_map(|it| match it {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let kind = infos.flatten().find_map(|it| match it {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoKind::Tun) if link.header.link_layer_type == LinkLayerType::Ether => {
            InterfaceKind::Tap
        }
        Some(InfoKind::Tun) => InterfaceKind::Tun,
        Some(InfoKind::Wireguard) => InterfaceKind::WireGuard,
        Some(InfoKind::Other(name)) if name.starts_with("ovpn") => InterfaceKind::OpenVpn,
        Some(_) | None => InterfaceKind::Other,
    }
}

fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

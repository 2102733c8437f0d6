//! The routes and rules that lead marked packets to the filter's device, by rtnetlink.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::{IpVersion, RouteMessageBuilder};

use super::{Diversion, DivertRoute, MarkRule, RouteTarget};
use crate::gateway::divert::netlink::{Netlink, NetlinkError, failed, io_error};

/// A packet that the kernel is asked to route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutedPacket {
    /// The index of the interface that it enters by.
    pub input: u32,
    /// Its mark.
    pub mark: u32,
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
}

/// The end of a packet's route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayOut {
    /// It leaves by the interface of this index.
    Interface(u32),
    /// It is for this host, or goes nowhere.
    Elsewhere,
}

/// A routing rule of another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRule {
    /// The rule's priority; a lower one is looked up earlier.
    pub priority: u32,
    /// The mark it matches and the mask, if any.
    pub mark: Option<(u32, u32)>,
    /// The rule leads to the table of local addresses.
    pub is_local: bool,
    /// It applies to the packets that it does not match (`ip rule add not …`).
    pub is_inverted: bool,
}

impl Netlink {
    /// Makes the routes of the diversion equal to `wanted`. Adds missing routes before it removes superfluous ones, so
    /// that no route wanted before and after is ever missing. Returns the number that were missing.
    ///
    /// # Errors
    /// [`NetlinkError`]; routes that were added before stay.
    pub async fn set_routes(
        &self,
        wanted: &[DivertRoute],
        device: u32,
    ) -> Result<usize, NetlinkError> {
        let present = self.our_routes().await?;
        let has_ipv6 = families().contains(&IpVersion::V6);
        let wanted = wanted.iter().copied();
        let wanted: BTreeSet<DivertRoute> = wanted
            .filter(|route| has_ipv6 || matches!(route.prefix, IpNet::V4(_)))
            .collect();
        // Blackholes first: a fail-closed gateway must never be open.
        let missing = wanted.difference(&present).copied();
        let (mut missing, blackholes): (Vec<_>, Vec<_>) =
            missing.partition(|route| route.target == RouteTarget::Filter);
        missing.splice(0..0, blackholes);
        let added = missing.len();
        for route in missing {
            let message = message_of(&route, device);
            self.handle
                .route()
                .add(message)
                .replace()
                .execute()
                .await
                .map_err(|error| failed(&format!("add a route to {}", route.prefix), error))?;
        }
        for route in present.difference(&wanted) {
            self.remove_route(route, device).await?;
        }
        Ok(added)
    }

    /// Removes every route of the diversion.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn remove_routes(&self) -> Result<usize, NetlinkError> {
        let present = self.our_routes().await?;
        for route in &present {
            self.remove_route(route, 0).await?;
        }
        Ok(present.len())
    }

    async fn remove_route(&self, route: &DivertRoute, device: u32) -> Result<(), NetlinkError> {
        let removed = self
            .handle
            .route()
            .del(message_of(route, device))
            .execute()
            .await;
        match removed.map_err(io_error) {
            // The route went with its device.
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
            other => other.map_err(|source| NetlinkError {
                what: format!("remove the route to {}", route.prefix),
                source,
            }),
        }
    }

    /// Returns the routes with our protocol number, in any table.
    async fn our_routes(&self) -> Result<BTreeSet<DivertRoute>, NetlinkError> {
        let protocol = RouteProtocol::Other(Diversion::PROTOCOL);
        let mut found = BTreeSet::new();
        for version in families() {
            let messages = self.dump_routes(version, None, protocol, None).await?;
            found.extend(messages.iter().filter_map(divert_route));
        }
        Ok(found)
    }

    /// Counts the routes in `table` that do not belong to the diversion.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn foreign_routes(&self, table: u32) -> Result<usize, NetlinkError> {
        let mut foreign = 0;
        for version in families() {
            let any = RouteProtocol::Unspec;
            let messages = self.dump_routes(version, Some(table), any, None).await?;
            let ours = RouteProtocol::Other(Diversion::PROTOCOL);
            foreign += messages
                .iter()
                .filter(|message| message.header.protocol != ours)
                .count();
        }
        Ok(foreign)
    }

    /// Returns the destinations that the main table leads to the interface of index `output`.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn routed_to(&self, output: u32) -> Result<Vec<IpNet>, NetlinkError> {
        const MAIN: u32 = 254;
        let mut found = Vec::new();
        for version in families() {
            let routes = self.dump_routes(version, Some(MAIN), RouteProtocol::Unspec, Some(output));
            let routes = routes.await?;
            let of_output = routes.iter().filter(|route| {
                let is_it = |it: &RouteAttribute| *it == RouteAttribute::Oif(output);
                route.header.kind == RouteType::Unicast && route.attributes.iter().any(is_it)
            });
            found.extend(of_output.filter_map(destination_of));
        }
        Ok(found)
    }

    async fn dump_routes(
        &self,
        version: IpVersion,
        table: Option<u32>,
        protocol: RouteProtocol,
        output: Option<u32>,
    ) -> Result<Vec<RouteMessage>, NetlinkError> {
        // The kernel filters by what the header names: a full table of the Internet need not be read.
        let mut request = match version {
            IpVersion::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            IpVersion::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        request.header.kind = RouteType::Unspec;
        request.header.table = 0;
        request.header.protocol = protocol;
        if let Some(table) = table {
            request.attributes.push(RouteAttribute::Table(table));
        }
        if let Some(output) = output {
            request.attributes.push(RouteAttribute::Oif(output));
        }
        let routes = self.handle.route().get(request).execute();
        match routes.try_collect().await.map_err(io_error) {
            Ok(routes) => Ok(routes),
            // A table without routes does not exist.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOENT) => Ok(Vec::new()),
            Err(source) => Err(NetlinkError {
                what: "list the routes".to_owned(),
                source,
            }),
        }
    }

    /// Makes the rules of the diversion equal to `wanted`; `mask` is the mark's mask. Returns the number that were
    /// missing.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn set_rules(&self, wanted: &[MarkRule], mask: u32) -> Result<usize, NetlinkError> {
        let mut added = 0;
        for version in families() {
            let present = self.our_rules(version.clone()).await?;
            let is = |message: &RuleMessage, rule: &MarkRule| same_rule(message, rule, mask);
            for rule in wanted {
                if !present.iter().any(|message| is(message, rule)) {
                    self.add_rule(version.clone(), rule, mask).await?;
                    added += 1;
                }
            }
            for message in present {
                if !wanted.iter().any(|rule| is(&message, rule)) {
                    self.remove_rule(message).await?;
                }
            }
        }
        Ok(added)
    }

    async fn add_rule(
        &self,
        version: IpVersion,
        rule: &MarkRule,
        mask: u32,
    ) -> Result<(), NetlinkError> {
        let request = self
            .handle
            .rule()
            .add()
            .priority(rule.priority)
            .table_id(rule.table)
            .fw_mark(rule.mark)
            .action(RuleAction::ToTable);
        let own = [
            RuleAttribute::FwMask(mask),
            RuleAttribute::Protocol(RouteProtocol::Other(Diversion::PROTOCOL)),
        ];
        let added = match version {
            IpVersion::V4 => {
                let mut request = request.v4();
                request.message_mut().attributes.extend(own);
                request.execute().await
            }
            IpVersion::V6 => {
                let mut request = request.v6();
                request.message_mut().attributes.extend(own);
                request.execute().await
            }
        };
        added.map_err(|error| failed("add a routing rule", error))
    }

    async fn remove_rule(&self, message: RuleMessage) -> Result<(), NetlinkError> {
        self.handle
            .rule()
            .del(message)
            .execute()
            .await
            .map_err(|error| failed("remove a routing rule", error))
    }

    async fn our_rules(&self, version: IpVersion) -> Result<Vec<RuleMessage>, NetlinkError> {
        let rules = self.all_rules(version).await?;
        Ok(rules.into_iter().filter(is_ours).collect())
    }

    async fn all_rules(&self, version: IpVersion) -> Result<Vec<RuleMessage>, NetlinkError> {
        let rules = self.handle.rule().get(version).execute();
        rules
            .try_collect()
            .await
            .map_err(|error| failed("list the routing rules", error))
    }

    /// Asks the kernel where it would route a packet.
    ///
    /// # Errors
    /// [`NetlinkError`], also where the kernel has no route, or would not accept the source there.
    pub async fn way_out(&self, packet: &RoutedPacket) -> Result<WayOut, NetlinkError> {
        let mut request = RouteMessage::default();
        let (family, length) = match packet.destination {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        request.header.address_family = family;
        request.header.destination_prefix_length = length;
        request.header.source_prefix_length = length;
        request.attributes = vec![
            RouteAttribute::Destination(packet.destination.into()),
            RouteAttribute::Source(packet.source.into()),
            RouteAttribute::Iif(packet.input),
            RouteAttribute::Mark(packet.mark),
        ];
        let routes = self.handle.route().get(request).execute();
        let routes: Vec<RouteMessage> = routes
            .try_collect()
            .await
            .map_err(|error| failed("ask for a route", error))?;
        let forwarded = routes
            .iter()
            .filter(|route| route.header.kind == RouteType::Unicast);
        let mut outputs = forwarded
            .flat_map(|it| &it.attributes)
            .filter_map(|it| match it {
                RouteAttribute::Oif(index) => Some(WayOut::Interface(*index)),
                _ => None,
            });
        Ok(outputs.next().unwrap_or(WayOut::Elsewhere))
    }

    /// Returns the rules of both families that do not belong to the diversion.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub async fn foreign_rules(&self) -> Result<Vec<ForeignRule>, NetlinkError> {
        let mut foreign = Vec::new();
        for version in families() {
            let rules = self.all_rules(version).await?;
            foreign.extend(rules.iter().filter(|rule| !is_ours(rule)).map(foreign_rule));
        }
        Ok(foreign)
    }
}

/// The address families of the kernel, which may have been started without IPv6.
fn families() -> Vec<IpVersion> {
    let mut families = vec![IpVersion::V4];
    if Path::new("/proc/sys/net/ipv6").exists() {
        families.push(IpVersion::V6);
    }
    families
}

/// Builds the message for `route`; `device` is the index of the filter's device.
fn message_of(route: &DivertRoute, device: u32) -> RouteMessage {
    let mut message = match route.prefix {
        IpNet::V4(prefix) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(prefix.addr(), prefix.prefix_len())
            .table_id(route.table)
            .build(),
        IpNet::V6(prefix) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(prefix.addr(), prefix.prefix_len())
            .table_id(route.table)
            .build(),
    };
    message.header.protocol = RouteProtocol::Other(Diversion::PROTOCOL);
    match route.target {
        RouteTarget::Filter => {
            if device != 0 {
                message.attributes.push(RouteAttribute::Oif(device));
            }
            if matches!(route.prefix, IpNet::V4(_)) {
                message.header.scope = RouteScope::Link;
            }
        }
        RouteTarget::Blackhole => {
            message.header.kind = RouteType::BlackHole;
            let metric = RouteAttribute::Priority(Diversion::BLACKHOLE_METRIC);
            message.attributes.push(metric);
        }
    }
    message
}

/// The destinations of a route.
fn destination_of(message: &RouteMessage) -> Option<IpNet> {
    let length = message.header.destination_prefix_length;
    let mut address = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => address = (*to).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => address = (*to).into(),
            _ => {}
        }
    }
    IpNet::new(address, length).ok()
}

/// Reads a route of the diversion from `message`.
fn divert_route(message: &RouteMessage) -> Option<DivertRoute> {
    let prefix = destination_of(message)?;
    let table = message.attributes.iter().find_map(|it| match it {
        RouteAttribute::Table(number) => Some(*number),
        _ => None,
    });
    let table = table.unwrap_or(message.header.table.into());
    let target = match message.header.kind {
        RouteType::BlackHole => RouteTarget::Blackhole,
        _ => RouteTarget::Filter,
    };
    Some(DivertRoute {
        table,
        prefix,
        target,
    })
}

fn is_ours(rule: &RuleMessage) -> bool {
    let protocol = RouteProtocol::Other(Diversion::PROTOCOL);
    rule.attributes.contains(&RuleAttribute::Protocol(protocol))
}

fn same_rule(message: &RuleMessage, rule: &MarkRule, mask: u32) -> bool {
    let parts = rule_parts(message);
    parts.priority == rule.priority
        && parts.mark == Some((rule.mark, mask))
        && parts.table == rule.table
}

fn foreign_rule(message: &RuleMessage) -> ForeignRule {
    let parts = rule_parts(message);
    ForeignRule {
        priority: parts.priority,
        mark: parts.mark,
        is_local: parts.table == LOCAL_TABLE,
        is_inverted: message.header.flags.contains(RuleFlags::Invert),
    }
}

struct RuleParts {
    priority: u32,
    mark: Option<(u32, u32)>,
    table: u32,
}

fn rule_parts(message: &RuleMessage) -> RuleParts {
    let (mut priority, mut mark, mut mask) = (0, None, u32::MAX);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(value) => priority = *value,
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = *value,
            RuleAttribute::Table(value) => table = *value,
            _ => {}
        }
    }
    RuleParts {
        priority,
        mark: mark.map(|mark| (mark, mask)),
        table,
    }
}

/// `RT_TABLE_LOCAL` (linux/rtnetlink.h).
const LOCAL_TABLE: u32 = 255;

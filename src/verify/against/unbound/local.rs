//! Local zones of unbound: which zone decides about a name, and what it answers.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::name::DnsName;
use crate::verify::against::reply::{Asked, Reply};
use crate::verify::against::zone::{Data, Found, Node};

/// The type of a local zone (unbound.conf(5), `local-zone`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ZoneType {
    Deny,
    Refuse,
    Static,
    Transparent,
    TypeTransparent,
    Redirect,
    AlwaysTransparent,
    AlwaysDeny,
    AlwaysRefuse,
    AlwaysNxdomain,
    AlwaysNodata,
    AlwaysNull,
    BlockA,
    NoView,
    /// Taken out of the zones that unbound has by default.
    NoDefault,
}

impl ZoneType {
    pub(super) fn read(text: &str) -> Option<Self> {
        Some(match text {
            "deny" | "inform_deny" => Self::Deny,
            "refuse" => Self::Refuse,
            "static" => Self::Static,
            "transparent" | "inform" | "ipset" => Self::Transparent,
            "typetransparent" => Self::TypeTransparent,
            "redirect" | "inform_redirect" => Self::Redirect,
            "always_transparent" => Self::AlwaysTransparent,
            "always_deny" => Self::AlwaysDeny,
            "always_refuse" => Self::AlwaysRefuse,
            "always_nxdomain" => Self::AlwaysNxdomain,
            "always_nodata" => Self::AlwaysNodata,
            "always_null" => Self::AlwaysNull,
            "block_a" => Self::BlockA,
            "noview" => Self::NoView,
            "nodefault" => Self::NoDefault,
            _ => return None,
        })
    }

    /// Returns `true` if it answers without looking at data.
    const fn ignores_data(self) -> bool {
        match self {
            Self::AlwaysRefuse
            | Self::AlwaysTransparent
            | Self::AlwaysNxdomain
            | Self::AlwaysNodata
            | Self::AlwaysDeny
            | Self::BlockA => true,
            Self::Deny
            | Self::Refuse
            | Self::Static
            | Self::Transparent
            | Self::TypeTransparent
            | Self::Redirect
            | Self::AlwaysNull
            | Self::NoView
            | Self::NoDefault => false,
        }
    }
}

/// A local zone.
#[derive(Debug, Clone)]
struct LocalZone {
    kind: ZoneType,
    /// Other types for these clients, by `local-zone-override`.
    overrides: Vec<(IpNet, ZoneType)>,
    /// The names with data, and those above them.
    nodes: HashMap<DnsName, Node>,
}

/// The local zones of the server or of a view.
#[derive(Debug, Clone, Default)]
pub(super) struct LocalZones {
    zones: HashMap<DnsName, LocalZone>,
    data: Vec<(DnsName, Data)>,
}

/// Outcome of a query in local zones.
#[expect(
    clippy::large_enum_variant,
    reason = "a value lives for one question, and names are not allocated"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Local {
    /// No zone has the name.
    None,
    /// A zone lets the query pass.
    Pass,
    Found(Found),
}

impl LocalZones {
    pub(super) fn is_empty(&self) -> bool {
        self.zones.is_empty() && self.data.is_empty()
    }

    /// Adds a zone; a later type replaces an earlier one.
    pub(super) fn zone(&mut self, name: DnsName, kind: ZoneType) {
        let zone = LocalZone {
            kind,
            overrides: Vec::new(),
            nodes: HashMap::new(),
        };
        self.zones.entry(name).or_insert(zone).kind = kind;
    }

    pub(super) fn override_zone(&mut self, name: DnsName, clients: IpNet, kind: ZoneType) -> bool {
        let zone = self.zones.get_mut(&name);
        zone.map(|zone| zone.overrides.push((clients, kind)))
            .is_some()
    }

    pub(super) fn data(&mut self, name: DnsName, data: Data) {
        self.data.push((name, data));
    }

    /// Puts the data into the zones. Names without one get a transparent zone together, that of the nearest name above all
    /// of them.
    ///
    /// `defaults` are the zones that unbound has unless they are configured.
    pub(super) fn finish(&mut self, defaults: &[&str]) {
        for name in defaults.iter().filter_map(|it| it.parse::<DnsName>().ok()) {
            if !self.zones.contains_key(&name) {
                self.zone(name, ZoneType::Static);
            }
        }
        self.zones.retain(|_, it| it.kind != ZoneType::NoDefault);
        let data = std::mem::take(&mut self.data);
        let without = data.iter().map(|(name, _)| *name);
        let without = without.filter(|name| self.nearest(name).is_none());
        if let Some(common) = without.reduce(|one, other| common(&one, &other)) {
            self.zone(common, ZoneType::Transparent);
        }
        for (name, data) in data {
            let Some(origin) = self.nearest(&name) else {
                continue;
            };
            let Some(zone) = self.zones.get_mut(&origin) else {
                continue;
            };
            zone.nodes.entry(name).or_default().add(data);
            let above = std::iter::successors(name.parent(), DnsName::parent);
            for name in above.take_while(|it| *it == origin || it.is_below(&origin)) {
                zone.nodes.entry(name).or_default();
            }
        }
    }

    fn nearest(&self, name: &DnsName) -> Option<DnsName> {
        std::iter::successors(Some(*name), DnsName::parent).find(|it| self.zones.contains_key(it))
    }

    /// Returns what the zones of a view make of a query: what they do not cover is left to the server's.
    pub(super) fn in_view(&self, client: IpAddr, name: &DnsName, asked: Asked) -> Local {
        let Some(origin) = self.nearest(name) else {
            return Local::None;
        };
        let zone = &self.zones[&origin];
        let node = zone.nodes.get(name);
        let covers = match zone.kind {
            ZoneType::NoView | ZoneType::AlwaysTransparent | ZoneType::BlockA => false,
            ZoneType::Transparent => node.is_some(),
            ZoneType::TypeTransparent => {
                node.is_some_and(|it| !matches!(it.answer(asked), Found::Reply(Reply::NoData)))
            }
            ZoneType::Deny
            | ZoneType::Refuse
            | ZoneType::Static
            | ZoneType::Redirect
            | ZoneType::AlwaysDeny
            | ZoneType::AlwaysRefuse
            | ZoneType::AlwaysNxdomain
            | ZoneType::AlwaysNodata
            | ZoneType::AlwaysNull
            | ZoneType::NoDefault => true,
        };
        if covers {
            self.answer(client, name, asked)
        } else {
            Local::None
        }
    }

    /// Returns what the zones make of a query.
    pub(super) fn answer(&self, client: IpAddr, name: &DnsName, asked: Asked) -> Local {
        let Some(origin) = self.nearest(name) else {
            return Local::None;
        };
        let zone = &self.zones[&origin];
        let own = zone
            .overrides
            .iter()
            .filter(|(net, _)| net.contains(&client));
        let longest = own.max_by_key(|(net, _)| net.prefix_len());
        let kind = longest.map_or(zone.kind, |(_, kind)| *kind);
        let owner = if kind == ZoneType::Redirect {
            &origin
        } else {
            name
        };
        let node = if kind.ignores_data() {
            None
        } else {
            zone.nodes.get(owner)
        };
        if let Some(node) = node {
            match node.answer(asked) {
                Found::Reply(Reply::NoData) => {}
                found => return Local::Found(found),
            }
        }
        let reply = |reply| Local::Found(Found::Reply(reply));
        match kind {
            ZoneType::Deny | ZoneType::AlwaysDeny | ZoneType::Refuse | ZoneType::AlwaysRefuse => {
                reply(Reply::NoAnswer)
            }
            ZoneType::Static if node.is_some() => reply(Reply::NoData),
            ZoneType::Static | ZoneType::AlwaysNxdomain => reply(Reply::NxDomain),
            ZoneType::Redirect | ZoneType::AlwaysNodata => reply(Reply::NoData),
            ZoneType::TypeTransparent | ZoneType::AlwaysTransparent => Local::Pass,
            ZoneType::BlockA if asked == Asked::A => reply(Reply::NoData),
            ZoneType::AlwaysNull => match asked {
                Asked::A => reply(Reply::Addresses(vec![IpAddr::from([0; 4])])),
                Asked::Aaaa => reply(Reply::Addresses(vec![IpAddr::from([0_u8; 16])])),
                Asked::Srv | Asked::Https => reply(Reply::NoData),
            },
            // Outside of views, `noview` is transparent.
            ZoneType::Transparent | ZoneType::NoView => match node {
                Some(node) if !node.is_empty() => reply(Reply::NoData),
                Some(_) | None => Local::Pass,
            },
            ZoneType::BlockA | ZoneType::NoDefault => Local::Pass,
        }
    }

    /// Returns the clients of overrides.
    pub(super) fn clients(&self) -> impl Iterator<Item = IpNet> {
        let zones = self.zones.values();
        zones.flat_map(|zone| zone.overrides.iter().map(|(net, _)| *net))
    }
}

/// Zones that unbound has unless they are configured (unbound.conf(5), `local-zone`), without those of addresses.
pub(super) const DEFAULTS: &[&str] = &["localhost", "test", "invalid", "onion", "home.arpa"];

/// Returns the nearest name above both, or either of them if it is above the other.
fn common(one: &DnsName, other: &DnsName) -> DnsName {
    let mut above = std::iter::successors(Some(*one), DnsName::parent);
    let has_both = |it: &DnsName| it == other || other.is_below(it);
    above.find(has_both).unwrap_or(DnsName::ROOT)
}

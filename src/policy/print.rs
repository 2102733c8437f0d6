//! Printing of a [`Policy`] as TOML: the same meaning, in one canonical form.

use std::fmt::{self, Display, Write as _};

use crate::policy::meaning::{
    DivertScope, EntryChoice, FailMode, FeedFormat, LeakedPublic, MediaMatch, Policy, ProtocolSet,
    Sourced, TunnelMode, UnknownSource, WidePrefixes,
};
use crate::policy::rules::{INTERFACE_TYPES, PROFILES};
use crate::policy::section::test::write_test;

/// A policy file that means this policy; parsing it gives an equal policy, but for lines and the file's name.
impl Display for Policy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "[vpn]")?;
        list(
            out,
            "interfaces",
            self.vpn.interfaces.iter().map(|name| &name.value),
        )?;
        list(out, "client_subnets", values(&self.vpn.client_subnets))?;
        writeln!(out, "\n[corporate]")?;
        list(out, "subnets", values(&self.corporate.subnets))?;
        list(out, "dns_servers", values(&self.corporate.dns_servers))?;
        writeln!(out, "\n[media]")?;
        list(out, "ports", values(&self.media.ports))?;
        let recognition = match self.media.recognition {
            MediaMatch::Ports => "ports",
        };
        pair(out, "match", recognition)?;
        self.write_options(out)?;
        self.write_rules(out)?;
        self.write_feeds_and_endpoints(out)?;
        self.tests.iter().try_for_each(|test| write_test(out, test))
    }
}

impl Policy {
    fn write_options(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n[filter]")?;
        let unknown_source = match self.filter.unknown_source {
            UnknownSource::Forward => "forward",
            UnknownSource::Drop => "drop",
        };
        let leaked_public = match self.filter.leaked_public {
            LeakedPublic::Forward => "forward",
            LeakedPublic::Drop => "drop",
        };
        let tunnel = match self.routes.tunnel {
            TunnelMode::Split => "split",
            TunnelMode::Full => "full",
        };
        let divert = match self.gateway.divert {
            DivertScope::All => "all",
            DivertScope::Policy => "policy",
            DivertScope::Suspects => "suspects",
        };
        let on_failure = match self.gateway.on_failure {
            FailMode::Open => "open",
            FailMode::Closed => "closed",
        };
        pair(out, "unknown_source", unknown_source)?;
        pair(out, "leaked_public", leaked_public)?;
        writeln!(out, "\n[routes]")?;
        pair(out, "tunnel", tunnel)?;
        list(out, "gateways", values(&self.routes.gateways))?;
        self.dns.write(out)?;
        writeln!(out, "\n[gateway]")?;
        pair(out, "divert", divert)?;
        if let Some(workers) = self.gateway.workers {
            writeln!(out, "workers = {workers}")?;
        }
        if let Some(realtime) = self.gateway.realtime {
            writeln!(out, "realtime = {realtime}")?;
        }
        if !self.gateway.cpus.is_empty() {
            let cpus = self.gateway.cpus.iter().map(|cpu| cpu.value.to_string());
            writeln!(out, "cpus = [{}]", cpus.collect::<Vec<_>>().join(", "))?;
        }
        pair(out, "on_failure", on_failure)?;
        if let Some(device) = &self.gateway.device {
            pair(out, "device", &device.value)?;
        }
        if let Some(mark) = self.gateway.mark {
            writeln!(out, "mark = {:#x}", mark.value.mask())?;
        }
        if let Some(table) = self.gateway.table {
            writeln!(out, "table = {}", table.value)?;
        }
        if let Some(control) = &self.gateway.control {
            pair(out, "control", &control.value)?;
        }
        if let Some(address) = self.gateway.metrics {
            pair(out, "metrics", address.value)?;
        }
        if let Some(place) = &self.gateway.drop_log {
            pair(out, "drop_log", &place.value)?;
        }
        match self.gateway.drop_log_rate {
            Some(rate) => writeln!(out, "drop_log_rate = {}", rate.value),
            None => Ok(()),
        }
    }

    fn write_rules(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in &self.servers {
            writeln!(out, "\n[[server]]")?;
            pair(out, "name", &server.name.value)?;
            list(out, "addresses", values(&server.addresses))?;
            list(out, "hosts", server.hosts.iter().map(|host| &host.value))?;
        }
        for allow in &self.allows {
            writeln!(out, "\n[[allow]]")?;
            pair(out, "name", &allow.name.value)?;
            list(out, "to", values(&allow.to))?;
            let protocols: &[_] = match allow.protocols {
                ProtocolSet::Tcp => &["tcp"],
                ProtocolSet::Udp => &["udp"],
                ProtocolSet::Both => &["tcp", "udp"],
            };
            list(out, "protocols", protocols)?;
            for (key, ports) in [("ports", &allow.ports), ("from_ports", &allow.from_ports)] {
                if !ports.is_empty() {
                    list(out, key, values(ports))?;
                }
            }
            let lifts = [
                ("media", allow.lifts.media),
                ("servers", allow.lifts.servers),
            ];
            list(
                out,
                "lifts",
                lifts
                    .iter()
                    .filter(|(_, lifted)| *lifted)
                    .map(|(word, _)| word),
            )?;
        }
        for public in &self.publics {
            writeln!(out, "\n[[public]]")?;
            pair(out, "name", &public.name.value)?;
            list(out, "addresses", values(&public.addresses))?;
            list(out, "hosts", public.hosts.iter().map(|host| &host.value))?;
            writeln!(out, "srv = [")?;
            for record in &public.srv {
                let name = Quoted(&record.name.value);
                let target = Quoted(&record.target);
                writeln!(
                    out,
                    "    {{ name = {name}, target = {target}, port = {}, priority = {}, weight = {} }},",
                    record.port, record.priority, record.weight
                )?;
            }
            writeln!(out, "]")?;
        }
        Ok(())
    }

    fn write_feeds_and_endpoints(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for feed in &self.feeds {
            writeln!(out, "\n[[feed]]")?;
            pair(out, "name", &feed.name.value)?;
            let format = match feed.format {
                FeedFormat::Microsoft365 => "microsoft-365",
                FeedFormat::Prefixes => "prefixes",
            };
            pair(out, "format", format)?;
            pair(out, "file", &feed.file.value)?;
            if let Some(url) = &feed.url {
                pair(out, "url", &url.value)?;
            }
            writeln!(out, "max_age_days = {}", feed.max_age_days)?;
            let wide_prefixes = match feed.wide_prefixes {
                WidePrefixes::Refuse => "refuse",
                WidePrefixes::Accept => "accept",
            };
            pair(out, "wide_prefixes", wide_prefixes)?;
            if feed.format == FeedFormat::Microsoft365 {
                list(
                    out,
                    "service_areas",
                    feed.service_areas.iter().map(|area| &area.value),
                )?;
                list(
                    out,
                    "categories",
                    feed.categories.iter().map(|category| &category.value),
                )?;
                let entries = match feed.entries {
                    EntryChoice::All => "all",
                    EntryChoice::Required => "required",
                };
                pair(out, "entries", entries)?;
            }
        }
        for endpoint in &self.endpoints {
            writeln!(out, "\n[[endpoint]]")?;
            pair(out, "name", &endpoint.name.value)?;
            if let Some(product) = &endpoint.product {
                pair(out, "product", product.value)?;
            }
            if endpoint.product.is_none() || !endpoint.programs.is_empty() {
                list(out, "programs", values(&endpoint.programs))?;
            }
            pair(out, "profile", word(PROFILES, endpoint.profile))?;
            pair(
                out,
                "interface_type",
                word(INTERFACE_TYPES, endpoint.interface_type),
            )?;
            for (key, prefixes) in [("local", &endpoint.local), ("remote", &endpoint.remote)] {
                if !prefixes.is_empty() {
                    list(out, key, values(prefixes))?;
                }
            }
        }
        Ok(())
    }
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    let known = words.iter().find(|(_, meaning)| *meaning == value);
    known.map_or("any", |(word, _)| word)
}

/// The values of `items`, without their lines.
pub(super) fn values<T>(items: &[Sourced<T>]) -> impl Iterator<Item = &T> {
    items.iter().map(|item| &item.value)
}

/// Writes `key = "value"`.
pub(super) fn pair(out: &mut fmt::Formatter<'_>, key: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "{key} = {}", Quoted(value))
}

/// Writes `key = ["item", ...]`.
pub(super) fn list<T: Display>(
    out: &mut fmt::Formatter<'_>,
    key: &str,
    items: impl IntoIterator<Item = T>,
) -> fmt::Result {
    write!(out, "{key} = [")?;
    for (index, item) in items.into_iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(out, "{separator}{}", Quoted(item))?;
    }
    writeln!(out, "]")
}

/// A TOML basic string.
struct Quoted<T>(T);

impl<T: Display> Display for Quoted<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_char('"')?;
        for char in self.0.to_string().chars() {
            match char {
                '"' | '\\' => write!(out, "\\{char}")?,
                _ => out.write_char(char)?,
            }
        }
        out.write_char('"')
    }
}

//! ocserv: its configuration, virtual hosts, and the files of groups and users.
//!
//! A client without routes gets the default route, and openconnect takes one in each family of its addresses that it has no route for. The list of a group or user replaces the global one; routes, exclusions
//! and DNS servers each for itself.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Tunnel;
use super::daemon::{Daemon, Found, Role};
use crate::address::{Family, more_specific};
use crate::render::routes::ocserv;
use crate::verify::against::Named;
use crate::verify::against::files::{Loader, Place, folder_of};
use crate::verify::against::words::{self, Bearing};

/// Directives of one section or file.
#[derive(Debug, Clone, Default)]
struct Section {
    label: String,
    device: Option<Found<String>>,
    /// Networks or addresses of clients, and masks, as they are written.
    networks: Vec<(Place, String, String)>,
    includes: Vec<Found<IpNet>>,
    has_routes: bool,
    excludes: Vec<IpNet>,
    dns: Vec<(Place, IpAddr)>,
    /// The families of the addresses that clients are given.
    families: Vec<Family>,
    /// Folders with files of groups or users.
    folders: Vec<(Place, String)>,
    /// Files for groups or users without one of their own.
    defaults: Vec<(Place, String)>,
}

pub(super) fn tunnels(files: &[&Named], loader: &Loader<'_>) -> Vec<Tunnel> {
    let mut found = Vec::new();
    let is_main = |file: &&&Named| is_main(&file.text);
    let mains: Vec<&&Named> = files.iter().filter(is_main).collect();
    for main in &mains {
        let sections = sections(&main.path, &main.text, loader);
        for section in sections {
            let groups = groups(&section, folder_of(&main.path), loader);
            let has_default = !section.defaults.is_empty();
            if !has_default {
                found.push(section.tunnel());
            }
            found.extend(groups.iter().map(|group| section.with(group).tunnel()));
        }
    }
    // Files of groups that no configuration names are judged for themselves.
    for file in files.iter().filter(|file| !is_main(file)) {
        if loader.names(&file.path) {
            continue;
        }
        let own = sections(&file.path, &file.text, loader);
        match mains[..] {
            [main] => {
                let base = sections(&main.path, &main.text, loader);
                let base = base.first().cloned().unwrap_or_default();
                found.extend(own.iter().map(|group| base.with(group).tunnel()));
            }
            _ => found.extend(own.iter().map(Section::tunnel)),
        }
    }
    found
}

/// Reads the tunnel, the clients and what they are given; groups and users have what is theirs beside it.
pub(super) fn daemon(file: &Named, loader: &Loader<'_>) -> Daemon {
    let mut daemon = Daemon {
        role: Role::Server,
        ..Daemon::default()
    };
    let sections = sections(&file.path, &file.text, loader);
    let groups = sections
        .iter()
        .flat_map(|section| groups(section, folder_of(&file.path), loader));
    let groups: Vec<Section> = groups.collect();
    for section in sections.iter().chain(&groups) {
        daemon.pools.extend(section.pools(loader));
        daemon.routes.extend(section.includes.iter().cloned());
        let dns = section.dns.iter().cloned();
        daemon.dns.extend(dns.map(Found::from));
    }
    for section in &groups {
        section.add_clients(&mut daemon);
    }
    daemon.device = sections.iter().find_map(|it| it.device.clone());
    daemon
}

/// Returns `true` for the configuration of a server.
fn is_main(text: &str) -> bool {
    let mut lines = text.lines().filter_map(|line| line.split_once('='));
    lines.any(|(key, _)| matches!(key.trim(), "tcp-port" | "udp-port" | "auth" | "server-cert"))
}

/// Reads the files of groups and users.
fn groups(section: &Section, folder: &str, loader: &Loader<'_>) -> Vec<Section> {
    let mut paths: Vec<(&Place, String)> = Vec::new();
    for (place, file) in &section.defaults {
        paths.push((place, loader.path(folder, file)));
    }
    for (place, path) in &section.folders {
        let path = loader.path(folder, path);
        match loader.list(&path) {
            Ok(names) => {
                let names = names.iter().filter(|it| !it.starts_with('.'));
                paths.extend(names.map(|name| (place, format!("{path}/{name}"))));
            }
            Err(why) => loader.note(place, &path, why),
        }
    }
    let mut found = Vec::new();
    for (place, path) in paths {
        match loader.read(&path) {
            Ok(text) => found.extend(sections(&path, &text, loader)),
            Err(why) => loader.note(place, &path, why),
        }
    }
    found
}

/// Reads a file: the section before any `[vhost:…]`, and those.
fn sections(path: &str, text: &str, loader: &Loader<'_>) -> Vec<Section> {
    let mut found = vec![Section {
        label: path.to_owned(),
        ..Section::default()
    }];
    for (index, text) in text.lines().enumerate() {
        let place = Place {
            file: path.to_owned(),
            line: index + 1,
        };
        let code = code(text);
        if code.is_empty() {
            continue;
        }
        if let Some(name) = code.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            found.push(Section {
                label: format!("{path} [{name}]"),
                ..Section::default()
            });
            continue;
        }
        let Some((key, value)) = code.split_once('=') else {
            loader.note(&place, code, "it has no value");
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        let value = value
            .strip_prefix('"')
            .and_then(|it| it.strip_suffix('"'))
            .unwrap_or(value);
        if let Some(section) = found.last_mut() {
            section.read(place, key, value, loader);
        }
    }
    found
}

/// Returns the length of a netmask, or what else is written in its place.
fn length(mask: &str) -> String {
    let dotted = mask.parse().ok();
    let length = dotted.and_then(|it| ipnet::ip_mask_to_prefix(it).ok());
    length.map_or_else(|| mask.to_owned(), |it| it.to_string())
}

/// Takes a comment out of a line: `#` at the start or behind a space.
fn code(text: &str) -> &str {
    let is_comment = |(at, _): &(usize, &str)| {
        let before = &text[..*at];
        before.is_empty() || before.ends_with([' ', '\t'])
    };
    let end = text.match_indices('#').find(is_comment);
    text[..end.map_or(text.len(), |(at, _)| at)].trim()
}

impl Section {
    fn read(&mut self, place: Place, key: &str, value: &str, loader: &Loader<'_>) {
        let word = format!("{key} = {value}");
        match words::bearing(words::OCSERV, key) {
            Bearing::Known => {}
            Bearing::Unread(why) => loader.note(&place, &word, why),
        }
        self.families.extend(ocserv::pool_of(key));
        match key {
            "route" | "no-route" => {
                self.has_routes |= key == "route";
                match ocserv::read_route(place.line, value) {
                    Ok(prefixes) if key == "route" => {
                        self.includes.extend(Found::each(&place, prefixes));
                    }
                    Ok(prefixes) => self.excludes.extend(prefixes),
                    Err(error) => loader.note(&place, &word, error.message),
                }
            }
            "device" => self.device = Some(Found::at(&place, format!("{value}*"))),
            "ipv4-network" | "ipv4-netmask" | "ipv6-network" | "ipv6-prefix" | "explicit-ipv4"
            | "explicit-ipv6" => {
                self.networks
                    .push((place, key.to_owned(), value.to_owned()));
            }
            "dns" | "ipv4-dns" | "ipv6-dns" => {
                for address in value.split(',').map(str::trim) {
                    match address.parse() {
                        Ok(address) => self.dns.push((place.clone(), address)),
                        // The server gives its own.
                        Err(_) if address == "local" => {}
                        Err(_) => loader.note(&place, &word, "the address is wrong"),
                    }
                }
            }
            "config-per-group" | "config-per-user" => self.folders.push((place, value.to_owned())),
            "default-group-config" | "default-user-config" => {
                self.defaults.push((place, value.to_owned()));
            }
            "auth" | "enable-auth" | "acct" if value.contains("groupconfig=true") => {
                loader.note(&place, &word, "routes come from a RADIUS server");
            }
            _ => {}
        }
    }

    /// Returns the networks that clients have addresses of.
    fn pools(&self, loader: &Loader<'_>) -> Vec<Found<IpNet>> {
        let value = |key: &str| self.networks.iter().find(|(_, it, _)| it == key);
        let mut pools = Vec::new();
        for (network, mask) in [
            ("ipv4-network", "ipv4-netmask"),
            ("ipv6-network", "ipv6-prefix"),
        ] {
            let Some((place, key, network)) = value(network) else {
                continue;
            };
            let text = match (network.contains('/'), value(mask)) {
                (false, Some((_, _, mask))) => format!("{network}/{}", length(mask)),
                (true, _) | (false, None) => network.clone(),
            };
            match text.parse::<IpNet>() {
                Ok(pool) => pools.push(Found::at(place, pool.trunc())),
                Err(_) => {
                    loader.note(place, &format!("{key} = {network}"), "the network is wrong");
                }
            }
        }
        pools
    }

    /// Adds the addresses of clients that have one of their own.
    fn add_clients(&self, daemon: &mut Daemon) {
        for (place, key, address) in &self.networks {
            if matches!(key.as_str(), "explicit-ipv4" | "explicit-ipv6")
                && let Ok(address) = address.parse()
            {
                daemon.add_client(place, address);
            }
        }
    }

    /// Returns what a client of a group gets.
    fn with(&self, group: &Self) -> Self {
        let mut joined = self.clone();
        joined.label = format!("{} with {}", self.label, group.label);
        if group.has_routes {
            joined.includes.clone_from(&group.includes);
            joined.has_routes = true;
        }
        if !group.excludes.is_empty() {
            joined.excludes.clone_from(&group.excludes);
        }
        joined.families.extend(&group.families);
        if !group.dns.is_empty() {
            joined.dns.clone_from(&group.dns);
        }
        joined
    }

    fn tunnel(&self) -> Tunnel {
        let mut includes: Vec<IpNet> = self.includes.iter().map(|it| it.value).collect();
        let routes = self.has_routes.then_some(&includes[..]);
        let unrouted = ocserv::unrouted(routes, &self.families);
        includes.extend(unrouted.iter().map(|family| family.everything()));
        Tunnel {
            unrouted: if self.has_routes {
                unrouted
            } else {
                Vec::new()
            },
            label: self.label.clone(),
            set: more_specific(includes, self.excludes.iter().copied()),
            // Clients keep a route to the server, whatever it sends.
            keeps_server: vec![Family::V4, Family::V6],
            dns: self.dns.clone(),
            ..Tunnel::default()
        }
    }
}

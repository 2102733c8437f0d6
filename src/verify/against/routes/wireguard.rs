//! WireGuard: the file of a client or of the concentrator, as wg-quick(8) reads it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Tunnel;
use super::daemon::{Daemon, Found, Role};
use crate::address::{Family, PrefixSet};
use crate::render::code_lines;
use crate::render::routes::wireguard;
use crate::verify::against::Named;
use crate::verify::against::files::{Loader, Place};

pub(super) fn tunnel(file: &Named, loader: &Loader<'_>) -> Tunnel {
    let mut tunnel = Tunnel {
        label: file.path.clone(),
        ..Tunnel::default()
    };
    let mut allowed = Vec::new();
    for Setting {
        place,
        text,
        key,
        value,
    } in settings(file, loader)
    {
        match key.as_str() {
            "allowedips" => allowed.extend(allowed_ips(&place, text, value, loader)),
            "endpoint" => {
                let address = value.parse::<SocketAddr>().map(|it| it.ip());
                tunnel.servers.extend(address);
            }
            "dns" => {
                let addresses = value.split(',').filter_map(|it| it.trim().parse().ok());
                let given = addresses.map(|address: IpAddr| (place.clone(), address));
                tunnel.dns.extend(given);
            }
            "table" if value != "auto" => {
                loader.note(&place, text, "routes are those of another table, or none");
            }
            "preup" | "postup" if value.contains("route") || value.contains("rule") => {
                loader.note(&place, text, "a command may change routes");
            }
            _ if KEYS.contains(&key.as_str()) => {}
            _ => loader.note(&place, text, "no such key is known"),
        }
    }
    // wg-quick marks the tunnel's own packets where a whole family is allowed.
    let whole = allowed.iter().filter(|it| it.prefix_len() == 0);
    tunnel.keeps_server = whole.map(|it| Family::from(it.addr())).collect();
    tunnel.set = PrefixSet::from_iter(allowed);
    tunnel
}

/// Reads the tunnel and the clients: the interface is named as the file, and its networks are those of its address.
pub(super) fn daemon(file: &Named, loader: &Loader<'_>) -> Daemon {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let name = name.strip_suffix(".conf").unwrap_or(name).to_owned();
    let place = Place {
        file: file.path.clone(),
        line: 1,
    };
    let mut daemon = Daemon {
        device: Some(Found::at(&place, name)),
        ..Daemon::default()
    };
    let mut listens = false;
    let mut endpoints = 0;
    let mut peers = Vec::new();
    for Setting {
        place,
        text,
        key,
        value,
    } in settings(file, loader)
    {
        match key.as_str() {
            "address" => {
                for address in value.split(',').map(str::trim) {
                    match address.parse::<IpNet>() {
                        Ok(network) => {
                            daemon.networks.push(Found::at(&place, network.trunc()));
                        }
                        // An address alone has no network.
                        Err(_) if address.parse::<IpAddr>().is_ok() => {}
                        Err(_) => loader.note(&place, text, "the address is wrong"),
                    }
                }
            }
            "allowedips" => {
                let allowed = allowed_ips(&place, text, value, loader);
                peers.extend(Found::each(&place, allowed));
            }
            "listenport" => listens = true,
            "endpoint" => endpoints += 1,
            _ => {}
        }
    }
    let is_single = |it: &IpNet| it.prefix_len() == it.max_prefix_len();
    let has_default = peers.iter().any(|it| it.value.prefix_len() == 0);
    // A peer that connects by itself has no endpoint here.
    let clients = peers.iter().filter(|it| is_single(&it.value)).count();
    if has_default || !listens || clients <= endpoints {
        return daemon;
    }
    daemon.role = Role::Server;
    daemon.pools = std::mem::take(&mut daemon.networks);
    daemon.pools.retain(|it| !is_single(&it.value));
    for peer in peers {
        if is_single(&peer.value) {
            daemon.add_client(&peer.place, peer.value.addr());
        } else if !daemon.pools.iter().any(|it| it.value.contains(&peer.value)) {
            daemon.networks.push(peer);
        }
    }
    daemon
}

/// A line with a key.
struct Setting<'f> {
    place: Place,
    text: &'f str,
    key: String,
    value: &'f str,
}

/// Returns the lines with a key, in lower case.
fn settings<'f>(file: &'f Named, loader: &Loader<'_>) -> Vec<Setting<'f>> {
    let mut settings = Vec::new();
    for (line, text) in code_lines(&file.text, &['#']) {
        let place = Place {
            file: file.path.clone(),
            line,
        };
        match text.split_once('=') {
            Some((key, value)) => settings.push(Setting {
                place,
                text,
                key: key.trim().to_ascii_lowercase(),
                value: value.trim(),
            }),
            None if text.starts_with('[') => {}
            None => loader.note(&place, text, "it is no key"),
        }
    }
    settings
}

fn allowed_ips(place: &Place, text: &str, value: &str, loader: &Loader<'_>) -> Vec<IpNet> {
    match wireguard::read_allowed(place.line, value) {
        Ok(prefixes) => prefixes,
        Err(error) => {
            loader.note(place, text, error.message);
            Vec::new()
        }
    }
}

/// Keys of wg(8) and wg-quick(8), in lower case.
const KEYS: &[&str] = &[
    "privatekey",
    "listenport",
    "fwmark",
    "address",
    "mtu",
    "table",
    "preup",
    "postup",
    "predown",
    "postdown",
    "saveconfig",
    "publickey",
    "presharedkey",
    "persistentkeepalive",
];

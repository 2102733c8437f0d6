//! WireGuard: the file of a client, as wg-quick(8) reads it.

use std::net::{IpAddr, SocketAddr};

use super::Tunnel;
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
    for (line, text) in code_lines(&file.text, &['#']) {
        let place = Place {
            file: file.path.clone(),
            line,
        };
        let Some((key, value)) = text.split_once('=') else {
            if !text.starts_with('[') {
                loader.note(&place, text, "it is no key");
            }
            continue;
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        match key.as_str() {
            "allowedips" => match wireguard::read_allowed(line, value) {
                Ok(prefixes) => allowed.extend(prefixes),
                Err(error) => loader.note(&place, text, error.message),
            },
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

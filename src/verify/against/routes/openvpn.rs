//! OpenVPN: a server's configuration, the files that it includes, and those of clients (`client-config-dir`).
//!
//! Each file of a client is judged with the server's options, and so is `DEFAULT`, which clients without one of their own get.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Tunnel;
use super::daemon::{Daemon, Found, Role};
use crate::address::Family;
use crate::render::routes::{Pushed, openvpn};
use crate::verify::against::Named;
use crate::verify::against::files::{DEEPEST, Loader, Place, folder_of};
use crate::verify::against::words::{self, Bearing};

/// An option of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Opt {
    place: Place,
    words: Vec<String>,
}

impl Opt {
    fn key(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn value(&self) -> &str {
        self.words.get(1).map_or("", String::as_str)
    }
}

pub(super) fn tunnels(files: &[&Named], loader: &Loader<'_>) -> Vec<Tunnel> {
    // Every file of its own first, so that it is known which of them the others name.
    let read: Vec<(&Named, Vec<Opt>)> = files
        .iter()
        .map(|file| (*file, options(&file.path, &file.text, loader)))
        .collect();
    let of_clients: Vec<(&Named, Vec<String>)> = read
        .iter()
        .map(|(file, options)| (*file, client_files(file, options, loader)))
        .collect();
    let is_part = |file: &Named| loader.names(&file.path);
    let is_server = |options: &[Opt]| {
        let mut keys = options.iter().map(Opt::key);
        keys.any(|key| SERVER_KEYS.contains(&key))
    };
    let servers: Vec<usize> = (0..read.len())
        .filter(|&at| !is_part(read[at].0) && is_server(&read[at].1))
        .collect();
    let parts: Vec<usize> = (0..read.len())
        .filter(|&at| !is_part(read[at].0) && !is_server(&read[at].1))
        .collect();
    let mut found = Vec::new();
    for &at in &servers {
        let (file, options) = &read[at];
        let mut options = options.clone();
        let mut label = file.path.clone();
        // Parts that are named beside one server belong to it.
        if servers.len() == 1 {
            for &part in &parts {
                options.extend(read[part].1.iter().cloned());
                label = format!("{label} with {}", read[part].0.path);
            }
        }
        let clients = &of_clients[at].1;
        let has_default = clients.iter().any(|path| path.ends_with("/DEFAULT"));
        if !has_default {
            found.extend(tunnel(&label, &options, &[], loader));
        }
        for path in clients {
            match loader.read(path) {
                Ok(text) => {
                    let own = self::options(path, &text, loader);
                    let label = format!("{label} with {path}");
                    found.extend(tunnel(&label, &options, &own, loader));
                }
                Err(why) => {
                    let place = Place {
                        file: path.clone(),
                        line: 1,
                    };
                    loader.note(&place, "client-config-dir", why);
                }
            }
        }
    }
    if servers.len() != 1 {
        for &at in &parts {
            let (file, options) = &read[at];
            found.extend(tunnel(&file.path, options, &[], loader));
        }
    }
    found
}

/// Reads the tunnel, the clients and what they are given.
pub(super) fn daemon(file: &Named, loader: &Loader<'_>) -> Daemon {
    let options = options(&file.path, &file.text, loader);
    let mut daemon = Daemon {
        role: role(&options),
        device: device(&options),
        ..Daemon::default()
    };
    for option in &options {
        daemon.networks.extend(network(option, loader));
    }
    if daemon.role == Role::Peer {
        return daemon;
    }
    let bridge = options.iter().find(|it| it.key() == "server-bridge");
    if let Some(bridge) = bridge {
        let why = "clients are in a network that is bridged: packets of theirs enter by the bridge";
        loader.note(&bridge.place, "server-bridge", why);
    }
    daemon.pools = std::mem::take(&mut daemon.networks);
    for option in options.iter().filter(|it| it.key() == "route") {
        daemon.networks.extend(network_of_route(option, loader));
    }
    for path in client_files(file, &options, loader) {
        match loader.read(&path) {
            Ok(text) => {
                for option in &self::options(&path, &text, loader) {
                    fixed_address(&mut daemon, option);
                }
            }
            Err(why) => {
                let place = Place {
                    file: path,
                    line: 1,
                };
                loader.note(&place, "client-config-dir", why);
            }
        }
    }
    let mut tunnel = Tunnel::default();
    let pushes = pushes(&mut tunnel, &options, &[], loader).unwrap_or_default();
    for (place, text) in pushes {
        let mut pushed = Pushed::default();
        push(&mut tunnel, &mut pushed, &place, &text, loader);
        daemon.routes.extend(Found::each(&place, pushed.includes));
    }
    daemon.dns = tunnel.dns.into_iter().map(Found::from).collect();
    daemon.client_to_client = tunnel.forwards_between_clients;
    daemon
}

fn role(options: &[Opt]) -> Role {
    let is_server = |it: &Opt| match it.key() {
        "server" | "server-ipv6" | "server-bridge" => true,
        "mode" => it.value() == "server",
        _ => false,
    };
    if options.iter().any(is_server) {
        Role::Server
    } else {
        Role::Peer
    }
}

/// Returns the interface, as a policy names it: the daemon numbers one without a number itself.
fn device(options: &[Opt]) -> Option<Found<String>> {
    let device = options.iter().rfind(|it| it.key() == "dev")?;
    let value = match device.value() {
        kind @ ("tun" | "tap") => format!("{kind}*"),
        name => name.to_owned(),
    };
    Some(Found::at(&device.place, value))
}

/// Returns the network that an option gives clients addresses of, or the tunnel.
fn network(option: &Opt, loader: &Loader<'_>) -> Option<Found<IpNet>> {
    let text = match (option.key(), &option.words[1..]) {
        ("server" | "ifconfig" | "server-bridge", [address, mask, ..]) => {
            // The second word is the peer's address in point-to-point topologies.
            let is_mask = mask.starts_with("255.");
            format!(
                "route {address} {}",
                if is_mask { mask } else { "255.255.255.255" }
            )
        }
        ("server-ipv6" | "ifconfig-ipv6", [prefix, ..]) => {
            return match prefix.parse::<IpNet>() {
                Ok(prefix) => Some(Found::at(&option.place, prefix.trunc())),
                Err(_) => {
                    loader.note(
                        &option.place,
                        &option.words.join(" "),
                        "the prefix is wrong",
                    );
                    None
                }
            };
        }
        _ => return None,
    };
    read_network(option, &text, loader)
}

/// Returns the network that the daemon has the host route into the tunnel.
fn network_of_route(option: &Opt, loader: &Loader<'_>) -> Option<Found<IpNet>> {
    let words = option.words.get(1..3).unwrap_or(&option.words[1..]);
    read_network(option, &format!("route {}", words.join(" ")), loader)
}

fn read_network(option: &Opt, text: &str, loader: &Loader<'_>) -> Option<Found<IpNet>> {
    let mut pushed = Pushed::default();
    if let Err(error) = openvpn::read_option(option.place.line, text, &mut pushed) {
        loader.note(&option.place, &option.words.join(" "), error.message);
    }
    let network = pushed.includes.first()?;
    Some(Found::at(&option.place, *network))
}

/// Adds the address of a client that has one of its own outside the pools: with the network around it, where there is a route
/// for one.
fn fixed_address(daemon: &mut Daemon, option: &Opt) {
    if !matches!(option.key(), "ifconfig-push" | "ifconfig-ipv6-push") {
        return;
    }
    let address = option.value().split('/').next().unwrap_or_default();
    if let Ok(address) = address.parse::<IpAddr>() {
        daemon.add_client(&option.place, address);
    }
}

/// Options that a server has, and a part of its configuration has not.
const SERVER_KEYS: &[&str] = &[
    "server",
    "server-ipv6",
    "server-bridge",
    "mode",
    "dev",
    "proto",
    "port",
    "tls-server",
];

/// Returns the files of clients.
fn client_files(file: &Named, options: &[Opt], loader: &Loader<'_>) -> Vec<String> {
    let Some(option) = options.iter().rfind(|it| it.key() == "client-config-dir") else {
        return Vec::new();
    };
    let folder = loader.path(&folder(file, options, loader), option.value());
    match loader.list(&folder) {
        Ok(names) => {
            let names = names.iter().filter(|it| !it.starts_with('.'));
            let paths: Vec<String> = names.map(|name| format!("{folder}/{name}")).collect();
            paths.iter().for_each(|path| loader.refer(path));
            paths
        }
        Err(why) => {
            let word = format!("client-config-dir {}", option.value());
            loader.note(&option.place, &word, why);
            Vec::new()
        }
    }
}

/// Returns the folder to which paths are relative: `cd`, or that of the file.
fn folder(file: &Named, options: &[Opt], loader: &Loader<'_>) -> String {
    let own = folder_of(&file.path);
    let cd = options.iter().rfind(|it| it.key() == "cd");
    cd.map_or_else(|| own.to_owned(), |it| loader.path(own, it.value()))
}

/// Reads the options of a file, and of those that it includes.
fn options(path: &str, text: &str, loader: &Loader<'_>) -> Vec<Opt> {
    let mut found = Vec::new();
    read_file(path, text, folder_of(path), 0, loader, &mut found);
    found
}

fn read_file(
    path: &str,
    text: &str,
    folder: &str,
    depth: usize,
    loader: &Loader<'_>,
    found: &mut Vec<Opt>,
) {
    let mut folder = folder.to_owned();
    let mut inline: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        if !loader.count_records(1) {
            return;
        }
        if let Some(end) = &inline {
            if line.trim_start().starts_with(end.as_str()) {
                inline = None;
            }
            continue;
        }
        let words = words_of(line);
        let place = Place {
            file: path.to_owned(),
            line: index + 1,
        };
        match words.first().map(String::as_str) {
            None => continue,
            // The options of a connection stand between these.
            Some("<connection>" | "</connection>") => continue,
            Some(tag) if tag.starts_with('<') && tag.ends_with('>') => {
                inline = Some(format!("</{}", &tag[1..]));
                continue;
            }
            Some(_) => {}
        }
        let mut option = Opt { place, words };
        if let Some(key) = option.words[0].strip_prefix("--") {
            option.words[0] = key.to_owned();
        }
        match option.key() {
            "config" => {
                let word = format!("config {}", option.value());
                if depth == DEEPEST {
                    let why = "files include one another in a circle";
                    loader.note(&option.place, &word, why);
                    continue;
                }
                let path = loader.path(&folder, option.value());
                match loader.read(&path) {
                    Ok(text) => read_file(&path, &text, &folder, depth + 1, loader, found),
                    Err(why) => loader.note(&option.place, &word, why),
                }
            }
            "cd" => {
                folder = loader.path(&folder, option.value());
                found.push(option);
            }
            _ => found.push(option),
        }
    }
}

/// Cuts a line into words, as OpenVPN does: quotes, escapes, and comments at the beginning of a word.
fn words_of(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|it| it.is_whitespace()).is_some() {}
        let quote = match chars.peek() {
            None | Some('#' | ';') => return words,
            Some(&quote @ ('"' | '\'')) => {
                chars.next();
                Some(quote)
            }
            Some(_) => None,
        };
        let mut word = String::new();
        while let Some(next) = chars.next() {
            match (next, quote) {
                ('\\', None | Some('"')) => word.extend(chars.next()),
                (next, Some(quote)) if next == quote => break,
                (next, None) if next.is_whitespace() => break,
                (next, _) => word.push(next),
            }
        }
        words.push(word);
    }
}

/// Returns what a client gets by the server's options and its own; `None` for one that may not connect.
fn tunnel(label: &str, server: &[Opt], own: &[Opt], loader: &Loader<'_>) -> Option<Tunnel> {
    let mut tunnel = Tunnel {
        label: label.to_owned(),
        // OpenVPN gives clients a route of their own to a server with an IPv6 address.
        keeps_server: vec![Family::V6],
        ..Tunnel::default()
    };
    let pushes = pushes(&mut tunnel, server, own, loader)?;
    let mut pushed = Pushed::default();
    for (place, text) in &pushes {
        push(&mut tunnel, &mut pushed, place, text, loader);
    }
    // Of two routes for one prefix the metric or the order decides, which clients handle differently.
    let includes = pushed.includes.clone();
    pushed.excludes.retain(|it| !includes.contains(it));
    tunnel.set = pushed.tunnel();
    Some(tunnel)
}

/// Returns the options that are pushed to a client, in order; `None` for one that may not connect.
fn pushes(
    tunnel: &mut Tunnel,
    server: &[Opt],
    own: &[Opt],
    loader: &Loader<'_>,
) -> Option<Vec<(Place, String)>> {
    let mut pushes: Vec<(Place, String)> = Vec::new();
    for (option, is_own) in server
        .iter()
        .map(|it| (it, false))
        .chain(own.iter().map(|it| (it, true)))
    {
        let note = |why: &str| loader.note(&option.place, &option.words.join(" "), why);
        match words::bearing(words::OPENVPN, option.key()) {
            Bearing::Known => {}
            Bearing::Unread(why) => note(why),
        }
        match (option.key(), &option.words[1..]) {
            ("push", [pushed]) => pushes.push((option.place.clone(), pushed.clone())),
            ("push", _) => note("it takes one argument, in quotes"),
            ("push-reset", _) if is_own => pushes.clear(),
            ("push-remove", [start]) if is_own => {
                pushes.retain(|(_, pushed)| !pushed.starts_with(start.as_str()));
            }
            ("push-reset" | "push-remove", _) => note("it is for the file of a client"),
            ("disable", _) if is_own => return None,
            ("client-to-client", _) => {
                tunnel.forwards_between_clients = Some(option.place.clone());
            }
            ("plugin", [path, ..]) if !KNOWN_PLUGINS.iter().any(|it| path.contains(it)) => {
                note("a plug-in may push options");
            }
            _ => {}
        }
    }
    Some(pushes)
}

/// Plug-ins that authenticate, and push nothing.
const KNOWN_PLUGINS: &[&str] = &["auth-pam", "down-root", "duo_openvpn"];

/// Reads a pushed option.
fn push(tunnel: &mut Tunnel, pushed: &mut Pushed, place: &Place, text: &str, loader: &Loader<'_>) {
    let words = words_of(text);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let note = |why: &str| loader.note(place, &format!("push \"{text}\""), why);
    match words[..] {
        ["redirect-gateway", ref flags @ ..] if !flags.contains(&"local") => {
            tunnel.keeps_server.push(Family::V4);
        }
        ["redirect-private", ..] | ["route", "remote_host", _, "net_gateway", ..] => {
            tunnel.keeps_server.push(Family::V4);
            return;
        }
        ["dhcp-option", "DNS" | "DNS6", address] => match address.parse() {
            Ok(address) => tunnel.dns.push((place.clone(), address)),
            Err(_) => note("the address is wrong"),
        },
        ["dns", "server", _, "address", ref addresses @ ..] => {
            for text in addresses {
                match dns_address(text) {
                    Some(address) => tunnel.dns.push((place.clone(), address)),
                    None => note("the address is wrong"),
                }
            }
        }
        _ => {}
    }
    match words.first() {
        Some(&("route" | "route-ipv6" | "redirect-gateway")) => {
            if let Err(error) = openvpn::read_option(place.line, text, pushed) {
                note(&error.message);
            }
        }
        Some(&key) => match words::bearing(words::OPENVPN_PUSHED, key) {
            Bearing::Known => {}
            Bearing::Unread(why) => note(why),
        },
        None => {}
    }
}

/// Reads an address with or without a port.
fn dns_address(text: &str) -> Option<IpAddr> {
    let socket = text.parse::<std::net::SocketAddr>().map(|it| it.ip());
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().or(socket).ok()
}

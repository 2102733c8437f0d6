//! [`Facts`]: what this host, or a copied tree, tells of its VPN daemons, interfaces, routes and DNS servers.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::address::PrefixSet;
use crate::cli::input::Disk;
use crate::gateway::divert::firewall::Firewalls;
use crate::gateway::divert::names;
use crate::gateway::host::daemons::{self, OCSERV_DEFAULT, Process};
use crate::gateway::host::survey::{Interface, Survey};
use crate::verify::against::{Daemon, Existing, Files, Found, Named, Place, Role, daemon, text_of};

/// Facts about the host.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The configurations that were read.
    pub(super) configurations: Vec<Configuration>,
    /// Interfaces and routes; none of a copied tree.
    pub(super) survey: Survey,
    /// DNS servers that this host asks.
    pub(super) resolvers: Vec<Found<IpAddr>>,
    /// Firewalls that have rules, as far as this process may read them.
    pub(super) firewalls: Vec<&'static str>,
    /// True for a copied tree, in which nothing runs.
    pub(super) is_copy: bool,
    /// Things that could not be read or understood, each with what to do.
    pub(super) unread: Vec<String>,
}

/// The configuration of a VPN daemon.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) existing: Existing,
    pub(super) path: String,
    pub(super) daemon: Daemon,
    /// A process was started with it, or its interface is there.
    pub(super) is_running: bool,
}

impl Configuration {
    /// Returns the pattern of the interfaces that the daemon makes.
    pub(super) fn pattern(&self) -> &str {
        match (&self.daemon.device, self.existing) {
            (Some(device), _) => &device.value,
            (None, Existing::Ocserv) => "vpns*",
            (None, _) => "tun*",
        }
    }

    /// True if the daemon numbers its interface itself, so that one of that name may be another's.
    pub(super) fn is_numbered(&self) -> bool {
        matches!(self.pattern(), "tun*" | "tap*")
    }

    /// Returns the daemon's interfaces; those that it numbers itself by the networks that they are in.
    pub(super) fn interfaces<'s>(&self, survey: &'s Survey) -> Vec<&'s Interface> {
        let pools: PrefixSet = self.daemon.pools.iter().map(|it| it.value).collect();
        let made = survey.interfaces.iter().filter(|it| {
            let mut networks = it.networks.iter();
            names(self.pattern(), &it.name)
                && (!self.is_numbered() || networks.any(|network| pools.overlaps(*network)))
        });
        made.collect()
    }

    fn has_interface(&self, survey: &Survey) -> bool {
        !self.interfaces(survey).is_empty()
    }
}

impl Facts {
    /// Reads the configurations, and asks the kernel.
    pub(super) fn of_host() -> Self {
        let mut facts = Self::default();
        let tree = Tree(String::new());
        let mut files = usual_files(&tree, &mut facts.unread);
        let mut running = Vec::new();
        for process in &daemons::running(PROGRAMS) {
            let mut named = facts.configurations_of(process);
            named.retain(|it| !running.contains(it));
            files.extend(
                named
                    .iter()
                    .filter(|it| !files.contains(it))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            running.extend(named);
        }
        if daemons::are_hidden() {
            facts.unread.push(
                "other processes are hidden, and so are the configurations that VPN daemons were started with; run it as root"
                    .to_owned(),
            );
        }
        facts.read(&files, &tree);
        match Survey::of_host() {
            Ok(survey) => facts.survey = survey,
            Err(error) => facts.unread.push(format!(
                "the kernel does not tell interfaces and routes: {error}; write them: --interface, --clients, --corporate"
            )),
        }
        for it in &mut facts.configurations {
            let file = (it.existing, it.path.clone());
            it.is_running = running.contains(&file) || it.has_interface(&facts.survey);
        }
        facts.read_resolvers(&tree);
        facts.firewalls = Firewalls::read().names();
        facts
    }

    /// Reads the configurations below `root`, a copied tree.
    pub(super) fn of_tree(root: &Path) -> Self {
        let root = root.display().to_string();
        let tree = Tree(root.trim_end_matches('/').to_owned());
        let mut facts = Self {
            is_copy: true,
            ..Self::default()
        };
        let files = usual_files(&tree, &mut facts.unread);
        facts.read(&files, &tree);
        facts.read_resolvers(&tree);
        facts
    }

    /// Returns the configuration files of a running daemon, or says that it has none that is known.
    fn configurations_of(&mut self, process: &Process) -> Vec<(Existing, String)> {
        let Process { pid, program, .. } = process;
        let (existing, named) = match program.as_str() {
            "openvpn" => (Existing::OpenVpn, process.openvpn_files()),
            "ocserv" => match process.ocserv_file() {
                Some(file) => (Existing::Ocserv, vec![file]),
                None => {
                    // One message for all of its processes.
                    let hidden = format!(
                        "ocserv does not tell the file that it was started with, and {OCSERV_DEFAULT} is read; if it is another, \
                         write what it has: --clients, --corporate, --dns-server"
                    );
                    if !self.unread.contains(&hidden) {
                        self.unread.push(hidden);
                    }
                    (Existing::Ocserv, vec![PathBuf::from(OCSERV_DEFAULT)])
                }
            },
            // Its interface has what there is to know.
            "wireguard-go" => return Vec::new(),
            _ => {
                self.unread.push(format!(
                    "the configuration of {program} (process {pid}) is not read; write what it has: --interface, --clients, \
                     --corporate, --dns-server"
                ));
                return Vec::new();
            }
        };
        if named.is_empty() {
            self.unread.push(format!(
                "{program} (process {pid}) has no configuration file; write what its command line has: --interface, --clients"
            ));
        }
        let paths = named.into_iter().map(|path| path.display().to_string());
        paths.map(|path| (existing, path)).collect()
    }

    fn read(&mut self, files: &[(Existing, String)], tree: &Tree) {
        for (existing, path) in files {
            let bytes = match tree.read(path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let root = &tree.0;
                    self.unread.push(format!(
                        "{root}{path} cannot be read: {error}; run it as root, or write what it has: --interface, --clients"
                    ));
                    continue;
                }
            };
            let named = Named {
                path: path.clone(),
                text: text_of(&bytes),
            };
            let (daemon, unread) = daemon(*existing, &named, tree, "");
            if daemon.role == Role::Server {
                self.unread.extend(unread);
            }
            self.configurations.push(Configuration {
                existing: *existing,
                path: path.clone(),
                daemon,
                is_running: false,
            });
        }
    }

    /// Reads the DNS servers that this host asks: those behind systemd-resolved, if its stub is asked.
    fn read_resolvers(&mut self, tree: &Tree) {
        for path in RESOLVERS {
            if let Ok(bytes) = tree.read(path) {
                let text = text_of(&bytes);
                let lines = (1..).zip(text.lines());
                let found = lines.filter_map(|(line, text)| {
                    let mut words = text.split_whitespace();
                    let address = words.next().filter(|it| *it == "nameserver");
                    let value = address.and(words.next())?.parse().ok()?;
                    let file = path.to_owned();
                    let place = Place { file, line };
                    Some(Found { value, place })
                });
                self.resolvers = found.collect();
            }
            if !self.resolvers.is_empty() && !self.resolvers.iter().all(|it| it.value.is_loopback())
            {
                break;
            }
        }
        self.resolvers.retain(|it| !it.value.is_loopback());
    }

    /// Returns the configurations of servers.
    pub(super) fn servers(&self) -> impl Iterator<Item = &Configuration> {
        let configurations = self.configurations.iter();
        configurations.filter(|it| it.daemon.role == Role::Server)
    }

    /// Returns them for programs.
    pub(super) fn as_json(&self) -> Value {
        let configurations = self.configurations.iter().map(|it| {
            json!({
                "kind": it.existing.name(),
                "file": it.path,
                "role": match it.daemon.role {
                    Role::Server => "server",
                    Role::Peer => "peer",
                },
                "running": it.is_running,
                "device": it.daemon.device.as_ref().map(found_json),
                "pools": all_json(&it.daemon.pools),
                "networks": all_json(&it.daemon.networks),
                "routes": all_json(&it.daemon.routes),
                "dns": all_json(&it.daemon.dns),
                "client_to_client": it.daemon.client_to_client.as_ref().map(Place::to_string),
            })
        });
        let interfaces = self.survey.interfaces.iter().map(|it| {
            json!({
                "name": it.name,
                "kind": it.kind.name(),
                "addresses": it.addresses,
                "networks": it.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        });
        let routes = self.survey.routes.iter();
        let routes =
            routes.map(|it| json!({ "prefix": it.prefix.to_string(), "interface": it.interface }));
        json!({
            "configurations": configurations.collect::<Vec<_>>(),
            "interfaces": interfaces.collect::<Vec<_>>(),
            "routes": routes.collect::<Vec<_>>(),
            "resolvers": all_json(&self.resolvers),
            "firewalls": self.firewalls,
        })
    }
}

fn all_json<T: ToString>(found: &[Found<T>]) -> Vec<Value> {
    found.iter().map(found_json).collect()
}

fn found_json<T: ToString>(found: &Found<T>) -> Value {
    json!({ "value": found.value.to_string(), "at": found.place.to_string() })
}

/// Programs of VPN servers, those whose configurations are read first.
const PROGRAMS: &[&str] = &[
    "openvpn",
    "ocserv",
    "wireguard-go",
    "charon",
    "charon-systemd",
    "pppd",
    "xl2tpd",
    "accel-pppd",
    "vpnserver",
];

/// Files that name a host's DNS servers; the second has those that systemd-resolved asks, whose stub the first names.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// The files of a host: below this folder, by the paths that they have on it.
struct Tree(String);

impl Files for Tree {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Disk.read(&format!("{}{path}", self.0))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        Disk.list(&format!("{}{folder}", self.0))
    }
}

/// Returns the configuration files in the usual places.
fn usual_files(tree: &Tree, unread: &mut Vec<String>) -> Vec<(Existing, String)> {
    let mut files = Vec::new();
    for (existing, folder) in [
        (Existing::OpenVpn, "/etc/openvpn"),
        (Existing::OpenVpn, "/etc/openvpn/server"),
        (Existing::WireGuard, "/etc/wireguard"),
    ] {
        let root = &tree.0;
        if !Path::new(&format!("{root}{folder}")).exists() {
            continue;
        }
        match tree.list(folder) {
            Ok(names) => {
                let names = names.iter().filter(|name| {
                    Path::new(name)
                        .extension()
                        .is_some_and(|extension| extension == "conf")
                });
                files.extend(names.map(|name| (existing, format!("{folder}/{name}"))));
            }
            Err(error) => unread.push(format!(
                "{root}{folder} cannot be listed: {error}; run it as root, or write what is there: --interface, --clients"
            )),
        }
    }
    if Path::new(&format!("{}{OCSERV_DEFAULT}", tree.0)).exists() {
        files.push((Existing::Ocserv, OCSERV_DEFAULT.to_owned()));
    }
    files
}

//! [`Draft`]: the policy that follows from what a host tells and what its operator says, each value with its origin.
//!
//! The operator's answers come first; of what is found, configurations come before interfaces. Whatever is found and not
//! taken is a remark.

mod networks;

use std::net::IpAddr;

use ipnet::IpNet;

use super::answers::{Answers, Service};
use super::facts::{Configuration, Facts};
use crate::address::{Family, PrefixSet, special};
use crate::gateway::divert::names;
use crate::gateway::host::survey::{Interface, Route};
use crate::policy::GatewayOptions;
use crate::verify::against::{Existing, Found, Role};

/// A value of the policy, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<T> {
    pub(super) value: T,
    pub(super) origin: String,
}

/// The policy to write.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) interfaces: Vec<Line<String>>,
    pub(super) clients: Vec<Line<IpNet>>,
    pub(super) corporate: Vec<Line<IpNet>>,
    /// Pushed routes that are public: not taken unless the operator says so.
    pub(super) doubtful: Vec<Line<IpNet>>,
    pub(super) dns_servers: Vec<Line<IpAddr>>,
    /// Why everything enters the tunnel, if it does.
    pub(super) full: Option<String>,
    pub(super) gateways: Vec<Line<IpAddr>>,
    pub(super) sip_domains: Vec<String>,
    pub(super) servers: Vec<Service>,
    pub(super) publics: Vec<Service>,
    pub(super) teams: bool,
    pub(super) enforce: bool,
    /// The VPN servers whose configurations were taken.
    pub(super) daemons: Vec<(Existing, String)>,
    /// The concentrator's addresses in the tunnel.
    pub(super) own: Vec<IpAddr>,
    /// Warnings for the operator.
    pub(super) remarks: Vec<String>,
}

/// Origin of what the operator says.
pub(super) const SAID: &str = "";

impl Draft {
    /// Works it out.
    pub(super) fn new(facts: &Facts, answers: &Answers) -> Self {
        let mut draft = Self {
            sip_domains: answers.sip_domains.clone(),
            servers: answers.servers.clone(),
            publics: answers.publics.clone(),
            teams: answers.teams,
            enforce: answers.enforce,
            ..Self::default()
        };
        let servers = draft.choose_servers(facts, answers);
        for server in &servers {
            draft.take_server(server, facts);
        }
        draft.take_interfaces(facts, &servers, answers);
        if let [_, ..] = answers.interfaces[..] {
            draft.interfaces = said(&answers.interfaces);
        }
        if let [_, ..] = answers.clients[..] {
            draft.clients = said(&answers.clients);
        }
        draft.clients = widest(std::mem::take(&mut draft.clients));
        draft.name_other_networks(facts, &servers);
        draft.take_corporate(facts, &servers, answers);
        draft.take_dns_servers(facts, &servers, answers);
        draft.take_tunnel(facts, &servers, answers);
        let vpn = |it: &&Interface| draft.is_vpn(&it.name);
        let interfaces = facts.survey.interfaces.iter().filter(vpn);
        let clients = draft.client_set();
        let own = interfaces.flat_map(|it| it.addresses.clone());
        draft.own = own.filter(|it| clients.contains(*it)).collect();
        draft
    }

    /// True if the VPN gives its clients no IPv6.
    pub(super) fn is_v4_alone(&self) -> bool {
        !self.client_set().has_v6()
    }

    fn client_set(&self) -> PrefixSet {
        self.clients.iter().map(|it| it.value).collect()
    }

    /// True if the interface is one of those to be judged.
    fn is_vpn(&self, interface: &str) -> bool {
        let mut patterns = self.interfaces.iter();
        patterns.any(|it| names(&it.value, interface))
    }

    /// Chooses the servers to take: those with an interface that the operator names, or those that run, if there is a VPN at all.
    fn choose_servers<'f>(
        &mut self,
        facts: &'f Facts,
        answers: &Answers,
    ) -> Vec<&'f Configuration> {
        let is_tunnel = |it: &Interface| {
            it.kind.is_tunnel() && !it.networks.is_empty() && it.name != GatewayOptions::DEVICE
        };
        let one_runs = facts.survey.interfaces.iter().any(is_tunnel)
            || facts.servers().any(|it| it.is_running);
        let peers = facts.configurations.iter();
        for peer in peers.filter(|it| it.daemon.role == Role::Peer) {
            self.remarks.push(format!(
                "{} is left out: by it this host is a client of another one, or an end of a link",
                peer.path
            ));
        }
        let mut chosen = Vec::new();
        for server in facts.servers() {
            let path = &server.path;
            let device = server.pattern();
            let is_meant = |said: &String| names(device, said) || names(said, device);
            if !answers.interfaces.is_empty() {
                if answers.interfaces.iter().any(is_meant) {
                    chosen.push(server);
                }
            } else if one_runs && !server.is_running {
                self.remarks.push(format!(
                    "{path} is left out: no {} runs with it, and another VPN does; to take it, name its interface: --interface '{device}'",
                    server.existing.name()
                ));
            } else {
                if !server.is_running && !facts.is_copy {
                    self.remarks.push(format!(
                        "{path} is taken as it stands: no {} runs with it here",
                        server.existing.name()
                    ));
                }
                chosen.push(server);
            }
        }
        chosen
    }

    /// Takes the interface and the clients of a server.
    fn take_server(&mut self, server: &Configuration, facts: &Facts) {
        let Configuration {
            existing,
            path,
            daemon,
            ..
        } = server;
        self.daemons.push((*existing, path.clone()));
        let name = existing.name();
        let place = daemon.device.as_ref().map(|it| it.place.to_string());
        let origin = format!("{name}, {}", place.as_ref().unwrap_or(path));
        let own = server.interfaces(&facts.survey);
        let pattern = match own[..] {
            [one] if server.is_numbered() => one.name.clone(),
            _ => server.pattern().to_owned(),
        };
        if server.is_numbered() && pattern.ends_with('*') {
            self.remarks.push(format!(
                "{path} has no number for its interface, and none is there: \"{pattern}\" stands for whatever begins so; write the \
                 one that is its own: --interface"
            ));
        }
        if !self.is_vpn(&pattern) {
            self.interfaces.push(Line {
                value: pattern,
                origin,
            });
        }
        for pool in &daemon.pools {
            self.clients.push(Line {
                value: pool.value,
                origin: format!("{name}, {}", pool.place),
            });
        }
        for interface in &own {
            self.compare_pools(interface, server);
        }
        if daemon.pools.is_empty() && own.is_empty() {
            self.remarks.push(format!(
                "{path} has no network for clients: write the pools that another program gives out: --clients PREFIX"
            ));
        }
        if let Some(place) = &daemon.client_to_client {
            self.remarks.push(format!(
                "{place} has client-to-client: {name} forwards between its clients itself, and calls between them stay in the tunnel; \
                 take it out and restart {name}"
            ));
        }
    }

    /// Compares the networks of a server's interface with its pools; takes those of a family without pools.
    fn compare_pools(&mut self, interface: &Interface, server: &Configuration) {
        let path = &server.path;
        // Addresses of single clients may lie anywhere.
        let pools = server.daemon.pools.iter().map(|it| it.value);
        let is_single = |it: &IpNet| it.prefix_len() == it.max_prefix_len();
        let (single, networks): (Vec<IpNet>, Vec<IpNet>) = pools.partition(is_single);
        let pools = if networks.is_empty() {
            single
        } else {
            networks
        };
        let pools: PrefixSet = pools.into_iter().collect();
        for family in Family::BOTH {
            let of_family = |it: &&IpNet| Family::from(it.addr()) == family;
            let networks: Vec<&IpNet> = interface.networks.iter().filter(of_family).collect();
            let pools = family.of(&pools);
            let name = &interface.name;
            if networks.is_empty() || networks.iter().any(|it| pools.overlaps(**it)) {
                continue;
            }
            if pools.is_empty() {
                self.clients.extend(networks.iter().map(|it| Line {
                    value: **it,
                    origin: format!("network of {name}"),
                }));
            } else {
                self.remarks.push(format!(
                    "{name} is in {}, and the clients of {path} are in {pools}: it runs with another configuration; restart it, or \
                     write its clients: --clients",
                    networks[0]
                ));
            }
        }
    }

    /// Takes the tunnels of this host that no configuration tells of.
    fn take_interfaces(&mut self, facts: &Facts, servers: &[&Configuration], answers: &Answers) {
        let said = |name: &str| answers.interfaces.iter().any(|it| names(it, name));
        for interface in &facts.survey.interfaces {
            let name = &interface.name;
            let is_known = self.is_vpn(name) && !servers.is_empty();
            let is_candidate = match answers.interfaces.is_empty() {
                true => interface.kind.is_tunnel(),
                false => said(name),
            };
            if is_known || !is_candidate || name == GatewayOptions::DEVICE {
                continue;
            }
            let is_peer = facts.configurations.iter().any(|it| {
                let device = it.daemon.device.as_ref();
                // One that is numbered by its daemon may be another's.
                it.daemon.role == Role::Peer
                    && !it.is_numbered()
                    && device.is_some_and(|it| names(&it.value, name))
            });
            let networks = networks::of_clients(interface, &facts.survey.routes);
            if !said(name) {
                if is_peer {
                    continue;
                }
                if networks.is_empty() || name.starts_with("tailscale") {
                    self.remarks.push(format!(
                        "{name} is left out: nothing tells the addresses of clients there; if it has clients: --interface {name} \
                         --clients PREFIX"
                    ));
                    continue;
                }
                self.remarks.push(format!(
                    "no configuration of {name} was read: that its clients are in {} is known by its address and routes alone",
                    networks::listed(&networks)
                ));
            }
            self.interfaces.push(Line {
                value: name.clone(),
                origin: format!("an interface of this host ({})", interface.kind.name()),
            });
            self.clients.extend(networks.into_iter().map(|value| Line {
                value,
                origin: format!("network of {name}"),
            }));
        }
    }

    /// Names networks that are routed into the tunnel, and are not those of clients.
    fn name_other_networks(&mut self, facts: &Facts, servers: &[&Configuration]) {
        let clients = self.client_set();
        let of_files = servers.iter().flat_map(|it| &it.daemon.networks);
        let of_files = of_files.map(|it| (it.value, it.place.to_string()));
        let routes = facts.survey.routes.iter();
        // The network of an interface's own address was compared with the pools.
        let interfaces = &facts.survey.interfaces;
        let is_own = |route: &Route| {
            let mut networks = interfaces.iter().flat_map(|it| &it.networks);
            networks.any(|it| *it == route.prefix)
        };
        let routes = routes.filter(|it| self.is_vpn(&it.interface) && !is_own(it));
        let of_host = routes.map(|it| {
            (
                it.prefix,
                format!("a route of this host by {}", it.interface),
            )
        });
        let mut named: Vec<IpNet> = Vec::new();
        let mut remarks = Vec::new();
        for (network, origin) in of_files.chain(of_host) {
            let is_other = networks::is_internal(&network) && !clients.covers(network);
            if is_other && !named.contains(&network) {
                named.push(network);
                remarks.push(format!(
                    "{network} is led into the tunnel ({origin}), and no client is known to have an address there; if some have: \
                     --clients {network}, beside the others"
                ));
            }
        }
        self.remarks.extend(remarks);
    }

    /// Takes the internal networks: what clients are led to, and what this host routes elsewhere than to them.
    fn take_corporate(&mut self, facts: &Facts, servers: &[&Configuration], answers: &Answers) {
        if let [_, ..] = answers.corporate[..] {
            self.corporate = said(&answers.corporate);
            return;
        }
        let clients = self.client_set();
        let mut found = Vec::new();
        for server in servers {
            for Found { value, place } in &server.daemon.routes {
                let line = Line {
                    value: *value,
                    origin: format!("clients are given this route, {place}"),
                };
                let is_other = !networks::is_half_of_everything(value) && !clients.covers(*value);
                if is_other && networks::is_internal(value) {
                    found.push(line);
                } else if is_other && !special::not_public().covers(*value) {
                    self.doubtful.push(line);
                }
            }
        }
        for line in &self.doubtful {
            self.remarks.push(format!(
                "{} is not taken for internal: {}, and its addresses are public; if they are yours, uncomment it in \
                 corporate.subnets",
                line.value, line.origin
            ));
        }
        for route in &facts.survey.routes {
            let (prefix, interface) = (&route.prefix, &route.interface);
            if !networks::is_internal(prefix)
                || clients.covers(*prefix)
                || self.is_vpn(interface)
                || interface == GatewayOptions::DEVICE
            {
                continue;
            }
            if networks::is_of_containers(interface) {
                self.remarks.push(format!(
                    "{prefix} at {interface} is left out: it has containers or virtual machines of this host"
                ));
                continue;
            }
            found.push(Line {
                value: *prefix,
                origin: format!("this host has a route by {interface}"),
            });
        }
        self.corporate = widest(found);
        if self.corporate.is_empty() {
            self.remarks.push(
                "no internal network was found, so that media to offices is not judged: write them: --corporate 10.0.0.0/8"
                    .to_owned(),
            );
        }
    }

    /// Takes the DNS servers that clients are given, or those of this host.
    fn take_dns_servers(&mut self, facts: &Facts, servers: &[&Configuration], answers: &Answers) {
        if let [_, ..] = answers.dns_servers[..] {
            self.dns_servers = said(&answers.dns_servers);
            return;
        }
        let given = servers.iter().flat_map(|it| &it.daemon.dns);
        let given = given.map(|it| (it, "clients are given this server"));
        let mut lines: Vec<Line<IpAddr>> = Vec::new();
        let asked = facts.resolvers.iter();
        let asked = asked.map(|it| (it, "this host asks this server"));
        for (Found { value, place }, why) in given {
            let origin = format!("{why}, {place}");
            if special::is_public(*value) {
                self.remarks.push(format!(
                    "DNS server {value} is not taken: {origin}, and it is public, so it knows no internal names"
                ));
            } else if !lines.iter().any(|it| it.value == *value) {
                lines.push(Line {
                    value: *value,
                    origin,
                });
            }
        }
        if lines.is_empty() {
            for (Found { value, place }, why) in
                asked.filter(|(it, _)| !special::is_public(it.value))
            {
                lines.push(Line {
                    value: *value,
                    origin: format!("{why}, {place}"),
                });
            }
        }
        self.dns_servers = lines;
    }

    /// Decides what enters the tunnel: everything, if every server leads everything into it.
    fn take_tunnel(&mut self, facts: &Facts, servers: &[&Configuration], answers: &Answers) {
        self.gateways = said(&answers.gateways);
        let full = |server: &&&Configuration| {
            let routes = &server.daemon.routes;
            let whole = |it: &Found<IpNet>| networks::is_half_of_everything(&it.value);
            match server.existing {
                Existing::Ocserv => routes.is_empty() || routes.iter().any(whole),
                _ => routes.iter().any(whole),
            }
        };
        let leading: Vec<&&Configuration> = servers.iter().filter(full).collect();
        let (Some(first), false) = (leading.first(), servers.is_empty()) else {
            return;
        };
        if leading.len() < servers.len() {
            self.remarks.push(format!(
                "{} leads everything into the tunnel, and others do not: routes.tunnel = \"split\" is for all of them",
                first.path
            ));
            return;
        }
        self.full = Some(format!("{} leads everything into it", first.path));
        if self.gateways.is_empty() {
            self.gateways = networks::public_addresses(&facts.survey);
        }
        if self.gateways.is_empty() {
            self.remarks.push(
                "the tunnel takes everything, and the public address of this VPN server is not known: write it, so that routes keep \
                 the tunnel's own packets outside: --gateway ADDRESS"
                    .to_owned(),
            );
        }
    }
}

fn said<T: Clone>(values: &[T]) -> Vec<Line<T>> {
    let lines = values.iter().map(|value| Line {
        value: value.clone(),
        origin: SAID.to_owned(),
    });
    lines.collect()
}

/// Leaves out prefixes that lie in another one, and repeated ones.
fn widest(lines: Vec<Line<IpNet>>) -> Vec<Line<IpNet>> {
    let mut kept: Vec<Line<IpNet>> = Vec::new();
    for line in &lines {
        let contains = |it: &IpNet| it.contains(&line.value);
        let is_inside = lines
            .iter()
            .any(|it| contains(&it.value) && it.value != line.value);
        if !is_inside && !kept.iter().any(|it| it.value == line.value) {
            kept.push(line.clone());
        }
    }
    kept
}

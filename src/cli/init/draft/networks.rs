//! Networks of a host: which are internal, which are those of clients.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Line;
use crate::address::{Family, PrefixSet, special};
use crate::gateway::host::survey::{Interface, Route, Survey};

/// True for private addresses (RFC 1918) and unique local ones (RFC 4193).
pub(super) fn is_internal(prefix: &IpNet) -> bool {
    let internal = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
    let mut internal = internal.iter().filter_map(|it| it.parse::<IpNet>().ok());
    internal.any(|it| it.contains(prefix))
}

/// True for a default route, and for one of those that stand for one.
pub(super) fn is_half_of_everything(prefix: &IpNet) -> bool {
    prefix.prefix_len() <= 1
}

/// True for a bridge that programs for containers and virtual machines make.
pub(super) fn is_of_containers(interface: &str) -> bool {
    let bridge = interface.strip_prefix("br-");
    let is_docker =
        bridge.is_some_and(|it| it.len() == 12 && it.chars().all(|char| char.is_ascii_hexdigit()));
    let known = [
        "docker", "podman", "cni", "virbr", "lxcbr", "lxdbr", "veth", "flannel", "cali",
    ];
    is_docker || known.iter().any(|it| interface.starts_with(it))
}

/// Returns the networks that clients at an interface have addresses of: those of its addresses; at a point-to-point
/// interface those that are routed there and have one of its ends.
pub(super) fn of_clients(interface: &Interface, routes: &[Route]) -> Vec<IpNet> {
    let is_single = |it: &IpNet| it.prefix_len() == it.max_prefix_len();
    let mut found = Vec::new();
    for family in Family::BOTH {
        let networks = interface.networks.iter();
        let (ends, networks): (Vec<&IpNet>, Vec<&IpNet>) = networks
            .filter(|it| Family::from(it.addr()) == family)
            .partition(|it| is_single(it));
        if let [_, ..] = networks[..] {
            found.extend(networks);
            continue;
        }
        let own = interface.addresses.iter().map(|it| IpNet::from(*it));
        let ends: PrefixSet = ends.into_iter().copied().chain(own).collect();
        let ends = family.of(&ends);
        let routed = routes.iter().filter(|it| it.interface == interface.name);
        let around = routed.filter(|it| is_internal(&it.prefix) && ends.overlaps(it.prefix));
        let around = around.map(|it| it.prefix).collect::<PrefixSet>();
        found.extend(around.prefixes().filter(|it| !is_single(it)));
    }
    found
}

/// Returns the public addresses at the interfaces that lead to the Internet.
pub(super) fn public_addresses(survey: &Survey) -> Vec<Line<IpAddr>> {
    let default = |name: &str| {
        let mut routes = survey.routes.iter();
        routes.any(|it| it.interface == name && it.prefix.prefix_len() == 0)
    };
    let outside = survey.interfaces.iter().filter(|it| default(&it.name));
    let addresses = outside.flat_map(|it| it.addresses.iter().map(move |address| (it, address)));
    let public = addresses.filter(|(_, address)| special::is_public(**address));
    let lines = public.map(|(interface, address)| Line {
        value: *address,
        origin: format!(
            "address of {}, by which this host reaches the Internet",
            interface.name
        ),
    });
    lines.collect()
}

/// Returns prefixes for a sentence.
pub(super) fn listed(prefixes: &[IpNet]) -> String {
    let words: Vec<String> = prefixes.iter().map(IpNet::to_string).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::host::survey::InterfaceKind;

    fn prefix(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn tunnel(addresses: &[&str], networks: &[&str]) -> Interface {
        Interface {
            name: "tun0".to_owned(),
            kind: InterfaceKind::Tun,
            addresses: addresses
                .iter()
                .map(|it| it.parse().expect("an address"))
                .collect(),
            networks: networks.iter().map(|it| prefix(it)).collect(),
        }
    }

    #[test]
    fn clients_are_in_the_network_of_the_address() {
        let subnet = tunnel(&["10.8.0.1", "fd00:8::1"], &["10.8.0.0/24", "fd00:8::/64"]);
        assert_eq!(
            of_clients(&subnet, &[]),
            [prefix("10.8.0.0/24"), prefix("fd00:8::/64")]
        );
    }

    #[test]
    fn at_a_point_to_point_interface_they_are_where_its_route_leads() {
        let link = tunnel(&["10.8.0.1"], &["10.8.0.2/32"]);
        let route = |text: &str, interface: &str| Route {
            prefix: prefix(text),
            interface: interface.to_owned(),
        };
        let routes = [
            route("10.8.0.2/32", "tun0"),
            route("10.8.0.0/24", "tun0"),
            route("10.9.0.0/24", "tun0"),
            route("10.0.0.0/8", "eth0"),
        ];
        assert_eq!(of_clients(&link, &routes), [prefix("10.8.0.0/24")]);
        assert!(of_clients(&link, &routes[3..]).is_empty());
    }

    #[test]
    fn bridges_of_containers_are_known_by_their_names() {
        assert!(is_of_containers("docker0"));
        assert!(is_of_containers("br-0123456789ab"));
        assert!(!is_of_containers("br-lan"));
        assert!(!is_of_containers("eth0"));
    }
}

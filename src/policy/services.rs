//! Well-known services: names for ports, and what breaks when a port range for media covers them.

use crate::policy::value::{PortRange, Problem, Protocol, ProtocolSet, parse_ports};

/// A service that is usually found at certain ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Short name, e.g. `RDP`.
    pub name: &'static str,
    /// Its transport protocols.
    pub protocols: ProtocolSet,
    /// Its ports.
    pub ports: PortRange,
    /// The loss to users when clients cannot reach it; `None` for media itself and for services that media rules do not endanger.
    pub breaks: Option<&'static str>,
}

/// Name of the service usually found at `port`; the most specific where ranges nest.
///
/// ```
/// use offramp::policy::{Protocol, services};
/// assert_eq!(services::name(Protocol::Tcp, 3389), Some("RDP"));
/// assert_eq!(services::name(Protocol::Tcp, 49200), Some("Windows RPC"));
/// assert_eq!(services::name(Protocol::Udp, 40000), None);
/// ```
pub fn name(protocol: Protocol, port: u16) -> Option<&'static str> {
    let at_port = SERVICES
        .iter()
        .filter(|service| service.protocols.contains(protocol) && service.ports.contains(port));
    let most_specific = at_port.min_by_key(|service| service.ports.last() - service.ports.first());
    most_specific.map(|service| service.name)
}

/// The service called `name`, in any case.
///
/// ```
/// use offramp::policy::services;
/// assert_eq!(services::named("rdp").map(|service| service.ports.first()), Some(3389));
/// assert!(services::named("nonsense").is_none());
/// ```
pub fn named(name: &str) -> Option<&'static Service> {
    SERVICES
        .iter()
        .find(|service| service.name.eq_ignore_ascii_case(name))
}

/// Reads a port or a range, as [`parse_ports`] does; the name of a service is refused with its ports.
pub(in crate::policy) fn parse_ports_of_services(text: &str) -> Result<PortRange, Problem> {
    parse_ports(text).map_err(|problem| match named(text.trim()) {
        Some(service) => problem.help(format!(
            "did you mean \"{}\", {}?",
            service.ports, service.name
        )),
        None => problem,
    })
}

const fn at(
    name: &'static str,
    protocols: ProtocolSet,
    first: u16,
    last: u16,
    breaks: Option<&'static str>,
) -> Service {
    let ports = match PortRange::new(first, last) {
        Some(ports) => ports,
        None => panic!("a range of the table ends before it begins"),
    };
    Service {
        name,
        protocols,
        ports,
        breaks,
    }
}

use ProtocolSet::{Both, Tcp, Udp};

/// The services known by name, by rising port.
///
/// Sources: IANA's service name registry; Microsoft's "Service overview and network port requirements for Windows";
/// for Lync, Skype for Business and Teams, Microsoft's port tables.
pub const SERVICES: &[Service] = &[
    at("FTP", Tcp, 20, 21, None),
    at("SSH", Tcp, 22, 22, None),
    at("SMTP", Tcp, 25, 25, None),
    at("DNS", Both, 53, 53, None),
    at("DHCP", Udp, 67, 68, None),
    at("HTTP", Tcp, 80, 80, None),
    at("Kerberos", Both, 88, 88, None),
    at("NTP", Udp, 123, 123, None),
    at("RPC endpoint mapper", Tcp, 135, 135, None),
    at("NetBIOS", Both, 137, 139, None),
    at("SNMP", Udp, 161, 162, None),
    at("LDAP", Both, 389, 389, None),
    at("HTTPS", Tcp, 443, 443, None),
    at("QUIC", Udp, 443, 443, None),
    at("SMB", Tcp, 445, 445, None),
    at("Kerberos password", Both, 464, 464, None),
    at("IKE", Udp, 500, 500, None),
    at("LDAPS", Tcp, 636, 636, None),
    at("DNS over TLS", Both, 853, 853, None),
    at("IMAPS", Tcp, 993, 993, None),
    at("OpenVPN", Both, 1194, 1194, None),
    at(
        "SQL Server",
        Tcp,
        1433,
        1433,
        Some("databases and the applications on them"),
    ),
    at(
        "SQL Server Browser",
        Udp,
        1434,
        1434,
        Some("named SQL Server instances"),
    ),
    at(
        "Oracle",
        Tcp,
        1521,
        1521,
        Some("databases and the applications on them"),
    ),
    at("RADIUS", Udp, 1812, 1813, None),
    at("NFS", Both, 2049, 2049, Some("file shares of Unix servers")),
    at(
        "Squid proxy",
        Tcp,
        3128,
        3128,
        Some("web access through a proxy"),
    ),
    at(
        "LDAP global catalog",
        Tcp,
        3268,
        3269,
        Some("Outlook's address book and Active Directory searches"),
    ),
    at(
        "MySQL",
        Tcp,
        3306,
        3306,
        Some("databases and the applications on them"),
    ),
    at("RDP", Both, 3389, 3389, Some("Remote Desktop")),
    at("RDP Shortpath", Udp, 3390, 3390, None),
    at("STUN/TURN", Both, 3478, 3478, None),
    at("Teams media relay", Udp, 3479, 3481, None),
    at("IPsec NAT traversal", Udp, 4500, 4500, None),
    at("SIP", Both, 5060, 5060, None),
    at("SIP over TLS", Tcp, 5061, 5061, None),
    at("mDNS", Udp, 5353, 5353, None),
    at(
        "PostgreSQL",
        Tcp,
        5432,
        5432,
        Some("databases and the applications on them"),
    ),
    at("VNC", Tcp, 5900, 5900, Some("remote control")),
    at(
        "WinRM",
        Tcp,
        5985,
        5986,
        Some("PowerShell remoting and management"),
    ),
    at("Lync file transfer", Tcp, 6891, 6901, None),
    at(
        "HTTP alternate",
        Tcp,
        8080,
        8080,
        Some("proxies and internal web applications"),
    ),
    at(
        "HTTPS alternate",
        Tcp,
        8443,
        8443,
        Some("internal web applications"),
    ),
    at("WSUS", Tcp, 8530, 8531, Some("Windows updates")),
    at(
        "AD Web Services",
        Tcp,
        9389,
        9389,
        Some("Active Directory's PowerShell module"),
    ),
    at(
        "Windows RPC",
        Tcp,
        49152,
        65535,
        Some("Active Directory, DFS, printing, DCOM"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_rises_by_port() {
        let firsts: Vec<_> = SERVICES
            .iter()
            .map(|service| service.ports.first())
            .collect();
        assert!(firsts.is_sorted(), "{firsts:?}");
    }

    #[test]
    fn a_port_has_the_name_of_its_protocol() {
        assert_eq!(name(Protocol::Tcp, 443), Some("HTTPS"));
        assert_eq!(name(Protocol::Udp, 443), Some("QUIC"));
        assert_eq!(name(Protocol::Udp, 1433), None);
        assert_eq!(name(Protocol::Tcp, 65535), Some("Windows RPC"));
    }
}

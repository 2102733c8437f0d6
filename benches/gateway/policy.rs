//! The policy of the benchmark in each peer's form: a policy file, a table for nftables, prefixes for eBPF.
//!
//! All forms give the same verdicts: servers and media are dropped, except for one allowed range of ports, and public
//! services are counted. The peers omit IPv6, fragments, IPv4 options and reasons, which is in their favor.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The length of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Ten prefixes.
    Ten,
    /// Ten thousand.
    TenThousand,
}

/// The sets of prefixes that rules refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// `vpn.client_subnets`.
    Clients,
    /// `corporate.subnets`.
    Corporate,
    /// Addresses of `[[server]]`.
    Servers,
    /// Addresses of `[[public]]`.
    Publics,
    /// The addresses where `[[allow]]` lets media ports pass.
    Allowed,
}

impl Set {
    pub(crate) const ALL: [Self; 5] = [
        Self::Clients,
        Self::Corporate,
        Self::Servers,
        Self::Publics,
        Self::Allowed,
    ];

    /// Its name in nftables.
    fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Corporate => "corporate",
            Self::Servers => "servers",
            Self::Publics => "publics",
            Self::Allowed => "allowed",
        }
    }

    /// Its prefixes.
    pub(crate) fn prefixes(self, length: Length) -> Vec<Ipv4Net> {
        let parse = |texts: &[&str]| -> Vec<Ipv4Net> {
            let prefixes = texts.iter().map(|text| text.parse());
            prefixes.map(|it| it.expect("a prefix")).collect()
        };
        match self {
            Self::Clients => parse(&["172.16.1.0/24"]),
            Self::Corporate => parse(&["10.0.0.0/8"]),
            Self::Servers => {
                let mut servers = parse(&[
                    "10.1.0.10/32",
                    "10.1.0.20/31",
                    "10.1.0.30/32",
                    "10.2.0.5/32",
                ]);
                if length == Length::TenThousand {
                    servers.extend((0..MORE_SERVERS).map(more_servers));
                }
                servers
            }
            Self::Publics => parse(&["167.55.49.32/30", "167.55.49.36/32", "52.112.0.0/14"]),
            Self::Allowed => parse(&["10.20.0.0/24"]),
        }
    }
}

/// Returns the policy file, with `divert` as `[gateway]` has it.
pub(crate) fn as_file(length: Length, diversion: &str, divert: &str) -> String {
    let (first, last) = ALLOWED_PORTS;
    let allowed = Set::Allowed.prefixes(length);
    let allow = format!(
        "[[allow]]\nname = \"an application\"\nto = [\"{}\"]\nports = [\"{first}-{last}\"]\n",
        allowed[0]
    );
    with(&allow, length, diversion, divert)
}

/// Returns the policy file that allows nothing and recognizes media instead.
pub(crate) fn as_file_of_media(length: Length, diversion: &str, divert: &str) -> String {
    with("[media]\nmatch = \"ice\"\n", length, diversion, divert)
}

fn with(section: &str, length: Length, diversion: &str, divert: &str) -> String {
    let list = |set: Set| {
        let prefixes = set.prefixes(length);
        let quoted: Vec<String> = prefixes.iter().map(|it| format!("\"{it}\"")).collect();
        quoted.join(", ")
    };
    let [clients, corporate, servers, publics, _] = Set::ALL.map(list);
    format!(
        r#"[vpn]
interfaces = ["tun0", "gso0"]
client_subnets = [{clients}]
[corporate]
subnets = [{corporate}]
[[server]]
name = "Lync servers"
addresses = [{servers}]
{section}[[public]]
name = "Edge and Teams"
addresses = [{publics}]
[gateway]
diversion = "{diversion}"
divert = "{divert}"
"#
    )
}

/// Writes the files for `nft -f`, in order: interval sets, one rule per check at the forward hook, and the rest of long
/// sets, since netlink takes a limited amount at once from an unprivileged user.
pub(crate) fn as_nftables(length: Length) -> Vec<String> {
    let mut table = String::from("table ip bench {\n");
    let mut rest = Vec::new();
    for set in Set::ALL {
        let name = set.name();
        let prefixes = set.prefixes(length);
        let mut parts = prefixes.chunks(AT_ONCE).map(|part| {
            let prefixes: Vec<String> = part.iter().map(|it| it.to_string()).collect();
            prefixes.join(", ")
        });
        let first = parts.next().unwrap_or_default();
        // Writing to a string cannot fail, here and below.
        _ = writeln!(
            table,
            "set {name} {{ type ipv4_addr; flags interval; elements = {{ {first} }}; }}"
        );
        rest.extend(parts.map(|part| format!("add element ip bench {name} {{ {part} }}\n")));
    }
    let (first, last) = ALLOWED_PORTS;
    _ = write!(
        table,
        "chain judge {{
            type filter hook forward priority filter; policy accept;
            ip saddr != @clients accept
            ip daddr @publics counter accept
            meta l4proto != {{ tcp, udp }} accept
            ip daddr @servers counter drop
            ip daddr @allowed th dport {first}-{last} accept
            th dport 1024-65535 ip daddr @corporate counter drop
            th dport 1024-65535 ip daddr @clients counter drop
        }}
    }}\n"
    );
    rest.insert(0, table);
    rest
}

/// Prefixes of a set in one file for nftables.
const AT_ONCE: usize = 1_000;

/// The ports that `[[allow]]` lifts, first and last.
pub(crate) const ALLOWED_PORTS: (u16, u16) = (50_000, 50_099);

/// The prefixes that the long policy has in addition to the short one.
const MORE_SERVERS: u32 = 9_990;

/// Returns one of them: no two are adjacent, so that none can be merged.
fn more_servers(number: u32) -> Ipv4Net {
    let first = Ipv4Addr::new(10, 128, 0, 0).to_bits();
    Ipv4Net::new(Ipv4Addr::from_bits(first + number * 64), 28).expect("at most 32 bits")
}

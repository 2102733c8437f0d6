//! nftables: the filter's verdicts as a table of the kernel's own, each packet by itself.
//!
//! ```text
//!  forward ──iifname──▶ from_vpn ──▶ judge ──▶ with_ports      TCP and UDP that show their ports
//!                        │ malformed  │ not-a-client, source-routed, public
//!                                     └──▶ tails               later IPv4 fragments
//! ```
//!
//! One file replaces the table in one transaction. A counter stands behind every verdict, with the reason as its comment.
//! No rule covers packets that the kernel drops before its forward hook (header lengths, checksums, invalid options).

use std::fmt::Write as _;

use super::nft_text::{NftSet, accept_or_drop, comment, header, nfproto, one_or_set};
use super::{head, one_line};
use crate::address::{Family, PrefixSet};
use crate::plan::{PacketRule, Ruleset, Traffic};
use crate::policy::{ProtocolSet, UnknownSource};
use crate::render::nft::NftTable;
use crate::render::{Families, Naming, Read, Target, Write as Writer};
use crate::verdict::Reason;

/// nftables, each packet by itself.
pub const TARGET: Target = Target {
    name: "nftables",
    about: "the filter's rules as an nftables table of their own (`nft -f FILE`), for gateways without the sidecar",
    accepted_by: "nft and the kernel: every packet as the filter",
    caveats: "",
    file: "offramp-rules.nft",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Writer::GatewayRules(Naming::Fixed, |rules, _| write(rules, Tracking::None)),
    read: Read::Lines { comment: "#" },
};

/// How far the kernel's connection tracking counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracking {
    /// Not at all: packets are judged one by one, as the filter does.
    None,
    /// Replies over TCP to sessions opened from inside pass.
    Replies,
}

pub(super) fn write(ruleset: &Ruleset, tracking: Tracking) -> String {
    let mut text = opening(ruleset, tracking);
    let mut table = Table(NftTable::new(TABLE));
    table.write_entry();
    table.write_verdicts(ruleset, tracking);
    table.write_hook(ruleset);
    _ = write!(text, "\n{}", table.0.replacement());
    text
}

fn opening(ruleset: &Ruleset, tracking: Tracking) -> String {
    let file = match tracking {
        Tracking::None => "offramp-rules.nft",
        Tracking::Replies => "offramp-rules-conntrack.nft",
    };
    let mut text = format!(
        "#!/usr/sbin/nft -f\n# {}\n# {} rules for what VPN clients send through the tunnel.\n#\n\
         # try it   nft -c -f {file}\n\
         # load it  nft -f {file}      in one transaction, in place of the table that is there\n\
         # watch    nft list table inet {TABLE}\n\
         # remove   nft delete table inet {TABLE}\n#\n",
        head(&ruleset.origin),
        ruleset.rules.len(),
    );
    text.push_str(match tracking {
        Tracking::None => {
            "# Each packet is decided as `offramp explain` decides it, but for\n\
             # - non-first fragments, which do not wait for their first one: where the ports of a datagram decide, they pass, and\n\
             #   complete nothing if it was dropped. Fragments of lengths that no host accepts pass likewise. Where this host\n\
             #   tracks connections, the kernel puts datagrams together before the rules see them.\n\
             # - IPv6 headers that nftables does not look behind: authentication, mobility, HIP and shim6, a second routing or\n\
             #   fragment header, and one that claims more than the packet has. What they hide passes.\n"
        }
        Tracking::Replies => {
            "# Replies over TCP to sessions that were opened from inside pass, whatever their port: Remote Desktop to a client,\n\
             # software deployment. UDP is judged packet by packet, because a media path may be opened from inside, too.\n\
             # Servers are blocked in both cases. The kernel tracks connections and puts fragments together first.\n"
        }
    });
    if ruleset.interfaces.is_empty() {
        text.push_str(
            "# The policy names no vpn.interfaces: packets of clients are judged wherever they enter.\n",
        );
    }
    text
}

/// The table, as it is written.
#[derive(Debug)]
struct Table(NftTable);

impl Table {
    fn write_entry(&mut self) {
        self.open_chain("from_vpn");
        self.line(
            "# IPv6 whose headers end before the transport begins, and no fragment has the rest",
        );
        self.line("meta l4proto 0-255 goto judge");
        self.line("exthdr frag exists goto judge");
        self.line("counter drop comment \"malformed\"");
        self.close_chain();
    }

    fn write_verdicts(&mut self, ruleset: &Ruleset, tracking: Tracking) {
        self.open_chain("judge");
        let other = match ruleset.unknown_source {
            UnknownSource::Forward => "counter accept comment \"not-a-client\"",
            UnknownSource::Drop => "counter drop comment \"spoofed-source\"",
        };
        for (family, set) in self.set("clients", "the VPN's clients", &ruleset.clients) {
            match set {
                Some(set) => self.line(&format!("{} saddr != @{set} {other}", header(family))),
                None => self.line(&format!("meta nfproto {} {other}", nfproto(family))),
            }
        }
        self.line("# source routes with hops left: the header does not name the destination");
        for option in ["lsrr", "ssrr"] {
            // RFC 791 §3.1: past the end of the option, no hop is left.
            let left: Vec<String> = SOURCE_ROUTE_LENGTHS
                .map(|length| format!("{length} . 0-{length}"))
                .collect();
            let rows: Vec<String> = left.chunks(10).map(|row| row.join(", ")).collect();
            self.line(&format!(
                "ip option {option} length . ip option {option} ptr {{\n\t\t\t{}\n\t\t}} counter drop comment \"source-routed\"",
                rows.join(",\n\t\t\t")
            ));
        }
        self.line("rt seg-left != 0 counter drop comment \"source-routed\"");
        let mut with_ports = Vec::new();
        for (number, rule) in ruleset.rules.iter().enumerate() {
            match rule.traffic {
                Traffic::Any => self.rule(number, rule),
                Traffic::Transport { .. } => with_ports.push((number, rule)),
            }
        }
        let portless = &ruleset.portless;
        let tails = [&portless.non_first_tcp, &portless.non_first_udp];
        let has_tails = tails.iter().any(|it| !it.is_empty());
        self.line("# non-first fragments have no ports");
        self.line(if has_tails {
            "ip frag-off & 0x1fff != 0 goto tails"
        } else {
            "ip frag-off & 0x1fff != 0 counter accept comment \"default: non-first fragment\""
        });
        self.line("frag frag-off != 0 counter accept comment \"default: non-first fragment\"");
        self.line("meta l4proto { tcp, udp } th dport 0-65535 goto with_ports");
        self.line("# TCP and UDP that end before their ports");
        let pairs = [&portless.truncated_tcp, &portless.truncated_udp];
        self.both("cut", pairs, "TCP and UDP without ports", "tiny-fragment");
        self.line("meta l4proto 0-255 counter accept comment \"default\"");
        let either = portless.truncated_either().only_v6();
        if !either.is_empty() {
            self.line("# IPv6 fragments that end before their transport");
            // Where both protocols have the same set, it is there already.
            let set = if pairs[0] == pairs[1] {
                Some("cut_v6".to_owned())
            } else {
                let [_, (_, set)] = self.set("either", "TCP or UDP without ports", &either);
                set
            };
            if let Some(set) = set {
                self.line(&format!(
                    "ip6 daddr @{set} counter drop comment \"tiny-fragment\""
                ));
            }
        }
        self.line("counter accept comment \"default\"");
        self.close_chain();

        self.open_chain("with_ports");
        // Servers come before what may answer.
        let mut says_replies = tracking == Tracking::Replies;
        for (number, rule) in with_ports {
            if says_replies && is_behind_servers(ruleset, number) {
                self.line("meta l4proto tcp ct direction reply counter accept comment \"reply\"");
                says_replies = false;
            }
            self.rule(number, rule);
        }
        self.line("counter accept comment \"default\"");
        self.close_chain();

        if has_tails {
            self.open_chain("tails");
            self.both("tails", tails, "non-first fragments", "non-first fragment");
            self.line("counter accept comment \"default: non-first fragment\"");
            self.close_chain();
        }
    }

    fn write_hook(&mut self, ruleset: &Ruleset) {
        self.open_chain("forward");
        self.line("type filter hook forward priority filter - 5; policy accept;");
        if ruleset.interfaces.is_empty() {
            self.line("goto from_vpn");
        }
        for interface in &ruleset.interfaces {
            self.line(&format!("iifname \"{interface}\" goto from_vpn"));
        }
        self.close_chain();
    }

    /// One rule of the policy, a line for each family.
    fn rule(&mut self, number: usize, rule: &PacketRule) {
        let name = format!("{}_{}", rule.reason.name().replace('-', "_"), number + 1);
        let title = rule.title();
        let mut conditions = String::new();
        if let Traffic::Transport {
            protocols,
            from_ports,
            ports,
        } = &rule.traffic
        {
            match protocols {
                ProtocolSet::Tcp => conditions.push_str("meta l4proto tcp "),
                ProtocolSet::Udp => conditions.push_str("meta l4proto udp "),
                ProtocolSet::Both => {}
            }
            for (key, ports) in [("sport", from_ports), ("dport", ports)] {
                if !ports.is_all() {
                    _ = write!(conditions, "th {key} {} ", one_or_set(ports));
                }
            }
        }
        let verdict = accept_or_drop(rule.action);
        for (family, set) in self.set(&name, &title, &rule.destinations) {
            if let Some(set) = set {
                self.line(&format!(
                    "{} daddr @{set} {conditions}counter {verdict} comment \"{}\"",
                    header(family),
                    comment(&title)
                ));
            }
        }
    }

    /// Drops what goes to the sets of TCP and of UDP: one line where they are the same.
    fn both(&mut self, name: &str, [tcp, udp]: [&PrefixSet; 2], what: &str, why: &str) {
        let parts: &[(&str, &str, &PrefixSet)] = if tcp == udp {
            &[("", "{ tcp, udp }", tcp)]
        } else {
            &[("_tcp", "tcp", tcp), ("_udp", "udp", udp)]
        };
        for (suffix, protocols, set) in parts {
            for (family, set) in self.set(&format!("{name}{suffix}"), what, set) {
                if let Some(set) = set {
                    self.line(&format!(
                        "meta l4proto {protocols} {} daddr @{set} counter drop comment \"{why}\"",
                        header(family)
                    ));
                }
            }
        }
    }

    /// The sets of both families; none where a family has no address.
    fn set(
        &mut self,
        name: &str,
        what: &str,
        addresses: &PrefixSet,
    ) -> [(Family, Option<String>); 2] {
        Family::BOTH.map(|family| {
            let half = family.of(addresses);
            if half.is_empty() {
                return (family, None);
            }
            let name = format!("{name}_{}", family.suffix());
            let set = NftSet {
                name: &name,
                comment: &one_line(what),
                family,
                prefixes: &half,
            };
            self.0.set(&set.to_string());
            (family, Some(name))
        })
    }

    fn open_chain(&mut self, name: &str) {
        self.0.open_chain(name);
    }

    fn line(&mut self, line: &str) {
        self.0.line(line);
    }

    fn close_chain(&mut self) {
        self.0.close_chain();
    }
}

/// Returns `true` if the rule at `number` comes behind those of all servers: whether it is about media.
fn is_behind_servers(ruleset: &Ruleset, number: usize) -> bool {
    let mut rules = ruleset.rules.iter();
    let servers = rules.rposition(|rule| rule.reason == Reason::Servers);
    servers.is_none_or(|servers| number > servers)
}

/// The table; `offramp` is that of the sidecar.
const TABLE: &str = "offramp_rules";
/// Lengths that a source route can have: a kind, a length, a pointer, and what fits into 40 bytes of options.
const SOURCE_ROUTE_LENGTHS: std::ops::RangeInclusive<u8> = 3..=40;

//! The chains of the table of marks: the checks on each packet that enters from the VPN, and the mark it gets.
//!
//! ```text
//!  mark_for_filter ─┬─ shows its ports ──▶ mark_ipv4, mark_ipv6 ─┬─ may be media ──▶ may_be_media_* ─┐
//!                   │                                            └─ else ──────────▶ ordinary_* ─────┤ near the policy's
//!                   └─ does not ──────────────────────────────────────────────────────────────────▶ track_once
//!
//!  behind the rules of others: was on its way to the filter, and is no more ──▶ restore_marks ──▶ mark_for_filter, counted
//! ```
//!
//! A packet on its way to the filter carries [`ON_ITS_WAY`] as its priority, beside the mark, which others may change. One
//! to this host, or to no prefix of the policy, keeps no mark: if DNAT leads it elsewhere it is not diverted there, where
//! connection tracking would take it for another connection, whose answers are not translated back.
//!
//! A rule is a [`Step`], which is written as nft reads it.

use ipnet::{IpNet, Ipv4Net};

use super::{Diversion, cleared};
use crate::address::Family;
use crate::policy::{DivertScope, PortRange};

/// A rule of the table: a condition, and the action on packets that meet it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    condition: Condition,
    action: Action,
}

/// The chains behind those at the hook, each before those that lead to it.
pub(super) fn chains(diversion: &Diversion) -> Vec<(&'static str, Vec<Step>)> {
    let mut chains = marking(diversion);
    let step = |condition, action| Step { condition, action };
    let restored = vec![
        step(Condition::Any, Action::Call(MARKS)),
        step(Condition::IsDiverted, Action::Count),
    ];
    let checked = vec![step(Condition::IsLost, Action::Goto(RESTORED))];
    chains.extend([(RESTORED, restored), (CHECKED, checked)]);
    chains
}

/// The chains that mark packets.
fn marking(diversion: &Diversion) -> Vec<(&'static str, Vec<Step>)> {
    let mark = diversion.mark;
    let step = |condition, action| Step { condition, action };
    let untracked = vec![
        step(Condition::IsDiverted, Action::Untrack),
        // Blackholes of a gateway that fails closed lead nowhere, too: what goes there keeps its mark.
        step(Condition::IsLocal, Action::Unmark),
    ];
    let anywhere = Action::Mark(mark.anywhere(), UNTRACKED);
    let mut chains = vec![(UNTRACKED, untracked)];
    let (ordinary, media) = match diversion.scope {
        DivertScope::All => {
            chains.push((MARKS, vec![step(Condition::Any, anywhere)]));
            return chains;
        }
        DivertScope::Policy => (&diversion.destinations, None),
        DivertScope::Suspects => (&diversion.on_every_port, Some(&diversion.destinations)),
    };
    for family in &FAMILIES {
        let near = |prefixes: &[IpNet]| -> Vec<Step> {
            let near = cover(prefixes, family.family).into_iter();
            near.map(|prefix| step(Condition::To(prefix), Action::Goto(UNTRACKED)))
                .chain([step(Condition::Any, Action::Unmark)])
                .collect()
        };
        let mut plain = Vec::new();
        if let Some(media) = media {
            let may_be_media = Action::Mark(mark.may_be_media(), family.media);
            // A rule for each range: a set of ranges is a tree, and a few comparisons are cheaper.
            let ports = diversion.media_ports.iter();
            let may_be_cleared = Action::Goto(family.may_be_cleared);
            plain.extend(ports.map(|ports| step(Condition::Port(*ports), may_be_cleared)));
            plain.push(step(family.without_ports, may_be_media));
            chains.push((family.media, near(media)));
            let of = family.family;
            let mut cleared = vec![step(Condition::Begins, Action::Forget(of))];
            let judged = [Condition::Begins, Condition::MaybeDatagrams].into_iter();
            let judged = judged.chain(COOKIE_PLACES.map(Condition::Cookie));
            cleared.extend(judged.map(|it| step(it, may_be_media)));
            cleared.push(step(Condition::Any, Action::Pass(of)));
            chains.push((family.cleared, cleared));
            let asked = vec![
                step(Condition::Cleared(of), Action::Goto(family.cleared)),
                step(Condition::Any, may_be_media),
            ];
            chains.push((family.may_be_cleared, asked));
        }
        let ordinary_mark = Action::Mark(mark.ordinary(), family.ordinary);
        plain.push(step(Condition::Any, ordinary_mark));
        chains.push((family.ordinary, near(ordinary)));
        chains.push((family.plain, plain));
    }
    let mut marks: Vec<Step> = FAMILIES
        .iter()
        .map(|family| step(family.is_plain, Action::Goto(family.plain)))
        .collect();
    marks.push(step(Condition::Any, anywhere));
    chains.push((MARKS, marks));
    chains
}

/// The chains of an address family, and the condition that selects its packets.
struct FamilyChains {
    family: Family,
    is_plain: Condition,
    without_ports: Condition,
    /// The chain of packets that show all their headers and ports.
    plain: &'static str,
    /// The chains of marked packets: the routes are looked up only for those that may be on their way to the filter.
    ordinary: &'static str,
    media: &'static str,
    /// The chains of packets to media ports that are not marked yet, and of those among them whose flow was cleared.
    may_be_cleared: &'static str,
    cleared: &'static str,
}

const FAMILIES: [FamilyChains; 2] = [
    FamilyChains {
        family: Family::V4,
        is_plain: Condition::PlainIpv4,
        without_ports: Condition::Ipv4WithoutPorts,
        plain: "mark_ipv4",
        ordinary: "ordinary_ipv4",
        media: "may_be_media_ipv4",
        may_be_cleared: "may_be_cleared_ipv4",
        cleared: "cleared_ipv4",
    },
    FamilyChains {
        family: Family::V6,
        is_plain: Condition::PlainIpv6,
        without_ports: Condition::Ipv6WithoutPorts,
        plain: "mark_ipv6",
        ordinary: "ordinary_ipv6",
        media: "may_be_media_ipv6",
        may_be_cleared: "may_be_cleared_ipv6",
        cleared: "cleared_ipv6",
    },
];

/// Returns at most [`MAX_NEAR`] prefixes that cover all of `prefixes` of one family, with as little excess as possible:
/// an address outside them is outside `prefixes`.
fn cover(prefixes: &[IpNet], family: Family) -> Vec<IpNet> {
    let of_family = || {
        prefixes
            .iter()
            .filter(|it| Family::from(it.addr()) == family)
    };
    let longest = of_family().map(IpNet::prefix_len).max().unwrap_or(0);
    // They are sorted, so duplicates lie side by side.
    let widened = |length: u8| {
        let mut last = None;
        of_family().filter_map(move |it| {
            let wide = widen(*it, length);
            let is_new = last != Some(wide);
            last = Some(wide);
            is_new.then_some(wide)
        })
    };
    let fits = |length: &u8| widened(*length).take(MAX_NEAR + 1).count() <= MAX_NEAR;
    let length = (0..=longest).rev().find(fits).unwrap_or(0);
    widened(length).collect()
}

/// Returns the prefix of at most `length` bits that contains `prefix`.
fn widen(prefix: IpNet, length: u8) -> IpNet {
    let length = length.min(prefix.prefix_len());
    // The length never exceeds that of the prefix.
    IpNet::new(prefix.addr(), length).map_or(prefix, |wide| wide.trunc())
}

impl Step {
    pub(super) fn text(self, diversion: &Diversion) -> String {
        let condition = self.condition.text(diversion);
        match self.action {
            Action::Goto(chain) => format!("{condition}goto {chain}"),
            Action::Mark(bit, chain) => {
                let keep = !diversion.mark.mask();
                format!(
                    "{condition}meta mark set meta mark & {keep:#010x} | {bit:#010x} goto {chain}"
                )
            }
            Action::Untrack => {
                format!("{condition}meta priority set {ON_ITS_WAY} notrack return")
            }
            Action::Unmark => {
                let keep = !diversion.mark.mask();
                format!("{condition}meta mark set meta mark & {keep:#010x}")
            }
            Action::Call(chain) => format!("{condition}jump {chain}"),
            Action::Count => format!("{condition}counter"),
            Action::Pass(family) => {
                let set = cleared::set_name(family, diversion.generation);
                format!(
                    "{condition}update @{set} {{ {} }} accept",
                    cleared::key(family)
                )
            }
            Action::Forget(family) => {
                let set = cleared::set_name(family, diversion.generation);
                format!("{condition}delete @{set} {{ {} }}", cleared::key(family))
            }
        }
    }
}

/// A rule's action on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Go on in another chain.
    Goto(&'static str),
    /// Go on in another chain, then here.
    Call(&'static str),
    /// Count the packet.
    Count,
    /// Take the mark off.
    Unmark,
    /// Set this bit of the mark and go on in another chain.
    Mark(u32, &'static str),
    /// Do not track the packet, which is on its way to the filter, and leave the chain.
    Untrack,
    /// Note that the cleared flow has a packet, and leave it alone.
    Pass(Family),
    /// Take the flow out of the cleared ones.
    Forget(Family),
}

/// A rule's condition on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// Always true.
    Any,
    /// TCP or UDP to one of these ports.
    Port(PortRange),
    /// IPv4 with a header of 20 bytes, no more fragments to come, and no offset (RFC 791 §3.1). Without connection tracking
    /// fragments arrive as they are.
    PlainIpv4,
    /// IPv6 with TCP, UDP or ICMPv6 behind the first header (RFC 8200 §4): no fragment header, no other.
    PlainIpv6,
    /// A total length that has no room for ports behind a header of 20 bytes, or 0, as super-packets may have it.
    Ipv4WithoutPorts,
    /// A payload length (RFC 8200 §3) that has no room for ports, or 0, as jumbograms have it.
    Ipv6WithoutPorts,
    /// The destination is in this prefix; for packets of its family only.
    To(IpNet),
    /// The routes lead it to the filter.
    IsDiverted,
    /// It was on its way to the filter, and the routes lead it elsewhere by now.
    IsLost,
    /// It is for this host.
    IsLocal,
    /// Its flow was cleared.
    Cleared(Family),
    /// TCP that begins a connection.
    Begins,
    /// UDP with the cookie of STUN so many bits behind the start of the UDP header.
    Cookie(u32),
    /// UDP that is too long for one frame of Ethernet: datagrams that were merged, whose cookies are out of reach.
    MaybeDatagrams,
}

impl Condition {
    fn text(self, diversion: &Diversion) -> String {
        match self {
            Self::Any => String::new(),
            Self::Port(ports) => format!("meta l4proto {{ tcp, udp }} th dport {ports} "),
            Self::PlainIpv4 => PLAIN_IPV4.map(WordTest::text).concat(),
            Self::PlainIpv6 => "ip6 nexthdr { tcp, udp, icmpv6 } ".to_owned(),
            Self::Ipv4WithoutPorts => {
                let (first, last) = IPV4_TOO_SHORT;
                format!("ip length {first}-{last} ")
            }
            Self::Ipv6WithoutPorts => {
                let (first, last) = IPV6_TOO_SHORT;
                format!("ip6 length {first}-{last} ")
            }
            Self::To(prefix) if prefix.prefix_len() == 0 => String::new(),
            Self::To(IpNet::V4(prefix)) => WordTest::to(prefix).text(),
            Self::To(IpNet::V6(prefix)) => format!("ip6 daddr {prefix} "),
            Self::IsDiverted => format!("fib daddr . mark oifname \"{}\" ", diversion.device),
            Self::IsLost => format!(
                "meta priority {ON_ITS_WAY} fib daddr . mark oifname != \"{}\" ",
                diversion.device
            ),
            Self::IsLocal => "fib daddr type local ".to_owned(),
            Self::Cleared(family) => {
                let set = cleared::set_name(family, diversion.generation);
                format!("{} @{set} ", cleared::key(family))
            }
            Self::Begins => "tcp flags & syn == syn ".to_owned(),
            Self::Cookie(place) => {
                format!("meta l4proto udp @th,{place},32 {STUN_COOKIE:#010x} ")
            }
            Self::MaybeDatagrams => format!("meta l4proto udp meta length > {ETHERNET_MTU} "),
        }
    }
}

/// A comparison on 32 bits of the network header. nft reads a word at once and adds no check of its own, such as the
/// one of the IP version before it reads a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WordTest {
    /// The word's offset, in bits.
    offset: u32,
    /// The bits of it that count.
    mask: u32,
    /// The value these bits must have.
    value: u32,
}

impl WordTest {
    /// Matches a destination in `prefix`.
    fn to(prefix: Ipv4Net) -> Self {
        Self {
            offset: 128,
            mask: prefix.netmask().to_bits(),
            value: prefix.network().to_bits(),
        }
    }

    fn text(self) -> String {
        let Self {
            offset,
            mask,
            value,
        } = self;
        format!("@nh,{offset},32 & {mask:#010x} == {value:#010x} ")
    }
}

/// The chain of packets that enter from the VPN.
pub(super) const MARKS: &str = "mark_for_filter";
/// The chain of packets from the VPN that have passed the rules of others.
pub(super) const CHECKED: &str = "check_marks";
/// The chain of those whose mark may have been changed.
pub(super) const RESTORED: &str = "restore_marks";
/// The priority of packets on their way to the filter: that of no class of a queue, and of the usual band (its last digit).
/// Connection tracking would tell them, too, but a rule that asks for it has the kernel track everything.
const ON_ITS_WAY: &str = "6f66:7270";
/// The chain of marked packets.
const UNTRACKED: &str = "track_once";
/// The number of prefixes compared before the routes are looked up: comparing them costs about as much as a lookup.
const MAX_NEAR: usize = 16;
/// Version and header length; and the third word's bits of more fragments, and the offset.
const PLAIN_IPV4: [WordTest; 2] = [
    WordTest {
        offset: 0,
        mask: 0xff00_0000,
        value: 0x4500_0000,
    },
    WordTest {
        offset: 32,
        mask: 0x0000_3fff,
        value: 0,
    },
];
/// Places of the cookie (RFC 8489 §5) behind a UDP header of 64 bits: in a message of STUN, in one in a frame of TURN
/// (ChannelData, RFC 8656 §12.4), and in one in the header of Multiplexed TURN (MS-TURN).
const COOKIE_PLACES: [u32; 3] = [64 + 32, 64 + 64, 64 + 128];
const STUN_COOKIE: u32 = 0x2112_a442;
const ETHERNET_MTU: u16 = 1_500;
/// The first and last total lengths that leave less than four bytes after a header of 20.
const IPV4_TOO_SHORT: (u16, u16) = (0, 23);
/// The first and last payload lengths below four bytes.
const IPV6_TOO_SHORT: (u16, u16) = (0, 3);

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(prefixes: &[&str], family: Family) -> Vec<String> {
        let parse = |text: &&str| text.parse().expect("a prefix");
        let prefixes: Vec<IpNet> = prefixes.iter().map(parse).collect();
        let cover = cover(&prefixes, family);
        for prefix in prefixes
            .iter()
            .filter(|it| Family::from(it.addr()) == family)
        {
            assert!(cover.iter().any(|wide| wide.contains(prefix)), "{prefix}");
        }
        cover.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_few_prefixes_cover_themselves() {
        let few = [
            "10.0.0.0/8",
            "167.55.49.32/32",
            "172.16.0.0/12",
            "2001:db8::/32",
            "fd00::/8",
        ];
        assert_eq!(covered(&few, Family::V4), few[..3]);
        assert_eq!(covered(&few, Family::V6), few[3..]);
        assert_eq!(covered(&few[..3], Family::V6), [""; 0]);
        assert_eq!(covered(&["0.0.0.0/0"], Family::V4), ["0.0.0.0/0"]);
    }

    #[test]
    fn many_prefixes_are_covered_by_a_few_that_hold_little_else() {
        let many: Vec<String> = (0..=255_u8)
            .flat_map(|low| [format!("10.1.{low}.7/32"), format!("192.0.2.{low}/32")])
            .chain(["167.55.49.32/32".to_owned()])
            .collect();
        let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
        many.sort_by_key(|text| text.parse::<IpNet>().expect("a prefix"));
        let cover = covered(&many, Family::V4);
        assert!(cover.len() <= MAX_NEAR, "{cover:?}");
        let outside: IpNet = "10.2.0.0/16".parse().expect("a prefix");
        let holds = |wide: &String| wide.parse::<IpNet>().expect("a prefix").contains(&outside);
        assert!(!cover.iter().any(holds), "{cover:?}");
    }

    #[test]
    fn the_whole_of_a_family_is_covered_by_itself() {
        let spread: Vec<String> = (0..=255).map(|high| format!("{high}.0.0.0/9")).collect();
        let spread: Vec<&str> = spread.iter().map(String::as_str).collect();
        let cover = covered(&spread, Family::V4);
        assert_eq!(cover.len(), MAX_NEAR);
        assert_eq!(cover[0], "0.0.0.0/4");
    }
}

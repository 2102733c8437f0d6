//! What is asked of each packet that enters from the VPN, and which mark it gets: the chains of the table of marks.
//!
//! ```text
//!  mark_for_filter ─┬─ shows its ports ──▶ mark_ipv4, mark_ipv6 ─┬─ may be media ──▶ may_be_media_* ─┐
//!                   │                                            └─ else ──────────▶ ordinary_* ─────┤ near the policy's
//!                   └─ does not ──────────────────────────────────────────────────────────────────▶ track_once
//! ```
//!
//! A rule is a [`Step`], from which both its statements for nft and its text for people follow.

use std::borrow::Cow;
use std::collections::HashSet;

use ipnet::{IpNet, Ipv4Net};
use nftables::expr::{
    BinaryOperation, Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload,
    PayloadBase, PayloadField, PayloadRaw, Prefix, Range, SetItem,
};
use nftables::stmt::{JumpTarget, Mangle, Match, Operator, Statement};

use super::Diversion;
use crate::policy::{DivertScope, PortRange};

/// A rule of the table: what it asks of a packet, and what becomes of one of which that is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    condition: Condition,
    action: Action,
}

/// The chains behind the one at the hook, each before those that lead to it.
pub(super) fn chains(diversion: &Diversion) -> Vec<(&'static str, Vec<Step>)> {
    let mark = diversion.mark;
    let step = |condition, action| Step { condition, action };
    let untracked = vec![step(Condition::IsDiverted, Action::Untrack)];
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
            let near = cover(prefixes, family.is_v6).into_iter();
            near.map(|prefix| step(Condition::To(prefix), Action::Goto(UNTRACKED)))
                .collect()
        };
        let mut plain = Vec::new();
        if let Some(media) = media {
            let may_be_media = Action::Mark(mark.may_be_media(), family.media);
            // A rule for each range: a set of ranges is a tree, and a few comparisons are cheaper.
            let ports = diversion.media_ports.iter();
            plain.extend(ports.map(|ports| step(Condition::Port(*ports), may_be_media)));
            plain.push(step(family.without_ports, may_be_media));
            chains.push((family.media, near(media)));
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

/// The chains of a family, and what tells its packets apart.
struct Family {
    is_v6: bool,
    is_plain: Condition,
    without_ports: Condition,
    /// The chain of what shows all its headers and ports.
    plain: &'static str,
    /// The chains of what has its mark: the routes are asked only of what may be on its way to the filter.
    ordinary: &'static str,
    media: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        is_v6: false,
        is_plain: Condition::PlainIpv4,
        without_ports: Condition::Ipv4WithoutPorts,
        plain: "mark_ipv4",
        ordinary: "ordinary_ipv4",
        media: "may_be_media_ipv4",
    },
    Family {
        is_v6: true,
        is_plain: Condition::PlainIpv6,
        without_ports: Condition::Ipv6WithoutPorts,
        plain: "mark_ipv6",
        ordinary: "ordinary_ipv6",
        media: "may_be_media_ipv6",
    },
];

/// At most [`MOST_NEAR`] prefixes that hold all of `prefixes` of one family, and as little more as fits: what is in none of
/// them is in none of those.
fn cover(prefixes: &[IpNet], v6: bool) -> Vec<IpNet> {
    let of_family = || prefixes.iter().filter(|it| it.addr().is_ipv6() == v6);
    let longest = of_family().map(IpNet::prefix_len).max().unwrap_or(0);
    // They are sorted, so what becomes the same lies side by side.
    let shortened = |length: u8| {
        let mut last = None;
        of_family().filter_map(move |it| {
            let wide = shorten(*it, length);
            let is_new = last != Some(wide);
            last = Some(wide);
            is_new.then_some(wide)
        })
    };
    let fits = |length: &u8| shortened(*length).take(MOST_NEAR + 1).count() <= MOST_NEAR;
    let length = (0..=longest).rev().find(fits).unwrap_or(0);
    shortened(length).collect()
}

/// The prefix of at most `length` bits that holds `prefix`.
fn shorten(prefix: IpNet, length: u8) -> IpNet {
    let length = length.min(prefix.prefix_len());
    // It is no longer than the prefix is.
    IpNet::new(prefix.addr(), length).map_or(prefix, |wide| wide.trunc())
}

impl Step {
    pub(super) fn statements(self, diversion: &Diversion) -> Vec<Statement<'static>> {
        let mut statements = self.condition.statements(diversion);
        match self.action {
            Action::Goto(chain) => statements.push(goto(chain)),
            Action::Mark(bit, chain) => {
                statements.push(mark_with(bit, diversion.mark.mask()));
                statements.push(goto(chain));
            }
            Action::Untrack => statements.push(Statement::Notrack),
        }
        statements
    }

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
            Action::Untrack => format!("{condition}notrack"),
        }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// It goes on in another chain.
    Goto(&'static str),
    /// It is marked with this bit, and goes on in another chain.
    Mark(u32, &'static str),
    /// It is not tracked.
    Untrack,
}

/// What a rule of the table asks of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// Nothing.
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
    /// Its destination is in this prefix; only packets of its family are asked.
    To(IpNet),
    /// The routes lead it to the filter.
    IsDiverted,
}

impl Condition {
    fn statements(self, diversion: &Diversion) -> Vec<Statement<'static>> {
        match self {
            Self::Any => Vec::new(),
            Self::Port(ports) => vec![
                matches(
                    meta(MetaKey::L4proto),
                    Operator::EQ,
                    numbers([TCP, UDP].map(|(number, _)| number)),
                ),
                matches(
                    field("th", "dport"),
                    Operator::EQ,
                    range((ports.first(), ports.last())),
                ),
            ],
            Self::PlainIpv4 => PLAIN_IPV4.map(WordTest::statement).to_vec(),
            Self::PlainIpv6 => vec![matches(
                field("ip6", "nexthdr"),
                Operator::EQ,
                numbers([TCP, UDP, ICMPV6].map(|(number, _)| number)),
            )],
            Self::Ipv4WithoutPorts => {
                vec![matches(
                    field("ip", "length"),
                    Operator::EQ,
                    range(IPV4_TOO_SHORT),
                )]
            }
            Self::Ipv6WithoutPorts => {
                vec![matches(
                    field("ip6", "length"),
                    Operator::EQ,
                    range(IPV6_TOO_SHORT),
                )]
            }
            Self::To(prefix) if prefix.prefix_len() == 0 => Vec::new(),
            Self::To(IpNet::V4(prefix)) => vec![WordTest::to(prefix).statement()],
            Self::To(IpNet::V6(prefix)) => vec![matches(
                field("ip6", "daddr"),
                Operator::EQ,
                Expression::Named(NamedExpression::Prefix(Prefix {
                    addr: Box::new(Expression::String(Cow::Owned(prefix.addr().to_string()))),
                    len: prefix.prefix_len().into(),
                })),
            )],
            Self::IsDiverted => vec![matches(
                Expression::Named(NamedExpression::Fib(Fib {
                    result: FibResult::Oifname,
                    flags: HashSet::from([FibFlag::Daddr, FibFlag::Mark]),
                })),
                Operator::EQ,
                Expression::String(Cow::Owned(diversion.device.clone())),
            )],
        }
    }

    fn text(self, diversion: &Diversion) -> String {
        let names = |headers: &[(u32, &str)]| {
            let names: Vec<&str> = headers.iter().map(|(_, name)| *name).collect();
            names.join(", ")
        };
        match self {
            Self::Any => String::new(),
            Self::Port(ports) => format!(
                "meta l4proto {{ {} }} th dport {ports} ",
                names(&[TCP, UDP])
            ),
            Self::PlainIpv4 => PLAIN_IPV4.map(WordTest::text).concat(),
            Self::PlainIpv6 => format!("ip6 nexthdr {{ {} }} ", names(&[TCP, UDP, ICMPV6])),
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
        }
    }
}

/// A question about 32 bits of the network header. nft reads a word at once, and asks nothing else first: not of what
/// version it is, as it does before it reads a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WordTest {
    /// Where the word begins, in bits.
    offset: u32,
    /// The bits of it that count.
    mask: u32,
    /// What they have to be.
    value: u32,
}

impl WordTest {
    /// Whether the destination is in `prefix`.
    fn to(prefix: Ipv4Net) -> Self {
        Self {
            offset: 128,
            mask: prefix.netmask().to_bits(),
            value: prefix.network().to_bits(),
        }
    }

    fn statement(self) -> Statement<'static> {
        let word = Expression::Named(NamedExpression::Payload(Payload::PayloadRaw(PayloadRaw {
            base: PayloadBase::NH,
            offset: self.offset,
            len: 32,
        })));
        let bits = binary(BinaryOperation::AND(word, Expression::Number(self.mask)));
        matches(bits, Operator::EQ, Expression::Number(self.value))
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

pub(super) fn goto(chain: &'static str) -> Statement<'static> {
    Statement::Goto(JumpTarget {
        target: chain.into(),
    })
}

pub(super) fn matches(
    left: Expression<'static>,
    op: Operator,
    right: Expression<'static>,
) -> Statement<'static> {
    Statement::Match(Match { left, right, op })
}

pub(super) fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn field(protocol: &'static str, field: &'static str) -> Expression<'static> {
    let field = PayloadField {
        protocol: protocol.into(),
        field: field.into(),
    };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

fn binary(operation: BinaryOperation<'static>) -> Expression<'static> {
    Expression::BinaryOperation(Box::new(operation))
}

fn numbers<const COUNT: usize>(numbers: [u32; COUNT]) -> Expression<'static> {
    let items = numbers.map(|number| SetItem::Element(Expression::Number(number)));
    Expression::Named(NamedExpression::Set(items.into()))
}

fn range((first, last): (u16, u16)) -> Expression<'static> {
    let [from, to] = [first, last].map(|end| Expression::Number(end.into()));
    if first == last {
        from
    } else {
        Expression::Range(Box::new(Range { range: [from, to] }))
    }
}

/// Sets `bit` among the bits of `mask`; the others stay as they are.
fn mark_with(bit: u32, mask: u32) -> Statement<'static> {
    let kept = binary(BinaryOperation::AND(
        meta(MetaKey::Mark),
        Expression::Number(!mask),
    ));
    Statement::Mangle(Mangle {
        key: meta(MetaKey::Mark),
        value: binary(BinaryOperation::OR(vec![kept, Expression::Number(bit)])),
    })
}

/// The chain of what enters from the VPN.
pub(super) const MARKS: &str = "mark_for_filter";
/// The chain of what has its mark.
const UNTRACKED: &str = "track_once";
/// Prefixes that a packet is compared with before the routes are asked: about what a walk through them costs.
const MOST_NEAR: usize = 16;
/// Headers by number and by nft's name for them.
const TCP: (u32, &str) = (6, "tcp");
const UDP: (u32, &str) = (17, "udp");
const ICMPV6: (u32, &str) = (58, "ipv6-icmp");
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
/// First and last of the lengths that leave less than four bytes behind a header of 20.
const IPV4_TOO_SHORT: (u16, u16) = (0, 23);
/// First and last of the lengths that are less than four bytes.
const IPV6_TOO_SHORT: (u16, u16) = (0, 3);

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(prefixes: &[&str], v6: bool) -> Vec<String> {
        let parse = |text: &&str| text.parse().expect("a prefix");
        let prefixes: Vec<IpNet> = prefixes.iter().map(parse).collect();
        let cover = cover(&prefixes, v6);
        for prefix in prefixes.iter().filter(|it| it.addr().is_ipv6() == v6) {
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
        assert_eq!(covered(&few, false), few[..3]);
        assert_eq!(covered(&few, true), few[3..]);
        assert_eq!(covered(&few[..3], true), [""; 0]);
        assert_eq!(covered(&["0.0.0.0/0"], false), ["0.0.0.0/0"]);
    }

    #[test]
    fn many_prefixes_are_covered_by_a_few_that_hold_little_else() {
        let many: Vec<String> = (0..=255_u8)
            .flat_map(|low| [format!("10.1.{low}.7/32"), format!("192.0.2.{low}/32")])
            .chain(["167.55.49.32/32".to_owned()])
            .collect();
        let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
        many.sort_by_key(|text| text.parse::<IpNet>().expect("a prefix"));
        let cover = covered(&many, false);
        assert!(cover.len() <= MOST_NEAR, "{cover:?}");
        let outside: IpNet = "10.2.0.0/16".parse().expect("a prefix");
        let holds = |wide: &String| wide.parse::<IpNet>().expect("a prefix").contains(&outside);
        assert!(!cover.iter().any(holds), "{cover:?}");
    }

    #[test]
    fn the_whole_of_a_family_is_covered_by_itself() {
        let spread: Vec<String> = (0..=255).map(|high| format!("{high}.0.0.0/9")).collect();
        let spread: Vec<&str> = spread.iter().map(String::as_str).collect();
        let cover = covered(&spread, false);
        assert_eq!(cover.len(), MOST_NEAR);
        assert_eq!(cover[0], "0.0.0.0/4");
    }
}

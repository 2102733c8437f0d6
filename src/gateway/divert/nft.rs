//! The nftables table that marks what enters from the VPN: one of our own, replaced as a whole.
//!
//! What is on its way to the filter is not tracked (`notrack`). Connection tracking would take the packet that comes back
//! from the filter for one that it knows, and which address translation has decided to leave alone: clients behind a
//! masquerade on the uplink would reach nothing. So it sees each packet once, when the filter has let it pass. Whether a
//! marked packet is on that way is asked of the routes themselves, so that this holds for as long as they lead there.
//!
//! Every packet of every client goes through here, so the usual one meets few rules: a first that takes an IPv4 datagram
//! that is whole and has no options, one for each range of ports, one for its length, and one for each of a few prefixes
//! beside which nothing is on its way to the filter, so that the routes need not be asked.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};
use nftables::batch::Batch;
use nftables::expr::{
    BinaryOperation, Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload,
    PayloadBase, PayloadField, PayloadRaw, Prefix, Range, SetItem,
};
use nftables::helper::{self, NftablesError};
use nftables::schema::{Chain, NfListObject, Nftables, Rule, Table};
use nftables::stmt::{JumpTarget, Mangle, Match, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::{Value, json};

use super::Diversion;
use crate::policy::{DivertScope, PortRange};

/// The name of the table; everything in it is ours.
pub const TABLE: &str = "offramp";

/// Why nftables did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no `nft` to be run.
    #[error("cannot run nft: {0}; install it, on Debian with `apt-get install nftables`")]
    Missing(io::Error),
    /// It refused.
    #[error("nft refused: {0}")]
    Refused(String),
}

impl From<NftablesError> for NftError {
    fn from(error: NftablesError) -> Self {
        match error {
            NftablesError::NftExecution { inner, .. }
                if inner.kind() == io::ErrorKind::BrokenPipe =>
            {
                Self::Refused("it ended before it had read everything".to_owned())
            }
            NftablesError::NftExecution { inner, .. }
                if matches!(
                    inner.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                Self::Missing(inner)
            }
            // No descriptor, process or memory is free.
            NftablesError::NftExecution { inner, .. } => {
                Self::Refused(format!("it cannot be run at the moment: {inner}"))
            }
            NftablesError::NftFailed { stderr, .. } if stderr.trim().is_empty() => {
                Self::Refused("its own words stand above".to_owned())
            }
            NftablesError::NftFailed { stderr, .. } => {
                Self::Refused(stderr.lines().next().unwrap_or_default().to_owned())
            }
            other
            @ (NftablesError::NftOutputEncoding { .. } | NftablesError::NftInvalidJson(_)) => {
                Self::Refused(other.to_string())
            }
        }
    }
}

/// Puts the table for `diversion` into the kernel, in place of any that is there, in one transaction.
///
/// # Errors
/// [`NftError`]; the kernel then has what it had before.
pub fn install(diversion: &Diversion) -> Result<(), NftError> {
    apply(&ruleset(diversion))
}

/// Removes the table, if it is there.
///
/// # Errors
/// [`NftError`].
pub fn remove() -> Result<(), NftError> {
    let mut batch = Batch::new();
    // Deleting what is not there is an error; adding what is there is none.
    batch.add(table());
    batch.delete(table());
    apply(&batch.to_nftables())
}

/// Whether the table is there.
///
/// # Errors
/// [`NftError::Missing`].
pub fn is_installed() -> Result<bool, NftError> {
    let list = ["list", "table", "inet", TABLE];
    match helper::get_current_ruleset_raw(Some(&program()), list) {
        Ok(_) => Ok(true),
        Err(NftablesError::NftFailed { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Has `nft` ask the kernel for something short: that it can be run, and may ask.
///
/// # Errors
/// [`NftError`].
pub fn try_out() -> Result<(), NftError> {
    helper::get_current_ruleset_raw(Some(&program()), ["list", "tables"])?;
    Ok(())
}

/// Everything that nftables has, as it prints it.
///
/// # Errors
/// [`NftError`].
pub fn everything() -> Result<Value, NftError> {
    let text = helper::get_current_ruleset_raw(Some(&program()), helper::DEFAULT_ARGS)?;
    serde_json::from_str(&text).map_err(|error| NftError::Refused(error.to_string()))
}

fn apply(ruleset: &Nftables<'_>) -> Result<(), NftError> {
    let refused = |error: serde_json::Error| NftError::Refused(error.to_string());
    let mut json = serde_json::to_value(ruleset).map_err(refused)?;
    spell_notrack(&mut json);
    helper::apply_ruleset_raw(&json.to_string(), Some(&program()), helper::DEFAULT_ARGS)?;
    Ok(())
}

/// Writes `"notrack"` as `{"notrack": null}`, the only form that nft reads and not the one that the crate writes.
fn spell_notrack(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(spell_notrack),
        Value::Object(fields) => {
            // The statements of a rule; elsewhere the word may be a name.
            if let Some(Value::Array(statements)) = fields.get_mut("expr") {
                for statement in statements.iter_mut().filter(|it| *it == "notrack") {
                    *statement = json!({ "notrack": null });
                }
            }
            fields.values_mut().for_each(spell_notrack);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The `nft` to run: that of the search path, or the usual one, which the path of ordinary users leaves out.
pub fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path).map(|folder| folder.join("nft"));
    let found = programs.find(|program| program.is_file());
    found.unwrap_or_else(|| PathBuf::from("/usr/sbin/nft"))
}

/// The transaction that replaces the table.
fn ruleset(diversion: &Diversion) -> Nftables<'static> {
    let mut batch = Batch::new();
    batch.add(table());
    batch.delete(table());
    batch.add(table());
    let chains = chains(diversion);
    // A rule names only chains that are there.
    for (name, _) in &chains {
        batch.add(NfListObject::Chain(Chain {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: (*name).into(),
            ..Chain::default()
        }));
    }
    batch.add(NfListObject::Chain(Chain {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: ENTERS.into(),
        _type: Some(NfChainType::Filter),
        hook: Some(NfHook::Prerouting),
        prio: Some(RAW),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    }));
    for interface in &diversion.interfaces {
        let enters = matches(
            meta(MetaKey::Iifname),
            Operator::EQ,
            Expression::String(Cow::Owned(interface.clone())),
        );
        batch.add(rule(ENTERS, vec![enters, goto(MARKS)]));
    }
    for (name, steps) in chains {
        for step in steps {
            batch.add(rule(name, step.statements(diversion)));
        }
    }
    batch.to_nftables()
}

/// The same as text, for people.
pub fn text(diversion: &Diversion) -> String {
    let mut out = format!("table inet {TABLE} {{\n");
    // Writing to a string cannot fail, here and below.
    for (name, steps) in chains(diversion) {
        _ = writeln!(out, "\tchain {name} {{");
        for step in steps {
            _ = writeln!(out, "\t\t{}", step.text(diversion));
        }
        out.push_str("\t}\n");
    }
    _ = writeln!(
        out,
        "\tchain {ENTERS} {{\n\t\ttype filter hook prerouting priority raw; policy accept;"
    );
    for interface in &diversion.interfaces {
        _ = writeln!(out, "\t\tiifname \"{interface}\" goto {MARKS}");
    }
    out.push_str("\t}\n}\n");
    out
}

/// A rule of the table: what it asks of a packet, and what becomes of one of which that is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    condition: Condition,
    action: Action,
}

/// The chains behind [`ENTERS`], each before those that lead to it.
fn chains(diversion: &Diversion) -> Vec<(&'static str, Vec<Step>)> {
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
    fn statements(self, diversion: &Diversion) -> Vec<Statement<'static>> {
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

    fn text(self, diversion: &Diversion) -> String {
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

fn table() -> NfListObject<'static> {
    NfListObject::Table(Table {
        family: NfFamily::INet,
        name: TABLE.into(),
        ..Table::default()
    })
}

fn rule(chain: &'static str, statements: Vec<Statement<'static>>) -> NfListObject<'static> {
    NfListObject::Rule(Rule {
        family: NfFamily::INet,
        table: TABLE.into(),
        chain: chain.into(),
        expr: statements.into(),
        ..Rule::default()
    })
}

fn goto(chain: &'static str) -> Statement<'static> {
    Statement::Goto(JumpTarget {
        target: chain.into(),
    })
}

fn matches(
    left: Expression<'static>,
    op: Operator,
    right: Expression<'static>,
) -> Statement<'static> {
    Statement::Match(Match { left, right, op })
}

fn meta(key: MetaKey) -> Expression<'static> {
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

/// The chain at the hook.
const ENTERS: &str = "enters_from_vpn";
/// The chain of what enters from the VPN.
const MARKS: &str = "mark_for_filter";
/// The chain of what has its mark.
const UNTRACKED: &str = "track_once";
/// Prefixes that a packet is compared with before the routes are asked: about what a walk through them costs.
const MOST_NEAR: usize = 16;
/// The priority of the hook that nft calls `raw`: before connection tracking, which is to leave out what is diverted.
pub const RAW: i32 = -300;
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

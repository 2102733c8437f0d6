//! [`Effects`]: the changes that another version of a feed makes to a policy.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::RoutePlan;
use crate::address::PrefixSet;
use crate::filter::{CompileError, CompiledPolicy, Generation, Question, Set};
use crate::packet::Protocol;
use crate::packet::media::Payload;
use crate::policy::{Policy, PortRange};

/// The differences between two policies whose feeds differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// Addresses that enter the tunnel only after the change.
    pub enters: PrefixSet,
    /// Addresses that enter the tunnel only before the change.
    pub leaves: PrefixSet,
    /// Changed verdicts, grouped by old and new verdict.
    pub verdicts: Vec<VerdictChange>,
}

/// Addresses whose packets get a different verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictChange {
    /// The addresses.
    pub addresses: PrefixSet,
    /// Verdicts before, on client packets to these addresses: `forward default`, `tcp 1024-65535 drop media, ...`.
    pub before: String,
    /// Verdicts after.
    pub after: String,
}

impl Effects {
    /// Computes the changes made by replacing `before` with `after`.
    ///
    /// # Errors
    /// [`CompileError`] if either policy is too large for the filter.
    pub fn between(before: &Policy, after: &Policy) -> Result<Self, CompileError> {
        let (old, new) = (RoutePlan::new(before).tunnel, RoutePlan::new(after).tunnel);
        let verdicts = verdict_changes(before, after)?;
        Ok(Self {
            enters: new.subtract(&old),
            leaves: old.subtract(&new),
            verdicts,
        })
    }
}

fn verdict_changes(before: &Policy, after: &Policy) -> Result<Vec<VerdictChange>, CompileError> {
    let feeds = |policy: &Policy| -> PrefixSet {
        let feeds = policy.feeds.iter().map(crate::policy::Feed::addresses);
        feeds.fold(PrefixSet::EMPTY, |all, feed| all.union(&feed))
    };
    let (old, new) = (feeds(before), feeds(after));
    let changed = old.subtract(&new).union(&new.subtract(&old));
    let cuts = cuts(before);
    let (before, after) = (Judged::new(before.clone())?, Judged::new(after.clone())?);
    let mut answers: (Memo, Memo) = Default::default();
    let mut found: Vec<VerdictChange> = Vec::new();
    for piece in pieces(&changed, &cuts) {
        let address = piece.network();
        let was = before.verdicts(address, &mut answers.0);
        let becomes = after.verdicts(address, &mut answers.1);
        let (Some(was), Some(becomes)) = (was, becomes) else {
            continue;
        };
        if was == becomes {
            continue;
        }
        let addresses = PrefixSet::from_iter([piece]);
        let same = found
            .iter_mut()
            .find(|change| change.before == was && change.after == becomes);
        match same {
            Some(change) => change.addresses = change.addresses.union(&addresses),
            None => found.push(VerdictChange {
                addresses,
                before: was,
                after: becomes,
            }),
        }
    }
    Ok(found)
}

/// Returns every prefix, other than those of the feeds, at whose edges a verdict can change.
fn cuts(policy: &Policy) -> Vec<IpNet> {
    let servers = policy.servers.iter().flat_map(|server| &server.addresses);
    let allows = policy.allows.iter();
    let allows = allows.flat_map(|allow| allow.prefixes(&policy.vpn));
    let publics = policy.publics.iter().flat_map(|public| &public.addresses);
    let internal = policy
        .vpn
        .client_subnets
        .iter()
        .chain(&policy.corporate.subnets);
    let all = internal.chain(servers).chain(publics).copied();
    all.chain(allows).map(|prefix| prefix.value).collect()
}

/// Returns the prefixes of `set`, split so that each lies entirely inside or outside every one of `cuts`.
fn pieces(set: &PrefixSet, cuts: &[IpNet]) -> Vec<IpNet> {
    let mut parts = vec![set.clone()];
    for cut in cuts.iter().filter(|cut| set.overlaps(**cut)) {
        let cut = PrefixSet::from_iter([*cut]);
        parts = parts
            .iter()
            .flat_map(|part| [part.intersect(&cut), part.subtract(&cut)])
            .filter(|part| !part.is_empty())
            .collect();
    }
    parts
        .iter()
        .flat_map(|part| part.prefixes().collect::<Vec<_>>())
        .collect()
}

/// Verdicts by the sets that contain an address: the same sets give the same verdicts.
type Memo = HashMap<String, Option<String>>;

/// A compiled policy, and a client of each family as the source of test packets.
struct Judged {
    policy: CompiledPolicy,
    clients: PrefixSet,
}

impl Judged {
    fn new(policy: Policy) -> Result<Self, CompileError> {
        let clients = policy.vpn.client_addresses();
        let policy = CompiledPolicy::new(policy, Generation(1))?;
        Ok(Self { policy, clients })
    }

    /// Returns the verdicts on packets to `address`; `None` if no client has its family.
    fn verdicts(&self, address: IpAddr, memo: &mut Memo) -> Option<String> {
        let clients = &self.policy.policy().vpn.client_subnets;
        let same_family = |net: &IpNet| net.addr().is_ipv4() == address.is_ipv4();
        let from = clients.iter().map(|it| it.value).find(same_family)?.addr();
        let question = |protocol, to_port| Question {
            from,
            from_port: None,
            to: address,
            to_port,
            protocol,
            // A change is told by what becomes of media.
            payload: Payload::MicrosoftCheck,
        };
        let sets = self.policy.explain(&question(None, None))?.destination;
        let sets = sets.iter().map(|it| {
            let among_clients = self.clients.covers(it.prefix);
            set_name(it.set, among_clients)
        });
        let sets: Vec<String> = sets.collect();
        let key = format!("{} {}", address.is_ipv4(), sets.join(", "));
        if let Some(known) = memo.get(&key) {
            return known.clone();
        }
        let by_protocol = [Protocol::Tcp, Protocol::Udp].map(|protocol| {
            let explanation = self.policy.explain(&question(Some(protocol), None))?;
            let answers = explanation.answers.iter();
            let answers: Vec<String> = answers
                .map(|it| match it.ports {
                    PortRange::ALL => it.verdict.to_string(),
                    ports => format!("{ports} {}", it.verdict),
                })
                .collect();
            Some(answers.join(", "))
        });
        let said = match by_protocol {
            [Some(tcp), Some(udp)] if tcp == udp => Some(tcp),
            [Some(tcp), Some(udp)] => Some(format!("tcp {tcp}; udp {udp}")),
            [None, _] | [_, None] => None,
        };
        memo.insert(key, said.clone());
        said
    }
}

/// Returns a key for the set: without the parts that do not affect verdicts (the entry of a feed), and with the part
/// that does (whether an `[[allow]]` holds the address by a prefix that is `among_clients`).
fn set_name(set: Set<'_>, among_clients: bool) -> String {
    match set {
        Set::Feed(name, _) => format!("[[feed]] {name}"),
        Set::Allow(_) if among_clients => format!("{set} among clients"),
        Set::Clients | Set::Corporate | Set::Server(_) | Set::Allow(_) | Set::Public(_) => {
            set.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;

    const POLICY: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8", "52.120.0.0/16"]
[routes]
tunnel = "full"
[[feed]]
name = "Microsoft 365"
format = "prefixes"
file = "m365.txt"
"#;

    #[test]
    fn an_added_and_a_withdrawn_prefix_change_routes_and_verdicts() {
        let (policy, _) = policy::parse("policy.toml", POLICY.as_bytes()).expect("a good policy");
        let with = |list: &str| {
            let mut policy = policy.clone();
            policy.take_feed(0, list.as_bytes()).expect("a good feed");
            policy
        };
        let effects = Effects::between(
            &with("52.112.0.0/14\n52.120.3.0/24\n"),
            &with("52.112.0.0/14\n52.122.0.0/15\n"),
        );
        let effects = effects.expect("small policies");
        assert_eq!(effects.enters.to_string(), "52.120.3.0/24");
        assert_eq!(effects.leaves.to_string(), "52.122.0.0/15");
        let said: Vec<String> = effects
            .verdicts
            .iter()
            .map(|it| format!("{}: {} -> {}", it.addresses, it.before, it.after))
            .collect();
        assert_eq!(
            said,
            [
                "52.120.3.0/24: forward public -> 0-1023 forward default, 1024-65535 drop media",
                "52.122.0.0/15: forward default -> forward public",
            ]
        );
    }

    #[test]
    fn clients_that_an_allow_has_by_prefixes_of_two_kinds_have_verdicts_of_two_kinds() {
        // No corporate prefix has either: the two differ in what the allow has them by, and in nothing else.
        let text = format!(
            "{POLICY}[[allow]]\nname = \"help\"\nto = [\"52.124.0.0/16\", \"20.0.0.0/8\"]\n"
        )
        .replace(
            "172.16.1.0/24",
            "20.8.0.0/24\", \"52.124.0.0/17\", \"52.124.128.0/17",
        );
        let (policy, _) = policy::parse("policy.toml", text.as_bytes()).expect("a good policy");
        let with = |list: &str| {
            let mut policy = policy.clone();
            policy.take_feed(0, list.as_bytes()).expect("a good feed");
            policy
        };
        let effects = Effects::between(
            &with("52.112.0.0/14\n20.8.0.0/30\n52.124.3.0/30\n"),
            &with("52.112.0.0/14\n"),
        );
        let effects = effects.expect("small policies");
        let after: Vec<String> = effects
            .verdicts
            .iter()
            .map(|it| format!("{}: {}", it.addresses, it.after))
            .collect();
        assert_eq!(
            after,
            [
                "20.8.0.0/30: 0-1023 forward default, 1024-65535 drop hairpin",
                "52.124.3.0/30: 0-1023 forward default, 1024-65535 forward allow",
            ]
        );
    }

    /// The changes that `after` makes where the feed had one prefix elsewhere.
    fn verdicts_of(text: &str, after: &str) -> Vec<String> {
        let (policy, _) = policy::parse("policy.toml", text.as_bytes()).expect("a good policy");
        let with = |list: &str| {
            let mut policy = policy.clone();
            policy.take_feed(0, list.as_bytes()).expect("a good feed");
            policy
        };
        let effects = Effects::between(&with("13.107.64.0/18\n"), &with(after));
        let changes = effects.expect("small policies").verdicts;
        let said = changes.iter();
        said.map(|it| format!("{}: {} -> {}", it.addresses, it.before, it.after))
            .collect()
    }

    #[test]
    fn addresses_with_the_same_change_are_named_together() {
        let after = "13.107.64.0/18\n52.96.0.0/14\n52.122.0.0/15\n";
        assert_eq!(
            verdicts_of(POLICY, after),
            ["52.96.0.0/14, 52.122.0.0/15: forward default -> forward public"]
        );
    }

    #[test]
    fn a_prefix_around_a_corporate_one_changes_verdicts_of_two_kinds() {
        let said = verdicts_of(POLICY, "13.107.64.0/18\n52.120.0.0/15\n");
        assert_eq!(
            said,
            [
                "52.120.0.0/16: 0-1023 forward default, 1024-65535 drop media -> forward public",
                "52.121.0.0/16: forward default -> forward public"
            ]
        );
    }

    #[test]
    fn protocols_with_different_verdicts_are_named_one_by_one() {
        let text = format!("{POLICY}[media]\nprotocols = [\"udp\"]\n");
        let said = verdicts_of(&text, "13.107.64.0/18\n52.120.3.0/24\n");
        assert_eq!(
            said,
            [
                "52.120.3.0/24: tcp forward default; udp 0-1023 forward default, 1024-65535 drop media \
                 -> forward public"
            ]
        );
    }
}

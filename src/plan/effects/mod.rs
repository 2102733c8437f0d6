//! [`Effects`]: the differences between two policies, in what they do.
//!
//! ```text
//!  before ─┐   keys       what the files say differently, as they print
//!          ├─▶ names      which names clients get another answer for
//!  after ──┘   routes     which addresses enter the tunnel, and which do so no more
//!              verdicts   which addresses get another verdict, for which ports
//! ```

mod keys;
mod names;
mod verdicts;

use std::fmt;

use serde_json::{Value, json};

use super::RoutePlan;
use crate::address::PrefixSet;
use crate::filter::{CompileError, CompiledPolicy, Generation};
use crate::policy::Policy;

pub use keys::KeyChange;
pub use names::NameChange;
pub use verdicts::VerdictChange;

/// The differences between two policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// Keys of the file with another value.
    pub keys: Vec<KeyChange>,
    /// Addresses that enter the tunnel only after the change.
    pub enters: PrefixSet,
    /// Addresses that enter the tunnel only before the change.
    pub leaves: PrefixSet,
    /// Changed verdicts, grouped by old and new verdict.
    pub verdicts: Vec<VerdictChange>,
    /// Names that clients get another answer for.
    pub names: Vec<NameChange>,
}

impl Effects {
    /// Computes the changes made by replacing `before` with `after`.
    ///
    /// # Errors
    /// [`CompileError`] if either policy is too large for the filter.
    pub fn between(before: &Policy, after: &Policy) -> Result<Self, CompileError> {
        let compiled = |policy: &Policy| CompiledPolicy::new(policy.clone(), Generation(1));
        Ok(Self::of_compiled(&compiled(before)?, &compiled(after)?))
    }

    /// Computes the same of policies that are compiled already.
    pub fn of_compiled(before: &CompiledPolicy, after: &CompiledPolicy) -> Self {
        let verdicts = verdicts::changes(before, after);
        let (before, after) = (before.policy(), after.policy());
        let (old, new) = (RoutePlan::new(before).tunnel, RoutePlan::new(after).tunnel);
        Self {
            keys: keys::changes(before, after),
            enters: new.subtract(&old),
            leaves: old.subtract(&new),
            verdicts,
            names: names::changes(before, after),
        }
    }

    /// Returns the number of prefixes that a policy is compared by, about: time and memory grow with it.
    pub fn prefixes_of(policy: &Policy) -> usize {
        let servers = policy.servers.iter().map(|it| it.addresses.len());
        let allows = policy.allows.iter().map(|it| it.to.len());
        let publics = policy.publics.iter().map(|it| it.addresses.len());
        let feeds = policy
            .feeds
            .iter()
            .map(|it| it.prefixes.iter().flatten().count());
        let internal = policy.vpn.client_subnets.len() + policy.corporate.subnets.len();
        internal
            + servers
                .chain(allows)
                .chain(publics)
                .chain(feeds)
                .sum::<usize>()
    }

    /// Returns `true` if the two do the same, and their files say the same.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.has_no_effect()
    }

    /// Returns `true` if no verdict, no route and no name changes, whatever the files say.
    pub fn has_no_effect(&self) -> bool {
        self.enters.is_empty()
            && self.leaves.is_empty()
            && self.verdicts.is_empty()
            && self.names.is_empty()
    }

    /// Returns a line for each change, with at most `most` prefixes in each.
    pub fn summary(&self, most: usize) -> Vec<String> {
        let keys = self.keys.iter().map(ToString::to_string);
        let routes = [
            (&self.leaves, "leaves the tunnel"),
            (&self.enters, "enters the tunnel"),
        ];
        let routes = routes.into_iter().filter(|(set, _)| !set.is_empty());
        let routes = routes.map(|(set, title)| format!("{title}: {}", shortened(texts(set), most)));
        let verdicts = self.verdicts.iter();
        let verdicts =
            verdicts.map(|change| format!("{change}: {}", shortened(change.named.clone(), most)));
        let names = self.names.iter().map(|change| format!("name {change}"));
        keys.chain(routes).chain(verdicts).chain(names).collect()
    }

    /// Describes them for programs.
    pub fn as_json(&self) -> Value {
        let keys = self.keys.iter().map(|change| {
            json!({
                "table": change.table,
                "key": change.key,
                "before": change.before,
                "after": change.after,
            })
        });
        let verdicts = self.verdicts.iter().map(|change| {
            json!({
                "prefixes": texts(&change.addresses),
                "payloads": change.payloads.iter().map(|it| it.word()).collect::<Vec<_>>(),
                "before": change.before,
                "after": change.after,
            })
        });
        let names = self.names.iter().map(|change| {
            json!({
                "name": change.name.to_string(),
                "before": change.before,
                "after": change.after,
            })
        });
        json!({
            "keys": keys.collect::<Vec<_>>(),
            "enters_tunnel": texts(&self.enters),
            "leaves_tunnel": texts(&self.leaves),
            "verdicts": verdicts.collect::<Vec<_>>(),
            "names": names.collect::<Vec<_>>(),
        })
    }
}

/// Writes a change a line, the prefixes of each indented below it.
impl fmt::Display for Effects {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.keys {
            writeln!(out, "{change}")?;
        }
        for (set, title) in [
            (&self.leaves, "leaves the tunnel"),
            (&self.enters, "enters the tunnel"),
        ] {
            if !set.is_empty() {
                writeln!(out, "{title}")?;
                write_prefixes(out, set)?;
            }
        }
        for change in &self.verdicts {
            writeln!(out, "{change}")?;
            let mut named = change.named.iter();
            named.try_for_each(|line| writeln!(out, "  {line}"))?;
        }
        for change in &self.names {
            writeln!(out, "name {change}")?;
        }
        Ok(())
    }
}

fn write_prefixes(out: &mut fmt::Formatter<'_>, set: &PrefixSet) -> fmt::Result {
    set.prefixes()
        .try_for_each(|prefix| writeln!(out, "  {prefix}"))
}

/// Writes the first `most` of some prefixes.
fn shortened(mut texts: Vec<String>, most: usize) -> String {
    let more = texts.len().saturating_sub(most);
    texts.truncate(most);
    let mut text = texts.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn texts(set: &PrefixSet) -> Vec<String> {
    set.prefixes().map(|prefix| prefix.to_string()).collect()
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

    /// The differences between two texts.
    fn between(before: &str, after: &str) -> Effects {
        let [before, after] = [before, after].map(|text| {
            let (policy, _) = policy::parse("policy.toml", text.as_bytes()).expect("a good policy");
            policy
        });
        Effects::between(&before, &after).expect("small policies")
    }

    #[test]
    fn whatever_a_file_says_differently_is_told_with_its_effects() {
        let site = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
             [[server]]\nname = \"pool\"\naddresses = [\"10.1.0.10\"]\n";
        let same = between(site, &format!("# a comment\n{site}"));
        assert!(same.is_empty() && same.to_string().is_empty(), "{same}");
        let after = site.replace("10.1.0.10", "10.1.0.10\", \"10.1.0.11")
            + "[media]\nmatch = \"ice\"\n\
               [[allow]]\nname = \"RDP\"\nto = [\"10.9.0.0/24\"]\nports = [\"3389\"]\n\
               [[public]]\nname = \"Edge\"\naddresses = [\"192.0.2.7\"]\nhosts = [\"sip.contoso.com\"]\n\
               srv = [{ name = \"_sip._tls.contoso.com\", target = \"sip.contoso.com\", port = 443 }]\n\
               [dns]\nsip_domains = [\"contoso.com\"]\n[gateway]\nworkers = 2\n";
        let told = between(site, &after).to_string();
        // Not all of it: the hidden names of a SIP domain are many.
        for line in [
            "[gateway] workers: 2 is new",
            "[media] match: \"ports\" becomes \"ice\"",
            "srv = [{ name = \"_sip._tls.contoso.com\", target = \"sip.contoso.com\", port = 443",
            "[[allow]] \"RDP\" is new: to = [\"10.9.0.0/24\"], protocols = [\"tcp\", \"udp\"], ports = [\"3389\"], lifts = [\"media\"]",
            "[[server]] \"pool\" addresses: [\"10.1.0.10/32\"] becomes [\"10.1.0.10/32\", \"10.1.0.11/32\"]",
            "verdict: 0-1023 forward default, 1024-65535 drop media becomes drop servers\n  10.1.0.11/32",
            "verdict: forward default becomes forward public\n  192.0.2.7/32",
            "name sip.contoso.com: forwarded becomes pinned to 192.0.2.7",
            "name lyncdiscoverinternal.contoso.com: forwarded becomes hidden",
        ] {
            assert!(told.contains(line), "{line} is missing in\n{told}");
        }
        // What Lync's checks meet does not change there.
        for line in [
            "verdict on rtp, other: 0-1023 forward default, 1024-65535 drop media becomes forward default\n  \
             10.0.0.0/8 but for 10.1.0.10/31, 10.9.0.0/24\n",
            "verdict on rtp, other: 0-1023 forward default, 1024-65535 drop hairpin becomes forward default\n  172.16.1.0/24\n",
        ] {
            assert!(told.contains(line), "{line} is missing in\n{told}");
        }
    }

    #[test]
    fn the_way_back_is_the_difference_turned_round() {
        let one = POLICY;
        let other = POLICY
            .replace("\"full\"", "\"split\"")
            .replace("10.0.0.0/8", "10.0.0.0/9");
        let (there, back) = (between(one, &other), between(&other, one));
        assert_eq!((&there.enters, &there.leaves), (&back.leaves, &back.enters));
        assert!(!there.leaves.is_empty());
        let turned = |effects: &Effects| -> Vec<_> {
            let all = effects.verdicts.iter();
            all.map(|it| (it.addresses.clone(), it.after.clone(), it.before.clone()))
                .collect()
        };
        let straight: Vec<_> = back
            .verdicts
            .iter()
            .map(|it| (it.addresses.clone(), it.before.clone(), it.after.clone()))
            .collect();
        assert_eq!(turned(&there), straight);
        assert_eq!(there.verdicts.len(), 1, "{there}");
        assert_eq!(there.verdicts[0].addresses.to_string(), "10.128.0.0/9");
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

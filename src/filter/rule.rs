//! [`RuleTable`]: the numbered rules of a policy, so that a verdict can name one in four bytes.

use crate::policy::{Policy, Sourced};
use crate::verdict::{RuleId, RuleKind, Verdict};

/// One rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its kind.
    pub kind: RuleKind,
    /// Position among the rules of its kind, from 0, in file order.
    pub position: usize,
    /// The operator's name for it; `media` for `[media]`.
    pub name: String,
    /// Line of the policy file that names it, from 1; `None` if the file leaves `[media]` at its default.
    pub line: Option<u32>,
}

/// The rules of one policy: `[media]`, then servers, allows, public services and feeds, each in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTable {
    rules: Vec<Rule>,
    servers: usize,
    allows: usize,
}

impl RuleTable {
    /// Numbers the rules of `policy`.
    pub fn new(policy: &Policy) -> Self {
        let media = Rule {
            kind: RuleKind::Media,
            position: 0,
            name: "media".to_owned(),
            line: policy
                .media
                .ports
                .first()
                .map(|ports| ports.line)
                .filter(|&line| line > 0),
        };
        let servers = policy
            .servers
            .iter()
            .map(|rule| (RuleKind::Server, &rule.name));
        let allows = policy
            .allows
            .iter()
            .map(|rule| (RuleKind::Allow, &rule.name));
        let publics = policy
            .publics
            .iter()
            .map(|rule| (RuleKind::Public, &rule.name));
        let feeds = policy.feeds.iter().map(|rule| match rule.vendor {
            Some(_) => (RuleKind::Profile, &rule.name),
            None => (RuleKind::Feed, &rule.name),
        });
        let mut rules = vec![media];
        for named in [
            numbered(servers),
            numbered(allows),
            numbered(publics),
            numbered(feeds),
        ] {
            rules.extend(named);
        }
        Self {
            rules,
            servers: policy.servers.len(),
            allows: policy.allows.len(),
        }
    }

    /// `[media]`.
    pub fn media(&self) -> RuleId {
        RuleId::from_index(0)
    }

    /// The `[[server]]` at `position` in file order.
    pub fn server(&self, position: usize) -> RuleId {
        RuleId::from_index(1 + position)
    }

    /// The `[[allow]]` at `position` in file order.
    pub fn allow(&self, position: usize) -> RuleId {
        RuleId::from_index(1 + self.servers + position)
    }

    /// The `[[public]]` at `position` in file order; the feeds follow the last of them.
    pub fn public(&self, position: usize) -> RuleId {
        RuleId::from_index(1 + self.servers + self.allows + position)
    }

    /// The rule that `id` names; `None` for an id of another policy's table.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id.index())
    }

    /// Formats the reason of `verdict`, and the rule that decided, if any, `servers: Front End pool`, or the evidence:
    /// `media: flow of stun-check`.
    pub fn tell(&self, verdict: Verdict) -> String {
        if let Some(recognized) = verdict.media {
            return format!("{}: {recognized}", verdict.reason);
        }
        match verdict.rule.and_then(|rule| self.rule(rule)) {
            Some(rule) => format!("{}: {}", verdict.reason, rule.name),
            None => verdict.reason.to_string(),
        }
    }

    /// Every rule, in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter()
    }
}

/// Rules of one kind, numbered in file order.
fn numbered<'a>(named: impl Iterator<Item = (RuleKind, &'a Sourced<String>)>) -> Vec<Rule> {
    let rule = |(position, (kind, name)): (usize, (RuleKind, &Sourced<String>))| Rule {
        kind,
        position,
        name: name.value.clone(),
        line: Some(name.line),
    };
    named.enumerate().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;
    use crate::verdict::Reason;

    const POLICY: &[u8] = br#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[media]
ports = ["1024-65535"]
[[server]]
name = "s0"
addresses = ["10.1.0.1"]
[[server]]
name = "s1"
addresses = ["10.1.0.2"]
[[server]]
name = "s2"
addresses = ["10.1.0.3"]
[[allow]]
name = "a0"
to = ["10.1.0.1"]
[[allow]]
name = "a1"
to = ["10.1.0.2"]
[[public]]
name = "p0"
addresses = ["203.0.113.1"]
[[public]]
name = "p1"
addresses = ["203.0.113.2"]
"#;

    fn table() -> RuleTable {
        let (policy, _) = policy::parse("rule.toml", POLICY).expect("a good policy");
        RuleTable::new(&policy)
    }

    #[test]
    fn each_rule_has_a_number_of_its_own_in_the_order_of_the_file() {
        let table = table();
        let ids = [
            table.media(),
            table.server(0),
            table.server(1),
            table.server(2),
            table.allow(0),
            table.allow(1),
            table.public(0),
            table.public(1),
        ];
        let rules: Vec<&Rule> = ids.iter().filter_map(|id| table.rule(*id)).collect();
        assert_eq!(rules, table.iter().collect::<Vec<_>>());
        let names: Vec<(&str, RuleKind, usize)> = rules
            .iter()
            .map(|rule| (&*rule.name, rule.kind, rule.position))
            .collect();
        assert_eq!(
            names,
            [
                ("media", RuleKind::Media, 0),
                ("s0", RuleKind::Server, 0),
                ("s1", RuleKind::Server, 1),
                ("s2", RuleKind::Server, 2),
                ("a0", RuleKind::Allow, 0),
                ("a1", RuleKind::Allow, 1),
                ("p0", RuleKind::Public, 0),
                ("p1", RuleKind::Public, 1),
            ]
        );
        assert_eq!(table.rule(table.public(2)), None);
    }

    #[test]
    fn the_media_rule_has_a_line_only_where_the_file_gives_its_ports() {
        assert_eq!(table().iter().next().and_then(|media| media.line), Some(5));
        let text = b"[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n";
        let (policy, _) = policy::parse("rule.toml", text).expect("a good policy");
        let table = RuleTable::new(&policy);
        assert_eq!(table.iter().next().and_then(|media| media.line), None);
    }

    #[test]
    fn a_verdict_is_told_with_the_name_of_its_rule() {
        let table = table();
        let by_rule = Verdict::drop(Reason::Servers).by(table.server(1));
        assert_eq!(table.tell(by_rule), "servers: s1");
        assert_eq!(table.tell(Verdict::forward(Reason::Default)), "default");
    }
}

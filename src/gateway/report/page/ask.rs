//! [`Asked`]: a packet that a reader of the page asks about, and the [`Reply`].

use std::net::IpAddr;

use crate::filter::{Answer, CompiledPolicy, End, Explanation, Membership, Question};
use crate::packet::Protocol;
use crate::packet::media::Payload;
use crate::policy::Enforcement;
use crate::verdict::Action;

/// The fields of the form, as they were sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Asked {
    /// Source: an address, with a port or without.
    pub(super) from: String,
    /// Destination likewise.
    pub(super) to: String,
    /// `tcp`, `udp` or `icmp`; TCP and UDP if it is empty.
    pub(super) protocol: String,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// The question.
    pub(super) asked: Asked,
    /// The explanations, or what is wrong with the question.
    pub(super) outcome: Result<Explained, String>,
}

/// The explanation of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Explained {
    /// The verdicts, for each protocol, and for media beside other payloads where that differs.
    pub(super) cases: Vec<Case>,
    /// The sets of the policy that have one of the addresses.
    pub(super) sets: Vec<SetRow>,
}

/// The verdicts on one kind of packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    /// The kind: `TCP`, `UDP, a connectivity check`.
    pub(super) title: String,
    /// The verdicts, by ranges of ports.
    pub(super) rows: Vec<VerdictRow>,
    /// Ranges beyond those.
    pub(super) left_out: usize,
}

/// A verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VerdictRow {
    /// The ports of the destination that get it; `None` where ports do not matter.
    pub(super) ports: Option<String>,
    pub(super) verdict: String,
    pub(super) is_drop: bool,
    pub(super) because: String,
}

/// A set of the policy that has an address of the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SetRow {
    /// `source` or `destination`.
    pub(super) end: &'static str,
    pub(super) address: IpAddr,
    /// The set, its prefix and line; `None` if the address is in none.
    pub(super) found: Option<(String, String, u32)>,
}

impl Asked {
    /// Reads the query of the page's address; `None` if it asks nothing.
    pub(super) fn read(query: &str) -> Option<Self> {
        let mut asked = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*key {
                "from" => &mut asked.from,
                "to" => &mut asked.to,
                "protocol" => &mut asked.protocol,
                _ => continue,
            };
            value.trim().clone_into(field);
        }
        (asked != Self::default()).then_some(asked)
    }

    /// Asks `policy`, which is enforced so.
    pub(super) fn explain(self, policy: &CompiledPolicy, enforcement: &Enforcement) -> Reply {
        let outcome = self.explained(policy, enforcement);
        Reply {
            asked: self,
            outcome,
        }
    }

    fn explained(
        &self,
        policy: &CompiledPolicy,
        enforcement: &Enforcement,
    ) -> Result<Explained, String> {
        let end = |name: &str, text: &str| -> Result<End, String> {
            text.parse()
                .map_err(|why| format!("{name} is \"{text}\": {why}"))
        };
        let from = end("the source", &self.from)?;
        let to = end("the destination", &self.to)?;
        let protocols: &[Option<Protocol>] = match &*self.protocol {
            "" => &[Some(Protocol::Tcp), Some(Protocol::Udp)],
            "tcp" => &[Some(Protocol::Tcp)],
            "udp" => &[Some(Protocol::Udp)],
            "icmp" if from.port.is_some() || to.port.is_some() => {
                return Err("ICMP has no ports; leave them out".to_owned());
            }
            "icmp" => &[None],
            other => {
                return Err(format!(
                    "the protocol is \"{other}\": write tcp, udp or icmp"
                ));
            }
        };
        let mut explained = Explained::default();
        for protocol in protocols {
            let question = Question {
                from: from.address,
                from_port: from.port,
                to: to.address,
                to_port: to.port,
                protocol: *protocol,
                payload: Payload::Other,
            };
            explained.add(policy, enforcement, &question)?;
        }
        Ok(explained)
    }
}

impl Explained {
    /// Adds the verdicts on `question`, and those on media, if they are others.
    fn add(
        &mut self,
        policy: &CompiledPolicy,
        enforcement: &Enforcement,
        question: &Question,
    ) -> Result<(), String> {
        let case = |title, question: &Question, explanation: &Explanation<'_>| {
            let because = |answer: &Answer<'_>| {
                explanation.because_at(enforcement, policy.policy(), question, answer)
            };
            Case::new(title, explanation, because)
        };
        let ask = |question: &Question| {
            policy.explain(question).ok_or_else(|| {
                format!(
                    "{} and {} are of two families; no packet goes from one to the other",
                    question.from, question.to
                )
            })
        };
        let name = match question.protocol {
            Some(protocol) => protocol.to_string().to_uppercase(),
            None => "ICMP".to_owned(),
        };
        let plain = ask(question)?;
        self.cases.push(case(name.clone(), question, &plain));
        // Without recognition no payload matters.
        if policy.policy().media.recognition.profile().is_some() && question.protocol.is_some() {
            let check = Question {
                payload: Payload::MicrosoftCheck,
                ..*question
            };
            let media = ask(&check)?;
            if media.answers != plain.answers {
                let title = format!("{name}, a connectivity check and what follows in its flow");
                self.cases.push(case(title, &check, &media));
            }
        }
        if self.sets.is_empty() {
            self.sets = [
                ("source", question.from, &plain.source),
                ("destination", question.to, &plain.destination),
            ]
            .into_iter()
            .flat_map(|(end, address, found)| SetRow::of(end, address, found))
            .collect();
        }
        Ok(())
    }
}

impl Case {
    fn new(
        title: String,
        explanation: &Explanation<'_>,
        because: impl Fn(&Answer<'_>) -> String,
    ) -> Self {
        let has_ranges = explanation.answers.len() > 1;
        let row = |answer: &Answer<'_>| VerdictRow {
            ports: has_ranges.then(|| answer.ports.to_string()),
            verdict: answer.verdict.to_string(),
            is_drop: answer.verdict.action == Action::Drop,
            because: because(answer),
        };
        Self {
            title,
            rows: explanation.answers.iter().take(MAX_ROWS).map(row).collect(),
            left_out: explanation.answers.len().saturating_sub(MAX_ROWS),
        }
    }
}

impl SetRow {
    fn of(end: &'static str, address: IpAddr, found: &[Membership<'_>]) -> Vec<Self> {
        if found.is_empty() {
            return vec![Self {
                end,
                address,
                found: None,
            }];
        }
        let row = |it: &Membership<'_>| Self {
            end,
            address,
            found: Some((it.set.to_string(), it.prefix.to_string(), it.line)),
        };
        found.iter().take(MAX_ROWS).map(row).collect()
    }
}

impl Reply {
    /// The reply to a question that has not had its turn.
    pub(super) fn busy(asked: Asked) -> Self {
        Self {
            asked,
            outcome: Err("other questions are answered first; ask again".to_owned()),
        }
    }
}

/// Ranges of ports, or sets, that one answer shows.
const MAX_ROWS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::host::sample::compiled;

    fn reply(query: &str, more: &str) -> Reply {
        let asked = Asked::read(query).expect("a question");
        let policy = compiled(more, 1);
        asked.explain(&policy, &policy.policy().gateway.enforcement)
    }

    #[test]
    fn an_address_without_a_question_asks_nothing() {
        for query in ["", "from=&to=", "from=+&to=%20", "unknown=1"] {
            assert_eq!(Asked::read(query), None, "{query}");
        }
    }

    #[test]
    fn fields_are_decoded() {
        let asked = Asked::read("from=%5Bfd00%3A1%3A%3A10%5D%3A50000&to=10.20.0.7&protocol=udp");
        let asked = asked.expect("a question");
        assert_eq!(asked.from, "[fd00:1::10]:50000");
        assert_eq!((&*asked.to, &*asked.protocol), ("10.20.0.7", "udp"));
    }

    #[test]
    fn a_packet_gets_the_verdict_the_reason_and_the_line() {
        let reply = reply("from=172.16.1.10&to=10.20.0.7:50020&protocol=udp", "");
        let explained = reply.outcome.expect("it is in order");
        let [case] = &explained.cases[..] else {
            panic!("{explained:#?}");
        };
        let [row] = &case.rows[..] else {
            panic!("{case:#?}");
        };
        assert_eq!((&*row.verdict, row.is_drop), ("drop media", true));
        assert!(
            row.because
                .contains("corporate.subnets holds 10.0.0.0/8 (test.toml:5)"),
            "{row:?}"
        );
        let sets: Vec<_> = explained.sets.iter().map(|it| it.end).collect();
        assert_eq!(sets, ["source", "destination"]);
    }

    #[test]
    fn both_protocols_and_media_are_answered_where_they_differ() {
        let ice = "[media]\nmatch = \"ice\"\n";
        let reply = reply("from=172.16.1.10&to=10.20.0.7:50020", ice);
        let explained = reply.outcome.expect("it is in order");
        let titles: Vec<&str> = explained.cases.iter().map(|it| &*it.title).collect();
        assert_eq!(titles.len(), 4, "{titles:?}");
        assert!(
            titles[1].starts_with("TCP, a connectivity check"),
            "{titles:?}"
        );
        let verdicts: Vec<&str> = explained
            .cases
            .iter()
            .map(|it| &*it.rows[0].verdict)
            .collect();
        let both = ["forward default", "drop media"];
        assert_eq!(verdicts, [both, both].concat());
    }

    #[test]
    fn a_mistake_is_named_with_what_to_write_instead() {
        for (query, part) in [
            (
                "from=172.16.1&to=10.20.0.7",
                "the source is \"172.16.1\": write an address",
            ),
            (
                "from=172.16.1.10&to=",
                "the destination is \"\": write an address",
            ),
            ("from=172.16.1.10&to=fd00:2::7", "two families"),
            (
                "from=172.16.1.10&to=10.1.1.1&protocol=sctp",
                "write tcp, udp or icmp",
            ),
            (
                "from=172.16.1.10&to=10.1.1.1:5&protocol=icmp",
                "ICMP has no ports",
            ),
        ] {
            let why = reply(query, "").outcome.expect_err("a mistake");
            assert!(why.contains(part), "{why}");
        }
    }
}

//! Words for an [`Explanation`]: the reason of an answer as a sentence, and what a running gateway makes of it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{Answer, Explanation, Membership, Question, Set};
use crate::filter::rejection_kind;
use crate::packet::reject::RejectionKind;
use crate::policy::{Enforcement, MediaMatch, Policy};
use crate::verdict::{Action, DecidedBy, Reason};

/// An end of a packet: an address, and a port where one was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Ok(Self {
                address,
                port: None,
            });
        }
        match text.parse::<SocketAddr>() {
            Ok(end) => Ok(Self {
                address: end.ip(),
                port: Some(end.port()),
            }),
            Err(_) => Err(
                "write an address, 10.1.0.10 or 2001:db8::1, or one with a port, 10.1.0.10:5061 or \
                 [2001:db8::1]:5061"
                    .to_owned(),
            ),
        }
    }
}

impl Question {
    /// False if a gateway that enforces so counts a packet as dropped, and forwards it.
    pub fn is_enforced(&self, enforcement: &Enforcement, answer: &Answer<'_>) -> bool {
        answer.verdict.action == Action::Forward || enforcement.is_for(self.from)
    }

    /// The answer that the client gets from a gateway that enforces `policy` so.
    pub fn answered_by(
        &self,
        policy: &Policy,
        enforcement: &Enforcement,
        answer: &Answer<'_>,
    ) -> Option<RejectionKind> {
        let is_enforced = self.is_enforced(enforcement, answer);
        let protocol = self.protocol.filter(|_| is_enforced)?;
        rejection_kind(policy.filter.reject, answer.verdict, protocol, self.payload)
    }
}

impl Explanation<'_> {
    /// The same as [`because`](Self::because), and what a gateway that enforces the policy so makes of the packet.
    pub fn because_at(
        &self,
        enforcement: &Enforcement,
        policy: &Policy,
        question: &Question,
        answer: &Answer<'_>,
    ) -> String {
        let mut because = self.because(policy, question, answer);
        if let Some(kind) = question.answered_by(policy, enforcement, answer) {
            because.push_str(&format!("; answered by {}", kind.name()));
        }
        if !question.is_enforced(enforcement, answer) {
            let gap = enforcement.gap().unwrap_or_default();
            because.push_str(&format!("; NOT ENFORCED, the gateway forwards it: {gap}"));
        }
        because
    }

    /// The sentence that gives the reason of an answer to `question`.
    pub fn because(&self, policy: &Policy, question: &Question, answer: &Answer<'_>) -> String {
        let origin = &policy.origin;
        let place = answer.matched.map_or(String::new(), |it| {
            format!("{} holds {} ({origin}:{})", it.set, it.prefix, it.line)
        });
        let recognized = match answer.verdict.media {
            Some(it) => format!(", and it is media by {}", it.evidence),
            None => String::new(),
        };
        let media = || match answer.rule.and_then(|rule| rule.line) {
            Some(line) => format!("the port is one of media.ports ({origin}:{line}){recognized}"),
            None => format!("the port is one of media.ports (1024-65535 by default){recognized}"),
        };
        let reason = answer.verdict.reason;
        match reason.decided_by() {
            DecidedBy::Source => {
                let then = match answer.verdict.action {
                    Action::Forward => "; only clients are filtered",
                    Action::Drop => ", and filter.unknown_source is \"drop\"",
                };
                format!("{} is in none of vpn.client_subnets{then}", question.from)
            }
            DecidedBy::Public => format!("{place}; it should be reached outside the tunnel"),
            DecidedBy::Server => format!("{place}; Table 1, row 2: all ports"),
            DecidedBy::Corporate => format!("{place}, and {}; Table 1, row 1", media()),
            DecidedBy::Client => {
                let beyond = answer.beyond_clients.map_or(String::new(), |it| {
                    format!(
                        "; {} has {} ({origin}:{}), which reaches beyond vpn.client_subnets: add \"clients\" to its `to` to lift media between clients",
                        it.set, it.prefix, it.line
                    )
                });
                format!("{place}, and {}; media between clients{beyond}", media())
            }
            DecidedBy::Allow => format!("{place}; it lifts the rule that would drop it"),
            DecidedBy::Nothing if reason == Reason::Gateway => {
                format!("{} is the gateway's own address", question.to)
            }
            DecidedBy::Nothing if question.protocol.is_none() => {
                "the rules cover TCP and UDP; ICMP passes".to_owned()
            }
            DecidedBy::Nothing => {
                let internal =
                    |it: &Membership<'_>| matches!(it.set, Set::Clients | Set::Corporate);
                let mut ports = policy.media.ports.iter();
                let asked = answer.ports;
                let is_media_port = ports
                    .any(|it| it.value.first() <= asked.last() && asked.first() <= it.value.last());
                match policy.media.recognition {
                    MediaMatch::Ports => "no rule applies".to_owned(),
                    asked if is_media_port && self.destination.iter().any(internal) => format!(
                        "it is not recognized as media, and match = \"{}\" drops nothing else",
                        asked.word()
                    ),
                    _ => "no rule applies".to_owned(),
                }
            }
            DecidedBy::Header => reason.meaning().to_owned(),
        }
    }
}

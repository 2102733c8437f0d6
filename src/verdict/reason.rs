//! [`Reason`]: the reasons for verdicts, as one table with a row for each.
//!
//! Everything that names reasons is derived from this table: verdict files, `[[test]]` expectations, the metric label
//! `reason`, JSON, `explain`, summaries, counters and `docs/verdicts.md`.
//!
//! # Adding a reason
//!
//! 1. Add a row to the table below, at its place in the order of the verdicts.
//! 2. Return it where `filter` decides, and in the model beside it (`filter::reference`).
//! 3. Write the manual anew: `OFFRAMP_GENERATE=1 cargo test --lib generated_`.

use std::fmt;

use super::Action;

/// Derives the enum, the list of its values and the rows from the table.
macro_rules! reasons {
    ($($variant:ident $name:literal [$($action:ident),+] by $decided_by:ident: $meaning:literal, $source:literal;)+) => {
        /// The reason why a packet got its verdict; each has a counter.
        ///
        /// The order is the order of the verdicts: the first reason that applies wins.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the verdicts.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            const fn row(self) -> &'static Row {
                match self {
                    $(Self::$variant => &Row {
                        name: $name,
                        actions: &[$(Action::$action),+],
                        decided_by: DecidedBy::$decided_by,
                        meaning: $meaning,
                        source: $source,
                    },)+
                }
            }
        }
    };
}

reasons! {
    Malformed "malformed" [Drop] by Header:
        "The header is one that no host accepts: a wrong version, wrong lengths, or an extension header that is cut short.",
        "RFC 791 §3.1, RFC 8200 §3 and §4";
    NotAClient "not-a-client" [Forward] by Source:
        "The source lies outside `vpn.client_subnets`, so the policy does not apply to the packet.",
        "policy, `filter.unknown_source = \"forward\"`";
    SpoofedSource "spoofed-source" [Drop] by Source:
        "The source lies outside `vpn.client_subnets`, and the policy drops such packets.",
        "policy, `filter.unknown_source = \"drop\"`; BCP 38 (RFC 2827)";
    SourceRouted "source-routed" [Drop] by Header:
        "A source route has hops left: the destination in the header is not where the packet ends up.",
        "RFC 791 §3.1, RFC 7126 §4.3, RFC 8200 §4.4, RFC 5095";
    Public "public" [Forward, Drop] by Public:
        "The destination is a `[[public]]` service or in a `[[feed]]`: the packet should have gone outside the tunnel. \
         It is dropped where `filter.leaked_public = \"drop\"`.",
        "article, Tables 2 to 4";
    Gateway "gateway" [Forward] by Nothing:
        "The destination is one of the gateway's own addresses, and no `[[server]]` lists exactly that address: the gateway \
         receives the packet itself. Only a running gateway knows its addresses, and `explain --gateway-address`.",
        "RFC 1812 §5.2.3";
    Servers "servers" [Drop] by Server:
        "TCP or UDP to an address of a `[[server]]`, whatever the port.",
        "article, Table 1, row 2";
    Allow "allow" [Forward] by Allow:
        "An `[[allow]]` lifts the rule that would have dropped the packet.",
        "policy, `[[allow]]`";
    Media "media" [Drop] by Corporate:
        "TCP or UDP to a port of `media.ports` at a corporate address: media to an internal host.",
        "article, Table 1, row 1";
    Hairpin "hairpin" [Drop] by Client:
        "TCP or UDP to a port of `media.ports` at a client's address: media that would leave through the tunnel again.",
        "article, Table 1, row 1";
    TinyFragment "tiny-fragment" [Drop] by Header:
        "The ports would decide, and the first fragment ends before them.",
        "RFC 1858 §3, RFC 7112 §5";
    Default "default" [Forward] by Nothing:
        "No rule of the policy applies.",
        "article: what Table 1 does not name passes";
}

/// The part of a packet, or of the policy, that leads to a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecidedBy {
    /// The header of the packet alone.
    Header,
    /// Its source address.
    Source,
    /// A `[[public]]` service or a `[[feed]]` that has the destination.
    Public,
    /// A `[[server]]` that has the destination.
    Server,
    /// An `[[allow]]` that has the destination.
    Allow,
    /// A corporate prefix that has the destination.
    Corporate,
    /// A client prefix that has the destination.
    Client,
    /// No rule of the policy.
    Nothing,
}

/// A row of the table.
struct Row {
    name: &'static str,
    actions: &'static [Action],
    decided_by: DecidedBy,
    meaning: &'static str,
    source: &'static str,
}

impl Reason {
    /// The word for it in verdict files, `[[test]]` expectations, JSON, metric labels and messages.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The actions that a verdict with this reason can have.
    pub const fn actions(self) -> &'static [Action] {
        self.row().actions
    }

    /// The part of a packet, or of the policy, that leads to it.
    pub const fn decided_by(self) -> DecidedBy {
        self.row().decided_by
    }

    /// Its meaning for operators, in one or two sentences.
    pub const fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// The specification that asks for it.
    pub const fn source(self) -> &'static str {
        self.row().source
    }

    /// The reason with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The reasons that a verdict with `action` can have, in the order of the verdicts.
    pub fn of_action(action: Action) -> impl Iterator<Item = Self> {
        let possible = move |reason: &Self| reason.actions().contains(&action);
        Self::ALL.into_iter().filter(possible)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn each_reason_has_a_word_of_its_own_and_is_found_by_it() {
        let names: HashSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.name()), Some(reason));
        }
        assert_eq!(Reason::from_name("Media"), None);
    }

    #[test]
    fn the_words_fit_labels_and_files_of_other_programs() {
        for reason in Reason::ALL {
            let fits = |char: char| char.is_ascii_lowercase() || char == '-';
            assert!(reason.name().chars().all(fits), "{reason}");
        }
    }

    #[test]
    fn generated_manual_of_the_verdicts_is_current() {
        let mut text = String::from(INTRODUCTION);
        for reason in Reason::ALL {
            let actions = reason.actions().iter().map(|action| action.name());
            let actions: Vec<&str> = actions.collect();
            writeln!(
                text,
                "| `{reason}` | {} | {} | {} |",
                actions.join(", "),
                reason.meaning(),
                reason.source()
            )
            .expect("a string takes whatever is written");
        }
        text.push_str(ANSWERS);
        crate::generated::assert_file("docs/verdicts.md", &text);
    }

    const INTRODUCTION: &str = "\
<!-- generated from src/verdict/reason.rs; `OFFRAMP_GENERATE=1 cargo test --lib generated_` writes it -->

# Verdicts

A verdict is an action and a reason: `drop media`. It says what the filter does with a packet of a VPN client, and why. The
table has the reasons in the order in which they are tried; the first that applies decides.

The word is the same everywhere: in verdict files (`replay --verdicts`), in `expect` of a `[[test]]`, in JSON, in the drop log,
and as the label `reason` of the metrics `offramp_packets_total` and `offramp_bytes_total`, whose label `action` is the action.

| reason | actions | meaning | source |
|---|---|---|---|
";

    const ANSWERS: &str = "
## Answers to clients

A drop is silent unless `filter.reject` asks for an answer. It is for programs that try a service which no `[[allow]]` names: they
fail at once, and do not hang until they give up.

| `reject` | TCP | UDP |
|---|---|---|
| `\"none\"` | nothing | nothing |
| `\"tcp\"` | RST (RFC 9293 §3.10.7.1) | nothing |
| `\"all\"` | RST | ICMP \"port unreachable\" (RFC 792, RFC 4443 §3.1) |

- Drops as `servers`, `media` and `hairpin` are answered. A packet that is malformed, too short, source-routed or not a client's is not,
  and neither is one to a public service (`leaked_public = \"drop\"`), to many hosts, or a non-first fragment.
- **Media in UDP finds no answer**: neither what `media.match` recognizes nor, under any `match` and whichever rule drops it, a
  connectivity check, relay control or a handshake. The system reports an ICMP error to the socket that sent the packet (Windows as
  WSAECONNRESET, at the next read), and a client sends the checks of all its candidates from that socket, also of those that
  work. In TCP each candidate has a connection of its own, so media there is answered: it dies at once, and the client goes on to the next.
- The answer comes from the address that the client tried, and leaves by the VPN's interface itself: the firewall, the routes and the reverse
  path filters of the host do not see it. It goes only to clients to which the host has a route by an interface of `vpn.interfaces`; under
  eBPF that must be the interface by which the packet came. Under nftables that interface is unknown: let the VPN daemon or a reverse path
  filter stop clients that send with the address of another.
- A client gets up to 20 answers a second, all clients 1,000. The others are counted as suppressed: `rejections` in `status --json`,
  `offramp_rejections_total` and `offramp_rejections_suppressed_total`.
- It takes CAP_NET_RAW at the start, which is given up then. The unit asks for it in a drop-in only; a gateway that was started without it
  says at a reload that `filter.reject` takes effect at the next start.
";
}

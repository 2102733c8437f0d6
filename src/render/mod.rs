//! Files for other programs, written from a policy: one file a [`Target`].
//!
//! ```text
//!  RoutePlan     ──▶ routes/   VPN and DHCP servers, clients ──▶ text ──▶ read ──▶ Pushed: the same addresses
//!  Zones         ──▶ names/    DNS servers, clients          ──▶ text ──▶ read ──▶ NameTable: the same answers
//!  Ruleset       ──▶ rules/    firewalls on the gateway
//!  EndpointRules ──▶ rules/    the clients' own firewall
//!  Policy        ──▶ settings/ VPN clients and browsers      ──▶ text ──▶ read ──▶ the same settings
//! ```
//!
//! A target knows the limits of its program: a text that the program would cut or refuse is not written, and one that
//! some clients cannot take comes with a warning. [`compare()`] reads a file in place, also one that people edited, and says
//! how it differs from the policy: in addresses and answers, not in lines.
//!
//! To add a target, write its file beside the others of its folder and name it in the folder's `mod.rs`, as module and in
//! `TARGETS`.

mod budget;
mod compare;
// The page names the targets of all features.
#[cfg(all(test, feature = "xml"))]
mod manual;
pub mod names;
pub mod nft;
mod read;
pub mod reference;
pub mod routes;
pub mod rules;
pub mod settings;
mod target;
mod xml;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use thiserror::Error;

pub use budget::{Limit, Measure, Measures};
pub use compare::{CompareError, Difference, LineDifference, compare, difference, left_out};
pub use read::ReadError;
pub(crate) use read::code_lines;
pub use routes::Pushed;
pub use target::{Families, Form, Kind, Naming, Read, ReadNames, Target, Write};

use crate::plan::{EndpointRules, RoutePlan, Ruleset};
use crate::policy::Policy;

/// Choices that a policy does not make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The form of routes; the target's own choice without one.
    pub form: Option<Form>,
    /// The router of a DHCP route: the concentrator's address in the tunnel.
    pub via: Option<Ipv4Addr>,
    /// The name of the connection, group policy, access list or group of rules; the target's default without one.
    pub name: Option<String>,
}

/// The policy or a plan, from which a file is written.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A policy whose feeds have been loaded: enough for every target.
    Policy(&'a Policy),
    /// Routes alone: enough for targets of [`Kind::Routes`].
    Plan(&'a RoutePlan),
}

impl<'a> From<&'a Policy> for Source<'a> {
    fn from(policy: &'a Policy) -> Self {
        Self::Policy(policy)
    }
}

impl<'a> From<&'a RoutePlan> for Source<'a> {
    fn from(plan: &'a RoutePlan) -> Self {
        Self::Plan(plan)
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The file.
    pub text: String,
    /// The form of its routes; of IPv4, where the families differ. None for names and rules.
    pub form: Option<Form>,
    /// Its size, as its program counts.
    pub measures: Measures,
    /// Remarks for the operator, a sentence each.
    pub warnings: Vec<String>,
}

impl Rendered {
    /// A file of names or settings without a warning.
    fn of_names(text: String) -> Self {
        Self {
            text,
            form: None,
            measures: Measures::default(),
            warnings: Vec::new(),
        }
    }

    /// A file of `count` rules without a warning.
    fn of_rules(text: String, count: usize) -> Self {
        Self {
            measures: Measures {
                rules: count,
                ..Measures::default()
            },
            ..Self::of_names(text)
        }
    }
}

/// Why a file cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The route plan has an error and must not be used.
    #[error("{0}")]
    Refused(String),
    /// Programs would take an empty list for everything.
    #[error(
        "no address that {target} can express enters the tunnel, and programs take an empty list as everything"
    )]
    NothingEnters {
        /// The target.
        target: &'static Target,
    },
    /// The target has no such form.
    #[error("{target} has no {form} form: {why}")]
    NoSuchForm {
        /// The target.
        target: &'static Target,
        /// The form.
        form: Form,
        /// The reason.
        why: &'static str,
    },
    /// The target needs a router.
    #[error("{target} needs the concentrator's address in the tunnel: write --via ADDRESS")]
    NoVia {
        /// The target.
        target: &'static Target,
    },
    /// The target needs a name, and has no default.
    #[error("{target} needs a name: write --name {example}")]
    NoName {
        /// The target.
        target: &'static Target,
        /// A name that it could have.
        example: &'static str,
    },
    /// The target cannot have this name.
    #[error("`{name}` cannot be a name in {target}: {why}")]
    BadName {
        /// The target.
        target: &'static Target,
        /// The name, shortened.
        name: String,
        /// The reason.
        why: &'static str,
    },
    /// A strict limit of the target is exceeded.
    #[error("{target} takes {most} {measure} at most ({whose}); this plan has {count}{shrink}")]
    OverBudget {
        /// The target.
        target: &'static Target,
        /// The unit of the limit.
        measure: Measure,
        /// The count in the file.
        count: usize,
        /// The limit.
        most: usize,
        /// The program or standard that sets the limit.
        whose: &'static str,
        /// Ways to a smaller file.
        shrink: String,
    },
    /// The policy has no name to write.
    #[error(
        "the policy pins and hides no name: it has no hosts with addresses, no srv, no sip_domains"
    )]
    NoNames,
    /// Clients would be sent to a DNS server that the policy does not name.
    #[error(
        "{target} sends clients to the pin-point DNS server, at port 53: write its address into `dns.listen`"
    )]
    NoResolver {
        /// The target.
        target: &'static Target,
    },
    /// A name is too long below the policy zone's own.
    #[error(
        "{target} cannot write {name}: with the name of the policy zone behind it, it is longer than 255 bytes"
    )]
    NameTooLong {
        /// The target.
        target: &'static Target,
        /// The name.
        name: String,
    },
    /// The policy has no rule for clients.
    #[error(
        "{origin} has no [[endpoint]]: write which programs Windows Firewall keeps off the tunnel"
    )]
    NoEndpoint {
        /// The policy file.
        origin: String,
    },
    /// The policy asks for nothing that the target could set.
    #[error("{origin} has no setting for {target}: {why}")]
    NoSetting {
        /// The target.
        target: &'static Target,
        /// The policy file.
        origin: String,
        /// The reason, and what to write instead.
        why: &'static str,
    },
    /// No rule is left that the target could have.
    #[error("{target} can express none of the rules of {origin}: {why}")]
    NothingToSay {
        /// The target.
        target: &'static Target,
        /// The policy file.
        origin: String,
        /// The reason.
        why: &'static str,
    },
    /// The rules of a firewall cannot tell media from other traffic.
    #[error(
        "{target} cannot recognize media: it would drop everything to `media.ports`, Remote Desktop and SQL among it, \
         and {origin} has match = \"{recognition}\"; run `offramp run` with it, or write match = \"ports\" into a policy \
         of its own for {target}"
    )]
    NeedsRecognition {
        /// The target.
        target: &'static Target,
        /// The policy file.
        origin: String,
        /// The value of `media.match`.
        recognition: &'static str,
    },
    /// Names and rules do not follow from routes.
    #[error("{target} is not written from routes: it takes a policy")]
    NeedsPolicy {
        /// The target.
        target: &'static Target,
    },
}

/// Writes the file of `target`.
///
/// # Errors
/// [`RenderError`] where the plan must not be used, the target cannot say it, or a strict limit is exceeded.
pub fn render<'a>(
    target: &'static Target,
    source: impl Into<Source<'a>>,
    options: &Options,
) -> Result<Rendered, RenderError> {
    let source = source.into();
    let policy = match source {
        Source::Policy(policy) => Ok(policy),
        Source::Plan(_) => Err(RenderError::NeedsPolicy { target }),
    };
    match target.write {
        Write::Routes(_) => match source {
            Source::Policy(policy) => routes::render(target, &RoutePlan::new(policy), options),
            Source::Plan(plan) => routes::render(target, plan, options),
        },
        Write::Names(write) => names::render(policy?, write),
        Write::GatewayRules(naming, write) => {
            let policy = policy?;
            let recognition = policy.media.recognition;
            if recognition.profile().is_some() {
                return Err(RenderError::NeedsRecognition {
                    target,
                    origin: policy.origin.clone(),
                    recognition: recognition.word(),
                });
            }
            let name = rules::name_of(target, naming, options.name.as_deref())?;
            let ruleset = Ruleset::of(policy);
            let text = write(&ruleset, &name);
            Ok(Rendered::of_rules(text, ruleset.rules.len()))
        }
        Write::ClientRules(naming, write) => {
            let policy = policy?;
            let rules = EndpointRules::of(policy);
            if rules.rules.is_empty() {
                let origin = policy.origin.clone();
                return Err(RenderError::NoEndpoint { origin });
            }
            let name = rules::name_of(target, naming, options.name.as_deref())?;
            write(&rules, &name)
        }
        Write::Settings(naming, write) => {
            let name = rules::name_of(target, naming, options.name.as_deref())?;
            write(policy?, &name)
        }
    }
}

/// The size of `plan` as `target` counts, whatever its limits; zero for targets of other kinds.
///
/// # Errors
/// [`RenderError`] where the target cannot say it.
pub fn measures(
    target: &'static Target,
    plan: &RoutePlan,
    options: &Options,
) -> Result<Measures, RenderError> {
    match target.write {
        Write::Routes(write) => write(plan, options).map(|rendered| rendered.measures),
        Write::Names(_)
        | Write::GatewayRules(..)
        | Write::ClientRules(..)
        | Write::Settings(..) => Ok(Measures::default()),
    }
}

/// Reads a file of routes: the prefixes that it sends into the tunnel, and those that it keeps out. Lines that are no
/// routes are skipped. `None` for targets of other kinds.
///
/// # Errors
/// [`ReadError`] at the first route that has no meaning.
pub fn read(target: &Target, text: &str) -> Option<Result<Pushed, ReadError>> {
    match target.read {
        Read::Routes(read) => Some(read(text)),
        Read::NamedRoutes(read) => Some(read(text, None)),
        Read::Names(_) | Read::Settings(_) | Read::Lines { .. } | Read::No => None,
    }
}

//! The operator's policy file, from its text to its checked meaning.
//!
//! Three stages, three types. `PolicyFile` is syntax: what the TOML says, every value with its
//! span. [`Policy`] is meaning: plain, comparable, valid by construction. The filter's `CompiledPolicy` is speed.
//!
//! ```text
//!  bytes ──▶ SourceText ──▶ PolicyFile ──▶ Policy ──▶ lint
//!  size      UTF-8, lines   TOML, spans    values     the whole
//!    └───────────┴──────────────┴────────────┴──────────┴──▶ Diagnostics
//! ```
//!
//! A folder uses those to its left, and a test sees to it:
//!
//! ```text
//!  diagnostic    value            syntax              section            meaning       lint
//!  messages  ◀── readers of   ◀── text, TOML,     ◀── a file each:   ◀── `Policy`: ◀── the whole policy:
//!  and their     one value:       tables, keys,       types, keys,       all the       contradictions,
//!  drawing       an address,      error recovery      read, write        sections      doubts
//!                a name
//! ```
//!
//! A key is a constant in the file of its section; reader, printer, messages and [`manual()`] take its name, bounds and
//! example from there.
//!
//! Every stage reports all it finds and hands on what is sound, so that one run names every mistake of a file.
//! Nothing here reads files: [`parse`] takes the text and a name for messages.

mod accepted;
mod diagnostic;
mod feeds;
#[cfg(test)]
mod keys;
mod lint;
mod manual;
mod meaning;
#[cfg(test)]
mod mistakes;
mod page;
pub mod reference;
mod schema;
mod section;
pub mod services;
pub mod site;
mod syntax;
mod value;

pub use accepted::{accept, warn_of_idle_accepts};
pub use diagnostic::{
    AcceptedWarning, Code, Diagnostic, Diagnostics, Label, MAX_DIAGNOSTICS, Remark, Severity, Style,
};
pub use feeds::Withdrawn;
pub use manual::manual;
pub use meaning::Policy;
pub use page::page;
pub use schema::schema;
pub use section::accept::Accept;
pub use section::allow::{Allow, Destination, Lifts};
pub use section::corporate::Corporate;
pub use section::dns::{Canary, DnsOptions};
pub use section::endpoint::{Endpoint, EndpointMatch, FirewallProfile, InterfaceType};
pub use section::feed::{
    CloudInstance, EntryChoice, EntryKey, Feed, FeedFormat, FeedPrefix, ServerPrefixes,
    WidePrefixes,
};
pub use section::filter::{FilterOptions, LeakedPublic, Reject, UnknownSource};
pub use section::gateway::{
    DiversionChoice, DivertScope, Enforcement, EnforcementOff, FailMode, GatewayOptions, MarkBits,
    WithoutInterfaces,
};
pub use section::media::{MediaMatch, MediaOptions};
pub use section::public::{PublicService, SrvRecord};
pub use section::routes::{PushKind, PushTarget, RouteOptions, TunnelMode};
pub use section::server::Server;
pub use section::test::{Claim, Expectation, Expected, ExpectedAnswer, LookupType};
pub use section::vpn::{Ipv6Intent, VpnOptions};
pub use syntax::encoding::MAX_FILE_SIZE;
pub use value::{PortRange, Product, Protocol, ProtocolSet, Sourced};

use diagnostic::{Collector, SourceText};
use syntax::encoding::{Decoded, decode};
use syntax::file::{self, PolicyFile};
use syntax::recovery;

/// Reads the policy file `text`; `origin` names it in messages.
///
/// The diagnostics beside a policy are warnings.
///
/// # Errors
///
/// Every mistake of the file, when there is at least one.
///
/// ```
/// use offramp::policy::{self, Style};
///
/// let text = b"[vpn]\nclient_subnets = [\"172.16.1.0/8\"]\n";
/// let refused = policy::parse("policy.toml", text).unwrap_err();
/// assert_eq!(refused.iter().count(), 1);
/// println!("{}", refused.render(Style::Plain));
/// ```
pub fn parse(origin: &str, text: &[u8]) -> Result<(Policy, Diagnostics), Diagnostics> {
    let Decoded {
        text,
        problems,
        is_readable,
    } = decode(text);
    let mut out = Collector::new(&text);
    out.home_of = section::title_of_home;
    problems.into_iter().for_each(|problem| out.add(problem));
    let policy = if is_readable {
        parse_text(origin, &text, &mut out)
    } else {
        None
    };
    let refused = out.has_errors();
    let diagnostics = out.finish(origin);
    match policy {
        Some(policy) if !refused => Ok((policy, diagnostics)),
        Some(_) | None => Err(diagnostics),
    }
}

fn parse_text(origin: &str, text: &SourceText<'_>, out: &mut Collector<'_>) -> Option<Policy> {
    let first_error = match PolicyFile::parse(text.as_str()) {
        Ok(file) => {
            out.damaged = out.has_errors();
            let policy = Policy::read(origin, &file, out)?;
            if !out.has_errors() {
                lint::check(&policy, &file, out);
            }
            return Some(policy);
        }
        Err(error) => error,
    };
    out.damaged = true;
    let (recovered, errors) = recovery::recover(text.as_str(), &first_error);
    for error in &errors {
        let report = file::report(error, text.as_str(), text);
        out.add(if text.as_str().len() > recovery::MAX_RECOVERED {
            report.with_help(
                "the file is large: what else is wrong in it is looked for once it is TOML",
            )
        } else {
            report
        });
    }
    // The policy is refused; wrong values beside the syntax errors are worth reporting in the same run.
    if let Some(Ok(file)) = recovered.as_deref().map(PolicyFile::parse) {
        Policy::read(origin, &file, out);
    }
    None
}

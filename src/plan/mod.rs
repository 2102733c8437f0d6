//! What follows from a policy, for others to carry out.
//!
//! ```text
//!  Policy ──▶ RoutePlan     which addresses enter the tunnel: what the VPN pushes
//!         ──▶ call          which way a call takes, and why
//!         ──▶ verify        whether filter, routes and names agree
//!         ──▶ diverted      which destinations the filter has to see
//!         ──▶ Zones         which names clients get an answer of their own for
//!         ──▶ Ruleset       the filter's verdicts as a list of rules
//!         ──▶ EndpointRules what Windows Firewall blocks on the clients
//!         ──▶ broken_expectations   which of its own [[test]] entries do not hold
//! ```
//!
//! A plan is a value: sets of addresses, where each came from, and what there is to say about them. `render` writes it
//! in the words of each VPN server.

pub mod call;
mod diversion;
mod effects;
mod endpoint;
mod entry;
mod expect;
mod remark;
mod routes;
mod ruleset;
mod source;
pub mod verify;
mod widen;
pub mod zones;

pub use diversion::{diverted, diverted_on_every_port};
pub use effects::{Effects, VerdictChange};
pub use endpoint::{Direction, EndpointRule, EndpointRules};
pub use entry::Entry;
pub use expect::{BrokenExpectation, Happens, broken_expectations};
pub use routes::{PlanDifference, RoutePlan, enters_tunnel};
pub use ruleset::{PacketRule, PortSet, Portless, Ruleset, Traffic};
pub use source::{Source, SourceKind};
pub use widen::{TooNarrow, Widening};
pub use zones::{Answer, Zones};

#[cfg(test)]
mod tests;

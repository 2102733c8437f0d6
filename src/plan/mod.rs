//! Plans: the values that follow from a policy and that others carry out.
//!
//! ```text
//!  Policy ──▶ RoutePlan     which addresses enter the tunnel: what the VPN pushes
//!         ──▶ diverted      which destinations the filter has to see
//!         ──▶ Zones         which names clients get an answer of their own for
//!         ──▶ Ruleset       the filter's verdicts as a list of rules
//!         ──▶ EndpointRules what Windows Firewall blocks on the clients
//! ```
//!
//! A plan holds sets of addresses, the origin of each, and remarks about them. `render` writes a plan in the language
//! of each VPN server.

mod diversion;
mod effects;
mod endpoint;
mod prefix;
mod remark;
mod routes;
mod ruleset;
mod source;
mod widen;
pub mod zones;

pub use diversion::{diverted, diverted_on_every_port};
pub use effects::{Effects, KeyChange, NameChange, VerdictChange};
pub use endpoint::{BlockedTraffic, Direction, EndpointRule, EndpointRules, EndpointSubject};
pub use prefix::PlannedPrefix;
pub use routes::{PlanDifference, RoutePlan, enters_tunnel};
pub use ruleset::{PacketRule, Portless, Ruleset, Traffic};
pub use source::{Source, SourceKind};
pub use widen::{TooNarrow, Widening};
pub use zones::{Answer, Zones};

#[cfg(test)]
mod tests;

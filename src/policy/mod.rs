//! What the operator wants.
//!
//! Three stages, three types. `PolicyFile` is syntax: what the TOML says, every value with its
//! span. [`Policy`] is meaning: plain, comparable, valid by construction. The filter's `CompiledPolicy` is speed.

mod meaning;

pub use meaning::{
    Allow, Corporate, DivertScope, DnsOptions, Endpoint, Expectation, FailMode, Feed, FeedFormat,
    FilterOptions, GatewayOptions, LeakedPublic, Lifts, MediaMatch, MediaOptions, Policy,
    PortRange, ProtocolSet, PublicService, RouteOptions, Server, Sourced, SrvRecord, TunnelMode,
    UnknownSource, VpnOptions,
};

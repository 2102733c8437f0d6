//! Many gateways, one policy: releases in a store that others run, an agent on each gateway that fetches them, and the commands
//! that publish them.
//!
//! ```text
//!  publish ──▶ store: offramp/v1/release/41/{policy.toml.gz, manifest, manifest.minisig}
//!                     offramp/v1/channel/stable = 41
//!                           │                         ▲ offramp/v1/gateway/ID: status, where the store takes one
//!  agent on each gateway ◀──┘ signature, digest, serial, site file, check, tests
//!              └──▶ policy.toml, replaced as a whole ──▶ run, which follows the file
//! ```
//!
//! The policy file is all that the agent and the gateway have in common: `run` knows no store, and goes on without the agent. The
//! agent has no rights; it writes its own folder. A store cannot make up a policy: a release is signed, its serial must be higher
//! than that of the one before, and it must hold on this gateway. It can withhold one, and offer one that was signed for another
//! channel.

pub mod agent;
mod http;
pub mod layout;
pub mod publish;
pub mod release;
pub mod report;
mod running;
pub mod spool;
pub mod store;

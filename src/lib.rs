//! offramp keeps real-time media of Lync, Skype for Business and Teams off the VPN.
//!
//! It judges the packets of VPN clients by one policy file, as Microsoft's article "Enabling Lync Media to Bypass a VPN
//! Tunnel" asks of a gateway: what goes to the Lync servers, and peer-to-peer media to internal hosts and to other
//! clients, is dropped; the call then finds its way outside the tunnel, by the A/V Edge's public relay.
//!
//! # The map of the house
//!
//! A folder may use lower floors only. Everything below `gateway` is pure: no I/O, threads or clocks; bytes, policy and
//! time come in as arguments, a value goes out. It builds alone, with `--no-default-features` (without `capture`, `datapath` and
//! `dns`, which have features of their own).
//!
//! ```text
//!  floor                                                                  needs
//!    7   cli       one file a command                                   ┐ feature
//!    6   gateway   tun device, diversion, DNS server, status, the host  │ "gateway"
//!    5   files     regular files only, written whole or not at all      ┘
//!    5   verify    proofs: outlets against each other, files in use, predicted calls, [[test]]
//!    4   render    a plan → the file that another program reads, one file a target
//!    4   dns       DNS messages: the policy's answers, and what upstreams may answer
//!    3   plan      values that follow from a policy: routes, names, rules, endpoints
//!    3   datapath  packets in batches: backend → judge → backend
//!    3   audit     services that a policy would cut off: the operator's summary
//!    2   filter    Policy → CompiledPolicy; packet → Verdict; explain
//!    1   policy    TOML → Policy, or every mistake of the file
//!    0   address   longest-prefix match: address → class; sets of addresses and ports
//!    0   packet    bytes → PacketView; fragments; merging; media, recognized
//!    0   verdict   action, reason, rule: the table of reasons
//!    0   message   text of others in messages to people
//!    0   name      DNS names and record types
//!    0   number    numbers for people
//!    0   feed      prefixes that others publish
//!    0   vendor    facts about services of others, each with its source
//!    0   capture   pcap, pcapng, link headers
//!    0   random    pseudorandom numbers of tests and the fault injector
//! ```
//!
//! # Features
//!
//! | feature | what it adds | crates |
//! |---|---|---|
//! | `gateway` (default) | the program: `cli`, `gateway`, `files`, and every feature below but `fuzzing` | those of the operating system |
//! | `captures` | `capture` and `datapath`: capture files, and packets in batches | pcap-file, pcap-parser, flate2 |
//! | `dns` | `dns`: the messages of the DNS server | hickory-proto |
//! | `snippets` | diagnostics of a policy drawn with their lines; without it they are lines of text | annotate-snippets |
//! | `xml` | the target `windows-profilexml` of `render` | roxmltree |
//! | `fuzzing` | reference models and generators, for the fuzz targets | arbitrary, pnet_packet |
//!
//! `default-features = false` leaves policy, filter, plans, all other targets of `render` and the proofs of `verify`, with nine
//! direct dependencies.
//!
//! # One packet, judged
//!
//! ```
//! use std::time::Duration;
//! use offramp::filter::{Capacity, CompiledPolicy, Generation, Judge};
//! use offramp::packet::Received;
//!
//! let text = br#"
//!     [vpn]
//!     client_subnets = ["172.16.1.0/24"]
//!     [corporate]
//!     subnets = ["10.0.0.0/8"]
//! "#;
//! let (policy, _warnings) = offramp::policy::parse("site.toml", text)?;
//! let policy = CompiledPolicy::new(policy, Generation(1))?;
//!
//! // From 172.16.1.10, port 50000, to 10.2.0.20, port 50010: media that would take the tunnel.
//! let mut bytes = Vec::new();
//! etherparse::PacketBuilder::ipv4([172, 16, 1, 10], [10, 2, 0, 20], 64)
//!     .udp(50_000, 50_010)
//!     .write(&mut bytes, &[0; 160])?;
//!
//! let mut judge = Judge::new(Capacity::GATEWAY);
//! let verdict = judge.judge_one(&policy, Received::whole(&bytes, Duration::ZERO));
//! assert_eq!(verdict.to_string(), "drop media");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]
// The pure half reads no clock, file or environment: clippy.toml has the list. Unit tests may.
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

// A third party can use `address`, `packet`, `verdict`, `policy`, `filter`, `plan` and `render`, with the `name` and `feed` that
// their signatures speak of. The rest is public for the program's tests, benchmarks and fuzz targets alone, and may
// change with every version: it is hidden from the documentation.
pub mod address;
#[doc(hidden)]
pub mod audit;
#[cfg(feature = "captures")]
#[doc(hidden)]
pub mod capture;
#[cfg(feature = "gateway")]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "files and the environment are read here"
)]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "captures")]
#[doc(hidden)]
pub mod datapath;
#[cfg(feature = "dns")]
#[doc(hidden)]
pub mod dns;
pub mod feed;
#[cfg(feature = "gateway")]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "files are opened and written here, in the name of whoever called sudo"
)]
#[doc(hidden)]
pub mod files;
pub mod filter;
#[cfg(feature = "gateway")]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "threads, clocks, files and sockets belong here"
)]
#[doc(hidden)]
pub mod gateway;
mod message;
pub mod name;
#[cfg(feature = "gateway")]
mod number;
pub mod packet;
pub mod plan;
pub mod policy;
#[doc(hidden)]
pub mod random;
pub mod render;
pub mod vendor;
pub mod verdict;
#[doc(hidden)]
pub mod verify;

#[cfg(test)]
mod floors;
#[cfg(test)]
mod generated;

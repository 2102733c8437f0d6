//! The running gateway with real kernels, VPN daemons, clients, resolvers and calls.
//!
//! Every test with hosts re-executes itself in a sandbox of its own (`site::in_sandbox`), so tests of this binary
//! share no interface, port or rule.

#![cfg(feature = "gateway")]

#[path = "../packets/mod.rs"]
mod packets;
#[path = "../site/mod.rs"]
mod site;
#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod beside;
mod bulk;
mod clsact;
mod containers;
mod datapath;
mod dns;
mod drops;
mod enforcement;
mod failover;
mod faults;
mod firewalld;
mod firewalls;
mod fleet;
mod flows;
mod forwarding;
mod health;
mod ice;
mod init;
mod interfaces;
mod kernel;
mod life;
mod live;
mod metrics;
mod names;
mod ocserv;
mod openvpn;
mod page;
mod programs;
mod pushes;
mod refusals;
mod reject;
mod reload;
mod service;
mod services;
mod soak;
mod suspects;
mod top;
mod trace;
mod trial;
mod wireguard;

//! The gateway's use of its host: addresses, interfaces and routes, VPN daemons, files and their changes, feeds, the lock, privileges, the service manager.

pub mod addresses;
mod calls;
pub mod daemons;
pub mod feeds;
pub mod fetch;
pub mod fleet_state;
pub mod interfaces;
pub mod last_good;
pub mod lock;
mod mirror;
pub mod rights;
#[cfg(test)]
pub(in crate::gateway) mod sample;
pub mod service;
pub mod settings;
pub mod source;
pub mod survey;
pub mod watch;

//! Rendered files loaded by the programs they are for: VPN servers and clients, DNS servers, firewalls.

#![cfg(feature = "gateway")]

#[path = "../packets/mod.rs"]
mod packets;
#[path = "../site/mod.rs"]
mod site;
#[path = "../support/mod.rs"]
mod support;

mod firewall;
mod names;
mod routes;
mod settings;

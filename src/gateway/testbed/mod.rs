//! A site in a box: homes, concentrator, corporate network and Edge, in network namespaces of this process.
//!
//! ```text
//!  home A 203.0.113.10 ──┐                                  ┌── A/V Edge, public 167.55.49.34
//!   vpn0 172.16.1.10     ├────────── Internet ──────────────┤
//!  home B 203.0.113.11 ──┘             │                    │
//!   vpn0 172.16.1.11        203.0.113.1│                    │
//!         ╎                     concentrator                │
//!         ╎ tunnel              tun0 172.16.1.1             │
//!         ╎╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ │ 10.0.0.1           │
//!                                      │                    │ internal 10.2.0.5
//!         offices, servers ────── corporate network ────────┘
//! ```
//!
//! The demo, the benchmark and the tests all use [`namespace::Host`].
//!
//! The kernel does all the networking, except for the VPN daemon, whose stand-in ([`vpn`]) carries packets unencrypted.
//! If the system allows user namespaces, the site needs no root. When the process ends, for any reason, the kernel
//! removes the site.

pub mod names;
pub mod namespace;
pub mod site;
pub mod traffic;
pub mod vpn;

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
//! The demo, the benchmark and the tests make their hosts of the same [`namespace::Host`].
//!
//! Everything is the kernel's, but for the VPN daemon, whose stand-in ([`vpn`]) carries packets unencrypted. Where user
//! namespaces are allowed no root is needed. When the process ends, however it ends, the kernel takes all of it back.

pub mod names;
pub mod namespace;
pub mod site;
pub mod traffic;
pub mod vpn;

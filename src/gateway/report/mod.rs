//! The state of a running gateway, for people and for programs: one snapshot, served on a socket, for Prometheus and as a page.

mod connections;
pub mod control;
pub mod metrics;
pub mod page;
pub mod reload_report;
pub mod series;
pub mod status;
pub mod trace;

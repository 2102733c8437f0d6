//! The state of a running gateway, for people and for programs: one snapshot, served on a socket and for Prometheus.

pub mod control;
pub mod metrics;
pub mod reload_report;
pub mod series;
pub mod status;
pub mod trace;

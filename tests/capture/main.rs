//! Captures through the library's door: read, written, and judged packet by packet.
//!
//! Needs no feature: it runs against the pure half, too.

#[path = "../support/skip.rs"]
mod skip;

mod link_types;
mod media;
mod reader;
mod verdicts;
mod writer;

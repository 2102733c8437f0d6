//! Captures through the library's public interface: read, written, and judged packet by packet.
//!
//! Needs no feature: these tests also run on the pure half.

#[path = "../support/skip.rs"]
mod skip;

mod link_types;
mod media;
mod quality;
mod reader;
mod verdicts;
mod writer;

//! Captures through the library's public interface: read, written, and judged packet by packet.
//!
//! Needs the feature `captures` alone: these tests also run on the pure half.

#![cfg(feature = "captures")]

#[path = "../support/skip.rs"]
mod skip;

mod bytes;
mod link_types;
mod media;
mod quality;
mod reader;
mod verdicts;
mod writer;

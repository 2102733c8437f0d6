//! Policy files through the library's public interface: accepted, refused, accepted with warnings, and arbitrary bytes.
//!
//! Needs no feature: these tests also run on the pure half.

#[path = "../support/skip.rs"]
mod skip;

mod accepted;
mod any_bytes;
mod refused;
mod warned;

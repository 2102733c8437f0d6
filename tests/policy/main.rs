//! Policy files through the library's door: accepted, refused with a report, accepted with warnings, and any bytes at all.
//!
//! Needs no feature: it runs against the pure half, too.

#[path = "../support/skip.rs"]
mod skip;

mod accepted;
mod any_bytes;
mod refused;
mod warned;

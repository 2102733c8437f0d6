//! Rules for other firewalls, against the filter: policies, packets, a kernel, and readers of the files.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

pub mod bed;
pub mod endpoint_files;
pub mod policies;
pub mod rule_files;
pub mod shape;

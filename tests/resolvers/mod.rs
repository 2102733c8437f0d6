//! What the tests of DNS servers share: a policy and the questions that clients ask, a DNS server of the company that would
//! give everything away, and `dig`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

pub mod dig;
pub mod leaky;
pub mod table;

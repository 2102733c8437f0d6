//! offramp keeps real-time media off the VPN.

pub mod capture;
pub mod filter;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod packet;
pub mod policy;
pub mod prefix;

//! offramp keeps real-time media off the VPN.

pub mod capture;
pub mod filter;
pub mod packet;
pub mod policy;
pub mod prefix;

//! Leads packets of VPN clients to the filter.

pub mod nftables;

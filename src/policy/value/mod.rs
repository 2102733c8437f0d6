//! Readers of single values: an address, a range of ports, the name of a host.

pub(in crate::policy) mod address;
pub(in crate::policy) mod name;
pub(in crate::policy) mod port;
pub(in crate::policy) mod problem;
pub(in crate::policy) mod product;

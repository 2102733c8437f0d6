//! The sections of a policy file.

pub(in crate::policy) mod dns;
pub(in crate::policy) mod test;

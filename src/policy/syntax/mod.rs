//! From bytes to a table of values with their spans: text, TOML, one section of it.

pub(in crate::policy) mod encoding;
pub(in crate::policy) mod file;
pub(in crate::policy) mod recovery;
pub(in crate::policy) mod section;

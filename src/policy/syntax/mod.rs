//! From bytes to a table of values with their spans, and back: text, TOML, sections, keys.

pub(in crate::policy) mod encoding;
pub(in crate::policy) mod file;
mod hints;
pub(in crate::policy) mod key;
mod names;
pub(in crate::policy) mod recovery;
mod section;
pub(in crate::policy) mod write;

pub(in crate::policy) use file::{Place, PolicyFile};
pub(in crate::policy) use key::{Absent, Form, Header, Key, Kind, Need, SectionTable};
pub(in crate::policy) use names::Names;
pub(in crate::policy) use section::{Section, is_array_of_tables};

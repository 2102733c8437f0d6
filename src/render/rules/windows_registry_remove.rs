//! Windows Firewall as a group policy stores it: the removal of the values that [`super::windows_registry`] writes.

use super::windows::GROUP;
use super::windows_registry::file;
use crate::plan::EndpointRules;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// The removal of the registry values.
pub const TARGET: Target = Target {
    name: "windows-registry-remove",
    about: "the removal of what windows-registry wrote",
    accepted_by: "a second reader; no Windows was tried",
    caveats: "",
    file: "offramp-firewall-remove.reg",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::ClientRules(GROUP, write),
    read: Read::Lines { comment: ";" },
};

fn write(rules: &EndpointRules, group: &str) -> Result<Rendered, RenderError> {
    file(&TARGET, rules, group, |_, _| "-".to_owned())
}

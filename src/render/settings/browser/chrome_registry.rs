//! Chrome on Windows: calls from the interface of the default route.

use super::{ABOUT_INTERFACES, MODE_2, NAMING, for_split_tunnels, registry};
use crate::policy::Policy;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Policies of Chrome on Windows.
pub const TARGET: Target = Target {
    name: "chrome-registry",
    about: "a .reg file for Chrome on Windows, whose calls then keep to the interface of the default route; for split tunnels",
    accepted_by: "a second reader of .reg files; no Windows was tried",
    caveats: "Chrome 91 and later",
    file: "chrome-policies.reg",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Settings(NAMING, |policy, _| write(policy)),
    read: Read::Settings(|text, _| registry::read(text, KEY)),
};

fn write(policy: &Policy) -> Result<Rendered, RenderError> {
    for_split_tunnels(&TARGET, policy)?;
    let value = format!("\"WebRtcIPHandling\"=\"{MODE_2}\"");
    let text = registry::file(&policy.origin, &ABOUT_INTERFACES, KEY, &value, TARGET.file);
    Ok(Rendered::of_names(text))
}

/// The key of Chrome's mandatory policies.
const KEY: &str = r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Google\Chrome";

//! Chrome on macOS: calls from the interface of the default route.

use super::{ABOUT_INTERFACES, MODE_2, NAMING, for_split_tunnels, plist};
use crate::policy::Policy;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Policies of Chrome on macOS.
pub const TARGET: Target = Target {
    name: "chrome-plist",
    about: "a property list for Chrome on macOS (preference domain com.google.Chrome), whose calls then keep to the interface of the default \
            route; for split tunnels",
    accepted_by: "Python's plistlib; no macOS was tried",
    caveats: "Chrome 91 and later",
    file: "com.google.Chrome.plist",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Settings(NAMING, |policy, _| write(policy)),
    read: Read::Settings(|text, _| plist::read(text)),
};

fn write(policy: &Policy) -> Result<Rendered, RenderError> {
    for_split_tunnels(&TARGET, policy)?;
    let name = "WebRtcIPHandling";
    let text = plist::file(&policy.origin, &ABOUT_INTERFACES, name, MODE_2);
    Ok(Rendered::of_names(text))
}

//! Edge on macOS: calls from the interface of the default route.

use super::{ABOUT_INTERFACES, MODE_2, NAMING, for_split_tunnels, plist};
use crate::policy::Policy;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Policies of Edge on macOS.
pub const TARGET: Target = Target {
    name: "edge-plist",
    about: "a property list for Edge on macOS (preference domain com.microsoft.Edge), whose calls then keep to the interface of the default \
            route; for split tunnels",
    accepted_by: "Python's plistlib; no macOS was tried",
    caveats: "Edge 77 and later; Intune takes the key and its value alone, without what stands around them",
    file: "com.microsoft.Edge.plist",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Settings(NAMING, |policy, _| write(policy)),
    read: Read::Settings(|text, _| plist::read(text)),
};

fn write(policy: &Policy) -> Result<Rendered, RenderError> {
    for_split_tunnels(&TARGET, policy)?;
    let name = "WebRtcLocalhostIpHandling";
    let text = plist::file(&policy.origin, &ABOUT_INTERFACES, name, MODE_2);
    Ok(Rendered::of_names(text))
}

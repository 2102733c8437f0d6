//! Edge on Windows: calls follow the routing table.

use super::{NAMING, registry};
use crate::policy::Policy;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// Policies of Edge on Windows.
pub const TARGET: Target = Target {
    name: "edge-registry",
    about: "a .reg file for Edge on Windows, whose calls then follow the routes and so the exclusions",
    accepted_by: "a second reader of .reg files; no Windows was tried",
    caveats: "Edge prefers the interface of the route and is not held to it; Edge 94 and later, on Windows alone",
    file: "edge-policies.reg",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Settings(NAMING, |policy, _| write(policy)),
    read: Read::Settings(|text, _| registry::read(text, KEY)),
};

fn write(policy: &Policy) -> Result<Rendered, RenderError> {
    let about = [
        "Edge 94 and later on Windows prefers, for each remote address of a call, the interface that the routing table names: what the VPN",
        "excludes goes outside (Microsoft Edge Browser Policy Documentation, WebRtcRespectOsRoutingTableEnabled, 2024-10-22).",
        "It prefers, and is not held to it. It does nothing on macOS and Linux, and nothing for other browsers.",
    ];
    let value = "\"WebRtcRespectOsRoutingTableEnabled\"=dword:00000001";
    let text = registry::file(&policy.origin, &about, KEY, value, TARGET.file);
    Ok(Rendered::of_names(text))
}

/// The key of Edge's mandatory policies.
const KEY: &str = r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Edge";

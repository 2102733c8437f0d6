//! OpenVPN: a client's own file, in place of the routes that the server pushes to everybody.

use super::openvpn::{LIMITS, Pushes, read};
use crate::plan::RoutePlan;
use crate::render::{Families, Options, Read, RenderError, Rendered, Target, Write};

/// A client's file in OpenVPN's `client-config-dir`.
pub const TARGET: Target = Target {
    name: "openvpn-ccd",
    about: "a client's file in client-config-dir, in place of the server's routes",
    accepted_by: "OpenVPN: server, client and its kernel routes",
    caveats: "",
    file: "openvpn-ccd",
    is_executable: false,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let pushes = Pushes::of(plan, options);
    let text = format!("{}{REMOVE_SERVER_ROUTES}{}", pushes.head, pushes.lines());
    Ok(pushes.rendered(text))
}

/// A client's file adds to what the server pushes; so the server's routes go first. The space keeps `route-gateway` and
/// `route-metric`, which begin alike: OpenVPN compares the beginning of the option.
pub(super) const REMOVE_SERVER_ROUTES: &str =
    "push-remove \"route \"\npush-remove \"route-ipv6 \"\npush-remove redirect-gateway\n";

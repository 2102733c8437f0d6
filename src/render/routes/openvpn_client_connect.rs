//! OpenVPN: a script that writes a client's own file when the client connects.

use super::openvpn::{LIMITS, Pushes, read};
use super::openvpn_ccd::REMOVE_SERVER_ROUTES;
use crate::plan::RoutePlan;
use crate::render::{Families, Options, Read, RenderError, Rendered, Target, Write};

/// A script for OpenVPN's `client-connect`.
pub const TARGET: Target = Target {
    name: "openvpn-client-connect",
    about: "a client-connect script that writes the same",
    accepted_by: "OpenVPN: server, client and its kernel routes; `sh -n`",
    caveats: "",
    file: "openvpn-client-connect.sh",
    is_executable: true,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let pushes = Pushes::of(plan, options);
    // OpenVPN names the file to write as the last argument.
    let text = format!(
        "#!/bin/sh\n{}cat >> \"$1\" <<'OFFRAMP_ROUTES'\n{REMOVE_SERVER_ROUTES}{}OFFRAMP_ROUTES\n",
        pushes.head,
        pushes.lines()
    );
    Ok(pushes.rendered(text))
}

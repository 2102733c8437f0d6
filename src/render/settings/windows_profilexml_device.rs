//! Windows' Always On VPN: ProfileXML of the device tunnel, beside that of the user tunnel (`windows-profilexml`).
//!
//! ```text
//!  device tunnel   before logon   always split                     its routes: corporate and client subnets
//!  user tunnel     after logon    split, or everything but public  carries the exclusions
//! ```
//!
//! Microsoft, "Configure the VPN device tunnel in Windows client" (2023-01-25): a device tunnel is IKEv2 with a machine certificate, cannot
//! force everything into the tunnel, and needs Windows 10 Enterprise or Education 1709 on a domain-joined device. With traffic filters
//! it denies what comes in, so none is written. VPNv2 CSP: one device tunnel a machine, always on by itself, of `./Device` alone.
//!
//! Its routes are those of the policy's split tunnel, whatever `routes.tunnel` says.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::address::PrefixSet;
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::policy::{Policy, TunnelMode};
use crate::render::routes::windows_profilexml::{is_of_server, pushed};
use crate::render::rules::head;
use crate::render::xml::comment;
use crate::render::{Families, Naming, Read, ReadError, RenderError, Rendered, Target, Write};

/// ProfileXML of a device tunnel.
pub const TARGET: Target = Target {
    name: "windows-profilexml-device",
    about: "VPNv2 ProfileXML of an Always On VPN device tunnel with the internal prefixes (--name SERVER); exclusions are the user \
            tunnel's, of windows-profilexml",
    accepted_by: "an XML parser, and a schema written from its documentation; no Windows was tried",
    caveats: "Windows Enterprise or Education, domain-joined; with both tunnels up a destination of both has two routes, and the lower metric \
              decides (unverified)",
    file: "profile-device.xml",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Settings(
        Naming::Required {
            example: "vpn.contoso.com",
            refuses: |name| {
                (!name.bytes().all(is_of_server))
                    .then_some("it is the VPN server's DNS name or address")
            },
        },
        write,
    ),
    read: Read::Settings(read),
};

fn write(policy: &Policy, server: &str) -> Result<Rendered, RenderError> {
    let mut split = policy.clone();
    split.routes.tunnel = TunnelMode::Split;
    let plan = RoutePlan::new(&split);
    if let Some(error) = plan.error() {
        return Err(RenderError::Refused(error.message().to_owned()));
    }
    // Windows keeps a route of its own to the server.
    let routes = plan.included_but_gateways();
    if routes.is_empty() {
        return Err(RenderError::NothingEnters { target: &TARGET });
    }
    let count = routes.prefixes().count();
    let mut text = format!(
        "<!-- {} -->\n<!-- A device tunnel, routes: {count}; ProfileXML of ./Device/Vendor/MSFT/VPNv2/NAME, added by LOCAL SYSTEM -->\n\
         <!-- The user tunnel (windows-profilexml) carries the exclusions. This one has none: it is split, and takes its routes alone. -->\n\
         <!-- Microsoft's example has routes to single servers: keep those that have to be reached before logon, such as domain -->\n\
         <!-- controllers, where the user tunnel has the rest. No TrafficFilter: with one, a device tunnel denies what comes in. -->\n\
         <VPNProfile>\n  <AlwaysOn>true</AlwaysOn>\n  <DeviceTunnel>true</DeviceTunnel>\n  <NativeProfile>\n    \
         <Servers>{server}</Servers>\n    <RoutingPolicyType>SplitTunnel</RoutingPolicyType>\n    \
         <NativeProtocolType>IKEv2</NativeProtocolType>\n    \
         <DisableClassBasedDefaultRoute>true</DisableClassBasedDefaultRoute>\n    <Authentication>\n      \
         <MachineMethod>Certificate</MachineMethod>\n    </Authentication>\n  </NativeProfile>\n",
        comment(&head(&policy.origin)),
    );
    for prefix in routes.prefixes() {
        _ = write!(
            text,
            "  <Route>\n    <Address>{}</Address>\n    <PrefixSize>{}</PrefixSize>\n  </Route>\n",
            prefix.addr(),
            prefix.prefix_len()
        );
    }
    text.push_str("</VPNProfile>\n");
    Ok(Rendered::of_names(text))
}

/// Reads what makes a device tunnel, and its routes as addresses: two halves are their whole.
fn read(text: &str, _: Option<&str>) -> Result<BTreeSet<String>, ReadError> {
    let document = roxmltree::Document::parse(text).map_err(|error| {
        let line = usize::try_from(error.pos().row).unwrap_or(0);
        ReadError::new(line, shorten(&error.to_string()))
    })?;
    let mut settings = BTreeSet::new();
    for name in [
        "AlwaysOn",
        "DeviceTunnel",
        "Servers",
        "RoutingPolicyType",
        "NativeProtocolType",
        "MachineMethod",
        "UserMethod",
        "DisableClassBasedDefaultRoute",
    ] {
        let mut found = document.descendants().filter(|it| it.has_tag_name(name));
        if let Some(value) = found.next().and_then(|it| it.text()) {
            settings.insert(format!("{name} {}", value.trim()));
        }
    }
    let filters = document.descendants();
    if filters
        .into_iter()
        .any(|it| it.has_tag_name("TrafficFilter"))
    {
        settings.insert("TrafficFilter, which denies what comes in".to_owned());
    }
    let routes = pushed(&document)?;
    let enters: PrefixSet = routes.tunnel();
    settings.extend(
        enters
            .prefixes()
            .map(|prefix| format!("{prefix} enters the device tunnel")),
    );
    Ok(settings)
}

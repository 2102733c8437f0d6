//! Windows' own VPN: ProfileXML of the VPNv2 configuration service provider, with exclusion routes.
//!
//! `ExclusionRoute` (Windows 10 1803 and later) stands in a `Route` element beside `NativeProfile`, not inside it. Windows
//! keeps a route of its own to the server.
//!
//! Without a name the file is a fragment: the elements to take over into a profile that has its servers and its
//! authentication. With a name, that of the server, it is whole, in the order of the schema that Microsoft publishes
//! ("ProfileXML XSD", 2018, and that of the VPNv2 DDF file, which has `ExclusionRoute`): IKEv2, and the certificate of the
//! machine.

use std::fmt::Write as _;

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{Pushed, read_prefix};
use super::windows_powershell::LIMITS;
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::xml::comment;
use crate::render::{
    Families, Form, Options, Read, ReadError, RenderError, Rendered, Target, Write,
};

/// ProfileXML of a Windows client.
pub const TARGET: Target = Target {
    name: "windows-profilexml",
    about: "VPNv2 ProfileXML with exclusion routes: a fragment, or with --name SERVER a whole profile (IKEv2, machine certificate)",
    accepted_by: "an XML parser, a second reader, and a schema written from its documentation; no Windows was tried",
    caveats: "",
    file: "profile.xml",
    is_executable: false,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let server = options.name.as_deref();
    if let Some(name) = server
        && (name.is_empty() || !name.bytes().all(is_of_server))
    {
        return Err(RenderError::BadName {
            target: &TARGET,
            name: shorten(name),
            why: "it is the VPN server's DNS name or address",
        });
    }
    let form = options.form.unwrap_or(Form::Exclude);
    let lists = Lists::of(plan, form, form, Gateways::LeftToClient);
    let measures = measures(lists.all());
    let is_forced = include_everything(&lists, plan);
    let lists = if is_forced {
        Lists {
            includes: Vec::new(),
            ..lists
        }
    } else {
        // A route of a whole family would force all of both families into the tunnel.
        lists.in_halves()
    };
    let what = format!(
        "{} routes, {} exclusions",
        lists.includes.len(),
        lists.excludes.len()
    );
    let [first, second] = head(plan, &what).map(|line| comment(&line));
    let place = match server {
        Some(_) => {
            "a whole profile: ProfileXML of ./Vendor/MSFT/VPNv2/NAME, in Intune a custom VPN profile; for users write Eap in place of MachineMethod; \
             beside a device tunnel (windows-profilexml-device) this is the user tunnel, which carries the exclusions"
        }
        None => {
            "a fragment: Route elements go into VPNProfile behind NativeProfile, the others into NativeProfile between Servers and Authentication"
        }
    };
    let mut text = format!(
        "<!-- {first} -->\n<!-- {second} -->\n<!-- {place} -->\n<VPNProfile>\n  <NativeProfile>\n"
    );
    if let Some(server) = server {
        _ = writeln!(text, "    <Servers>{server}</Servers>");
    }
    // The schema has this order.
    let protocol = match server {
        Some(_) => "    <NativeProtocolType>IKEv2</NativeProtocolType>\n",
        None => "",
    };
    if is_forced {
        text.push_str("    <RoutingPolicyType>ForceTunnel</RoutingPolicyType>\n");
        text.push_str(protocol);
    } else {
        text.push_str("    <RoutingPolicyType>SplitTunnel</RoutingPolicyType>\n");
        text.push_str(protocol);
        text.push_str("    <DisableClassBasedDefaultRoute>true</DisableClassBasedDefaultRoute>\n");
    }
    if server.is_some() {
        text.push_str(
            "    <Authentication>\n      <MachineMethod>Certificate</MachineMethod>\n    </Authentication>\n",
        );
    }
    text.push_str("  </NativeProfile>\n");
    let includes = lists.includes.iter().map(|line| (line, false));
    for (line, is_exclusion) in includes.chain(lists.excludes.iter().map(|line| (line, true))) {
        if !line.origin.is_empty() {
            _ = writeln!(text, "  <!-- {} -->", comment(&line.origin));
        }
        _ = write!(
            text,
            "  <Route>\n    <Address>{}</Address>\n    <PrefixSize>{}</PrefixSize>\n",
            line.prefix.addr(),
            line.prefix.prefix_len()
        );
        if is_exclusion {
            text.push_str("    <ExclusionRoute>true</ExclusionRoute>\n");
        }
        text.push_str("  </Route>\n");
    }
    text.push_str("</VPNProfile>\n");
    Ok(Rendered {
        text,
        form: Some(form),
        measures,
        warnings: Vec::new(),
    })
}

/// Returns `true` for a byte of a DNS name or an address.
pub(in crate::render) const fn is_of_server(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':')
}

/// Returns `true` if everything enters the tunnel in each family of which clients have addresses.
fn include_everything(lists: &Lists, plan: &RoutePlan) -> bool {
    let has_all = |v6: bool| {
        let includes = lists.includes.iter().map(|line| line.prefix);
        let mut whole = includes.filter(|prefix| prefix.prefix_len() == 0);
        whole.any(|prefix| prefix.addr().is_ipv6() == v6)
    };
    (has_all(false) || !plan.families.has_v4()) && (has_all(true) || !plan.families.has_v6())
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let document = roxmltree::Document::parse(text).map_err(|error| {
        let line = usize::try_from(error.pos().row).unwrap_or(0);
        ReadError::new(line, shorten(&error.to_string()))
    })?;
    pushed(&document)
}

/// The routes of a profile.
pub(in crate::render) fn pushed(document: &roxmltree::Document<'_>) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    let forced = document
        .descendants()
        .filter(|node| node.has_tag_name("RoutingPolicyType"))
        .any(|node| node.text().map(str::trim) == Some("ForceTunnel"));
    if forced {
        pushed
            .includes
            .extend([false, true].map(Pushed::everything));
    }
    for route in document
        .descendants()
        .filter(|node| node.has_tag_name("Route"))
    {
        let line = document.text_pos_at(route.range().start).row;
        let line = usize::try_from(line).unwrap_or(0);
        let child = |name| {
            let found = route.children().find(|node| node.has_tag_name(name));
            found.and_then(|node| node.text()).map(str::trim)
        };
        let (Some(address), Some(length)) = (child("Address"), child("PrefixSize")) else {
            return Err(ReadError::new(
                line,
                "a Route without Address or PrefixSize",
            ));
        };
        let net = read_prefix(line, &format!("{address}/{length}"))?;
        if child("ExclusionRoute") == Some("true") {
            pushed.excludes.push(net);
        } else {
            pushed.includes.push(net);
        }
    }
    Ok(pushed)
}

//! Windows' own VPN: ProfileXML with exclusion routes, and PowerShell.
//!
//! `ExclusionRoute` (Windows 10 1803 and later) stands in a `Route` element beside `NativeProfile`, not inside it.
//! `Add-VpnConnectionRoute` has no word for exclusions: PowerShell gets the include form. Windows keeps a route of its
//! own to the server.

use std::fmt::Write as _;

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{ReadError, code_lines, read_prefix, shorten};
use super::{Form, Options, Pushed, RenderError, Rendered, Target};
use crate::plan::RoutePlan;

pub(super) fn write_xml(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let form = options.form.unwrap_or(Form::Exclude);
    let lists = Lists::of(plan, form, form, Gateways::LeftToClient);
    let measures = measures(lists.all());
    let is_forced = lists.include_everything(plan);
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
    // Two hyphens end a comment.
    let [first, second] = head(plan, &what).map(|line| line.replace("--", "- -"));
    let mut text =
        format!("<!-- {first} -->\n<!-- {second} -->\n<VPNProfile>\n  <NativeProfile>\n");
    if is_forced {
        text.push_str("    <RoutingPolicyType>ForceTunnel</RoutingPolicyType>\n");
    } else {
        text.push_str(
            "    <RoutingPolicyType>SplitTunnel</RoutingPolicyType>\n    \
             <DisableClassBasedDefaultRoute>true</DisableClassBasedDefaultRoute>\n",
        );
    }
    text.push_str("  </NativeProfile>\n");
    let includes = lists.includes.iter().map(|line| (line, false));
    for (line, is_exclusion) in includes.chain(lists.excludes.iter().map(|line| (line, true))) {
        if !line.origin.is_empty() {
            let origin = line.origin.replace("--", "- -");
            _ = writeln!(text, "  <!-- {origin} -->");
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
        form,
        measures,
        warnings: Vec::new(),
    })
}

pub(super) fn write_powershell(
    plan: &RoutePlan,
    options: &Options,
) -> Result<Rendered, RenderError> {
    let target = Target::WindowsPowerShell;
    if options.form == Some(Form::Exclude) {
        return Err(RenderError::NoSuchForm {
            target,
            form: Form::Exclude,
            why: "Add-VpnConnectionRoute cannot exclude; windows-profilexml can",
        });
    }
    let name = options.name.as_deref().unwrap_or("Corp");
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(RenderError::BadName {
            target,
            name: shorten(name),
            why: "it is the name of a connection, one line of text",
        });
    }
    // Inside single quotes PowerShell knows one special character, and takes typographic quotes for it.
    let mut quoted = String::from("'");
    for char in name.chars() {
        if matches!(char, '\'' | '\u{2018}'..='\u{201b}') {
            quoted.push(char);
        }
        quoted.push(char);
    }
    quoted.push('\'');
    let lists = Lists::of(plan, Form::Include, Form::Include, Gateways::LeftToClient);
    let [first, second] = head(plan, &format!("{} routes", lists.includes.len()));
    let mut text = format!(
        "# {first}\n# {second}\n$connection = {quoted}\nSet-VpnConnection -Name $connection -SplitTunneling $true\n\
         foreach ($route in (Get-VpnConnection -Name $connection).Routes) {{\n    \
         Remove-VpnConnectionRoute -ConnectionName $connection -DestinationPrefix $route.DestinationPrefix\n}}\n"
    );
    for line in &lists.includes {
        if !line.origin.is_empty() {
            _ = writeln!(text, "# {}", line.origin);
        }
        _ = writeln!(
            text,
            "Add-VpnConnectionRoute -ConnectionName $connection -DestinationPrefix '{}'",
            line.prefix
        );
    }
    Ok(Rendered {
        text,
        form: Form::Include,
        measures: measures(lists.all()),
        warnings: Vec::new(),
    })
}

pub(super) fn read_xml(text: &str) -> Result<Pushed, ReadError> {
    let document = roxmltree::Document::parse(text).map_err(|error| {
        let line = usize::try_from(error.pos().row).unwrap_or(0);
        ReadError::new(line, shorten(&error.to_string()))
    })?;
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

pub(super) fn read_powershell(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    for (number, line) in code_lines(text, &['#']) {
        let mut words = line.split_whitespace();
        if words.next() != Some("Add-VpnConnectionRoute") {
            continue;
        }
        // The word behind the name of the parameter.
        _ = words.find(|word| word.eq_ignore_ascii_case("-DestinationPrefix"));
        let Some(prefix) = words.next() else {
            return Err(ReadError::new(number, "a route without -DestinationPrefix"));
        };
        let prefix = prefix.trim_matches(['\'', '"']);
        pushed.includes.push(read_prefix(number, prefix)?);
    }
    Ok(pushed)
}

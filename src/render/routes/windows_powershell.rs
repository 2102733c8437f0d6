//! Windows' own VPN: PowerShell on a client.
//!
//! `Add-VpnConnectionRoute` has no word for exclusions, so the file has the include form.

use std::fmt::Write as _;

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{Pushed, read_prefix};
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::rules::powershell::quoted;
use crate::render::{
    Families, Form, Limit, Measure, Options, Read, ReadError, RenderError, Rendered, Target, Write,
    code_lines,
};

/// PowerShell on a Windows client.
pub const TARGET: Target = Target {
    name: "windows-powershell",
    about: "Add-VpnConnectionRoute, run on the client",
    accepted_by: "PowerShell's grammar and a second reader; no Windows was tried",
    caveats: "",
    file: "vpn-routes.ps1",
    is_executable: false,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::Routes(read),
};

/// Limits of Windows clients.
pub(super) const LIMITS: &[Limit] = &[Limit {
    measure: Measure::Entries,
    most: 1_000,
    is_strict: false,
    whose: "Windows clients, which add routes one by one",
}];

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    if options.form == Some(Form::Exclude) {
        return Err(RenderError::NoSuchForm {
            target: &TARGET,
            form: Form::Exclude,
            why: "Add-VpnConnectionRoute cannot exclude; windows-profilexml can",
        });
    }
    let name = options.name.as_deref().unwrap_or("Corp");
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(RenderError::BadName {
            target: &TARGET,
            name: shorten(name),
            why: "it is the name of a connection, one line of text",
        });
    }
    let quoted = quoted(name);
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
        form: Some(Form::Include),
        measures: measures(lists.all()),
        warnings: Vec::new(),
    })
}

fn read(text: &str) -> Result<Pushed, ReadError> {
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

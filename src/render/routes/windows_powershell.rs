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
    caveats: "the class-based route is turned off in the phone book, which no Windows has shown yet (unverified)",
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
        "# {first}\n# {second}\n\
         # -AllUserConnection for a connection of all users; without it, for one of the user who runs it.\n\
         # Unverified: it turns the class-based route off in the phone book, and leaves a copy of that beside it (.offramp).\n\
         param([switch]$AllUserConnection)\n$ErrorActionPreference = 'Stop'\n$connection = {quoted}\n{BEGIN}"
    );
    for line in &lists.includes {
        if !line.origin.is_empty() {
            _ = writeln!(text, "# {}", line.origin);
        }
        _ = writeln!(
            text,
            "Add-VpnConnectionRoute @scope -ConnectionName $connection -DestinationPrefix '{}'",
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

/// The way to the connection, a clean start, and the class-based route off.
///
/// With split tunneling Windows adds the route of the address's old class, 10.0.0.0/8 for a client at 10.99.0.10. No cmdlet
/// turns that off, so its key is set in the phone book, which holds a section for each connection.
const BEGIN: &str = r#"$scope = @{}
$book = "$env:AppData\Microsoft\Network\Connections\Pbk\rasphone.pbk"
if ($AllUserConnection) {
    $scope.AllUserConnection = $true
    $book = "$env:ProgramData\Microsoft\Network\Connections\Pbk\rasphone.pbk"
}
Set-VpnConnection @scope -Name $connection -SplitTunneling $true
$section = ''
$found = $false
$lines = @([IO.File]::ReadAllLines($book) | ForEach-Object {
    if ($_ -match '^\[(.*)\]$') { $section = $Matches[1] }
    if ($section -eq $connection -and $_ -match '^DisableClassBasedDefaultRoute=') {
        $found = $true
        'DisableClassBasedDefaultRoute=1'
    } else { $_ }
})
if ($found) {
    Copy-Item -Path $book -Destination "$book.offramp"
    [IO.File]::WriteAllLines($book, $lines)
} else {
    Write-Warning "the class-based route stays on: $book has no DisableClassBasedDefaultRoute for $connection"
}
foreach ($route in (Get-VpnConnection @scope -Name $connection).Routes) {
    Remove-VpnConnectionRoute @scope -ConnectionName $connection -DestinationPrefix $route.DestinationPrefix
}
"#;

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

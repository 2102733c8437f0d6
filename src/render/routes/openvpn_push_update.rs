//! OpenVPN: a command for the management interface that gives connected clients their routes anew.

use super::openvpn::{Pushes, read_option};
use super::pushed::Pushed;
use crate::plan::RoutePlan;
use crate::render::{
    Families, Limit, Measure, Options, Read, ReadError, RenderError, Rendered, Target, Write,
    code_lines,
};

/// A command for OpenVPN's management interface, which has no comments.
pub const TARGET: Target = Target {
    name: "openvpn-push-update",
    about: "a management command for connected clients, OpenVPN 2.7",
    accepted_by: "a second reader; no OpenVPN 2.7 was tried",
    caveats: "replaces every pushed route of the client",
    file: "openvpn-push-update.txt",
    is_executable: false,
    families: Families::Both,
    limits: // A parameter of a management command is read into 256 bytes; a command replaces all routes, so it cannot be cut.
    &[Limit {
        measure: Measure::Bytes,
        most: MAX_PARAMETER,
        is_strict: true,
        whose: "one parameter of a management command",
    }],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let pushes = Pushes::of(plan, options);
    let replaced = pushes.joined();
    let mut rendered = pushes.rendered(format!("push-update-broad \"{replaced}\"\n"));
    rendered.measures.bytes = replaced.len();
    rendered.warnings.push(
        "the command replaces every route of every client that is connected; it needs OpenVPN 2.7 on both sides, without DCO".to_owned(),
    );
    Ok(rendered)
}

/// The options in a command.
pub fn options_of(command: &str) -> &str {
    let options = command.split_once('"').map_or("", |(_, options)| options);
    options.trim_end().trim_end_matches('"')
}

/// Writes the command for clients that have the options `had` and are to have `wanted`: it replaces the options of the kinds
/// that it names, and removes those of other kinds.
///
/// # Errors
/// It is longer than the server takes.
pub fn change(had: &str, wanted: &str) -> Result<String, String> {
    let wanted_kinds = kinds(wanted);
    let gone = kinds(had)
        .into_iter()
        .filter(|it| !wanted_kinds.contains(it));
    let mut options: Vec<String> = gone.map(|kind| format!("-{kind}")).collect();
    options.push(wanted.to_owned());
    let options = options.join(",");
    if options.len() > MAX_PARAMETER {
        return Err(format!(
            "the command has {} bytes, and OpenVPN reads {MAX_PARAMETER}: fewer or wider prefixes make it shorter",
            options.len()
        ));
    }
    Ok(format!("push-update-broad \"{options}\"\n"))
}

/// The first words of options, each once.
fn kinds(options: &str) -> Vec<&str> {
    let words = options
        .split(',')
        .filter_map(|it| it.split_whitespace().next());
    let mut kinds: Vec<&str> = Vec::new();
    for word in words {
        if !kinds.contains(&word) {
            kinds.push(word);
        }
    }
    kinds
}

/// Bytes of a parameter of a management command.
const MAX_PARAMETER: usize = 256;

fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    for (number, line) in code_lines(text, &['#', ';']) {
        let Some(rest) = line.strip_prefix("push-update-") else {
            continue;
        };
        let options = rest.split_once('"').map_or("", |(_, options)| options);
        for option in options.trim_end_matches('"').split(',') {
            read_option(number, option.trim().trim_start_matches('?'), &mut pushed)?;
        }
    }
    Ok(pushed)
}

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
        most: 256,
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

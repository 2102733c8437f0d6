//! Tailscale and Headscale: the routes that a subnet router advertises.
//!
//! Only includes: no client of Tailscale keeps a prefix out. A whole family is advertised in halves, since `0.0.0.0/0`
//! makes the router an exit node, which clients choose by themselves.

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{Pushed, read_prefix};
use crate::plan::RoutePlan;
use crate::render::{
    Families, Form, Limit, Measure, Measures, Options, Read, ReadError, RenderError, Rendered,
    Target, Write, code_lines,
};

/// A script for the subnet router.
pub const TARGET: Target = Target {
    name: "tailscale",
    about: "a script that has a subnet router of Tailscale or Headscale advertise the routes",
    accepted_by: "`sh -n` and a second reader; no tailscaled was tried (unverified)",
    caveats: "includes alone; the list replaces all routes that the router advertises; a full tunnel covers 100.64.0.0/10, which is Tailscale's own",
    file: "tailscale-routes.sh",
    is_executable: true,
    families: Families::Both,
    limits: &[Limit {
        measure: Measure::Bytes,
        most: 131_071,
        is_strict: true,
        whose: "one argument of a command on Linux, MAX_ARG_STRLEN",
    }],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

/// The prefixes that a subnet router advertises; `target` is named where it has no such form.
pub(super) fn advertised(
    target: &'static Target,
    plan: &RoutePlan,
    options: &Options,
) -> Result<Lists, RenderError> {
    if options.form == Some(Form::Exclude) {
        return Err(RenderError::NoSuchForm {
            target,
            form: Form::Exclude,
            why: "a route of a subnet router can only include",
        });
    }
    let lists = Lists::of(plan, Form::Include, Form::Include, Gateways::LeftToClient);
    Ok(lists.in_halves())
}

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let lists = advertised(&TARGET, plan, options)?;
    let prefixes: Vec<String> = lists
        .includes
        .iter()
        .map(|line| line.prefix.to_string())
        .collect();
    let argument = format!("{OPTION}{}", prefixes.join(","));
    let [first, second] = head(plan, &format!("{} routes", prefixes.len()));
    let text = format!(
        "#!/bin/sh\n# {first}\n# {second}\n\
         # Run it on the subnet router: the list replaces the routes that it advertises, those of others included.\n\
         # Each route takes effect once it is approved: by the target tailscale-approvers, in the console of Tailscale, or by\n\
         # `headscale nodes approve-routes`. Clients on Linux need `tailscale set --accept-routes` as well.\n\
         exec tailscale set {argument}\n"
    );
    Ok(Rendered {
        text,
        form: Some(Form::Include),
        measures: Measures {
            bytes: argument.len(),
            ..measures(&lists.includes)
        },
        warnings: Vec::new(),
    })
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    for (number, line) in code_lines(text, &['#']) {
        for word in line.split_whitespace() {
            if let Some(list) = word.strip_prefix(OPTION) {
                let list = list.trim_matches(['"', '\'']).split(',');
                for prefix in list.filter(|prefix| !prefix.is_empty()) {
                    pushed.includes.push(read_prefix(number, prefix)?);
                }
            }
        }
    }
    Ok(pushed)
}

const OPTION: &str = "--advertise-routes=";

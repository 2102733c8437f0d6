//! strongSwan: traffic selectors for IKEv2, and the Unity extension for IKEv1.
//!
//! IKEv2 can only include, so a full tunnel with exclusions is the complement in `local_ts`. Unity has both words, for
//! IPv4. IKE's own packets are outside its policies: the gateway needs no hole.

use super::lists::{Gateways, Line, Lists, head, measures};
use super::pushed::{code_lines, read_prefix};
use super::{Form, Options, Pushed, ReadError, RenderError, Rendered, Target};
use crate::plan::RoutePlan;
use crate::policy::TunnelMode;

pub(super) fn write(
    target: Target,
    plan: &RoutePlan,
    options: &Options,
) -> Result<Rendered, RenderError> {
    let is_unity = target == Target::StrongSwanUnity;
    let form = match (is_unity, plan.mode, options.form) {
        (false, _, Some(Form::Exclude)) => {
            return Err(RenderError::NoSuchForm {
                target,
                form: Form::Exclude,
                why: "IKEv2 has no word for it",
            });
        }
        (false, _, Some(Form::Include) | None) => Form::Include,
        (true, TunnelMode::Split, Some(Form::Exclude)) => {
            return Err(RenderError::NoSuchForm {
                target,
                form: Form::Exclude,
                why: "clients take split-include or split-exclude, and this tunnel is split",
            });
        }
        (true, TunnelMode::Split, Some(Form::Include) | None) => Form::Include,
        (true, TunnelMode::Full, form) => form.unwrap_or(Form::Exclude),
    };
    let mut lists = Lists::of(plan, form, form, Gateways::LeftToClient);
    if is_unity {
        for list in [&mut lists.includes, &mut lists.excludes] {
            list.retain(|line| line.prefix.addr().is_ipv4());
        }
    }
    let listed = match form {
        Form::Include => &lists.includes,
        Form::Exclude => &lists.excludes,
    };
    let measures = measures(listed);
    let [first, second] = head(plan, &format!("{} prefixes", listed.len()));
    let mut text = format!("# {first}\n# {second}\n");
    let list = joined(listed);
    match (is_unity, form) {
        (false, _) => text.push_str(&format!("local_ts = {list}\n")),
        // An empty list is a full tunnel without exceptions, and no attribute says it.
        (true, Form::Exclude) if listed.is_empty() => {}
        (true, Form::Exclude) => text.push_str(&attribute("split-exclude", &list)),
        (true, Form::Include) => text.push_str(&attribute("split-include", &list)),
    }
    let mut warnings = Vec::new();
    if !is_unity {
        warnings.push(
            "Windows' IKEv2 client takes its routes from Add-VpnConnectionRoute or DHCP, not from traffic selectors".to_owned(),
        );
    }
    Ok(Rendered {
        text,
        form,
        measures,
        warnings,
    })
}

fn joined(lines: &[Line]) -> String {
    let prefixes: Vec<String> = lines.iter().map(|line| line.prefix.to_string()).collect();
    prefixes.join(",")
}

fn attribute(key: &str, list: &str) -> String {
    format!("charon {{\n  plugins {{\n    attr {{\n      {key} = {list}\n    }}\n  }}\n}}\n")
}

pub(super) fn read(target: Target, text: &str) -> Result<Pushed, ReadError> {
    let mut pushed = Pushed::default();
    let mut has_includes = false;
    for (number, line) in code_lines(text, &['#']) {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let is_include = match (target, key.trim()) {
            (Target::StrongSwanUnity, "split-include") => true,
            (Target::StrongSwanUnity, "split-exclude") => false,
            (Target::StrongSwanUnity, _) => continue,
            (_, "local_ts") => true,
            (_, _) => continue,
        };
        let list = if is_include {
            has_includes = true;
            &mut pushed.includes
        } else {
            &mut pushed.excludes
        };
        let prefixes = value.split(',').map(str::trim);
        for prefix in prefixes.filter(|prefix| !prefix.is_empty()) {
            list.push(read_prefix(number, prefix)?);
        }
    }
    if target == Target::StrongSwanUnity && !has_includes {
        pushed.includes.push(Pushed::everything(false));
    }
    Ok(pushed)
}

//! Cloudflare WARP: the split tunnel of the default device profile, as a resource for Terraform.
//!
//! The resource is that of the provider `cloudflare/cloudflare`, version 5. It is the same list as that of `cloudflare-warp`.
//!
//! Source: the provider's documentation of `cloudflare_zero_trust_device_default_profile`, versions 5.2 to 5.19, read 2026-11.
//! The provider itself could not be fetched, so its schema was not tried.

use std::fmt::Write as _;

use super::cloudflare_warp::{CAVEATS, Listed, SplitTunnel, description};
use super::lists::head;
use super::pushed::Pushed;
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::{
    Families, Form, Options, Read, ReadError, RenderError, Rendered, Target, Write,
};

/// A resource for Terraform.
pub const TARGET: Target = Target {
    name: "cloudflare-warp-terraform",
    about: "the same as a resource for Terraform, provider cloudflare 5 (--name LABEL)",
    accepted_by: "a parser of HCL and a second reader; the provider's schema was not tried",
    caveats: CAVEATS,
    file: "warp-split-tunnel.tf",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let label = options.name.as_deref().unwrap_or("offramp");
    let starts_well = label.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !starts_well || !label.bytes().all(is_word) {
        return Err(RenderError::BadName {
            target: &TARGET,
            name: shorten(label),
            why: "it labels a resource: a letter or _, then letters, digits, - and _",
        });
    }
    let split = SplitTunnel::of(&TARGET, plan, options)?;
    let [first, second] = head(plan, &format!("{} entries", split.listed.len()));
    let mut text = format!(
        "# {first}\n# {second}\n\
         # The provider's schema was not tried: read what `terraform plan` says, and declare var.cloudflare_account_id.\n\
         # Arguments that are missing here keep the provider's defaults: add those of your profile.\n\
         resource \"cloudflare_zero_trust_device_default_profile\" \"{label}\" {{\n  \
         account_id = var.cloudflare_account_id\n  {} = [\n",
        split.form
    );
    for line in &split.listed {
        let description = match description(line) {
            text if text.is_empty() => text,
            text => format!(", description = \"{}\"", escaped(&text)),
        };
        _ = writeln!(
            text,
            "    {{ address = \"{}\"{description} }},",
            line.prefix
        );
    }
    text.push_str("  ]\n}\n");
    Ok(Rendered {
        text,
        form: Some(split.form),
        measures: split.measures,
        warnings: split.warnings,
    })
}

/// The inside of a string, in which `${` and `%{` would begin a template.
fn escaped(text: &str) -> String {
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    quoted.replace("${", "$${").replace("%{", "%%{")
}

/// Reads the lists of one resource, an entry a line or several.
fn read(text: &str) -> Result<Pushed, ReadError> {
    let mut form: Option<Form> = None;
    let mut listed = Listed::default();
    let mut is_inside = false;
    for (at, line) in text.lines().enumerate() {
        let mut rest = line.trim();
        if rest.starts_with('#') || rest.starts_with("//") {
            continue;
        }
        for own in [Form::Include, Form::Exclude] {
            let key = own.to_string();
            let value = rest.strip_prefix(key.as_str()).map(str::trim_start);
            let Some(list) = value.and_then(|it| it.strip_prefix('=')) else {
                continue;
            };
            if form.is_some() {
                let message =
                    "a profile has one list, `include` or `exclude`, and this file has two";
                return Err(ReadError::new(at + 1, message));
            }
            form = Some(own);
            is_inside = true;
            rest = list.trim_start().trim_start_matches('[');
        }
        if !is_inside {
            continue;
        }
        for (key, value) in strings(rest) {
            match key {
                "address" => listed.add(at + 1, Some(value), None)?,
                "host" => listed.add(at + 1, None, Some(value))?,
                _ => {}
            }
        }
        is_inside = !rest.trim_end().ends_with(']');
    }
    match form {
        Some(form) => Ok(listed.pushed(form)),
        None => Err(ReadError::new(
            text.lines().count().max(1),
            "there is no list `include` or `exclude`",
        )),
    }
}

/// Every `key = "value"` of a line; quotes inside a value are those behind a backslash.
fn strings(line: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('"') {
        let mut is_escaped = false;
        let end = after.find(|char| {
            let ends = char == '"' && !is_escaped;
            is_escaped = char == '\\' && !is_escaped;
            ends
        });
        let Some(end) = end else {
            break;
        };
        let key = before.trim_end().trim_end_matches(['=', ':']).trim_end();
        let key = key.rsplit(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        found.push((key.into_iter().next().unwrap_or_default(), &after[..end]));
        rest = &after[end + 1..];
    }
    found
}

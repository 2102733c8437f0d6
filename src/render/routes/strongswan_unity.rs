//! strongSwan: the Unity extension for IKEv1 clients, of IPv4 alone.
//!
//! Unity has a word for includes and one for exclusions; a client takes one of them.

use super::lists::{Gateways, Lists, head, measures};
use super::pushed::{Pushed, read_list};
use super::strongswan::joined;
use crate::plan::RoutePlan;
use crate::policy::TunnelMode;
use crate::render::{
    Families, Form, Limit, Measure, Options, Read, ReadError, RenderError, Rendered, Target, Write,
};

/// strongSwan's attr plugin.
pub const TARGET: Target = Target {
    name: "strongswan-unity",
    about: "strongswan.conf for IKEv1 clients with the Unity extension",
    accepted_by: "strongSwan: charon with the attr and unity plugins",
    caveats: "",
    file: "strongswan-attr.conf",
    is_executable: false,
    families: Families::V4,
    limits: // Each subnet takes 14 bytes of an attribute whose length has 16 bits.
    &[Limit {
        measure: Measure::V4Entries,
        most: 4_681,
        is_strict: true,
        whose: "one attribute of the Unity extension",
    }],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let form = match (plan.mode, options.form) {
        (TunnelMode::Split, Some(Form::Exclude)) => {
            return Err(RenderError::NoSuchForm {
                target: &TARGET,
                form: Form::Exclude,
                why: "clients take split-include or split-exclude, and this tunnel is split",
            });
        }
        (TunnelMode::Split, Some(Form::Include) | None) => Form::Include,
        (TunnelMode::Full, form) => form.unwrap_or(Form::Exclude),
    };
    let lists = Lists::of(plan, form, form, Gateways::LeftToClient);
    let (mut listed, key) = match form {
        Form::Include => (lists.includes, "split-include"),
        Form::Exclude => (lists.excludes, "split-exclude"),
    };
    listed.retain(|line| line.prefix.addr().is_ipv4());
    let [first, second] = head(plan, &format!("{} prefixes", listed.len()));
    let mut text = format!("# {first}\n# {second}\n");
    // An empty list of exclusions is a full tunnel without exceptions, and no attribute says it.
    if form == Form::Include || !listed.is_empty() {
        let list = joined(&listed);
        text.push_str(&format!(
            "charon {{\n  plugins {{\n    attr {{\n      {key} = {list}\n    }}\n  }}\n}}\n"
        ));
    }
    Ok(Rendered {
        text,
        form: Some(form),
        measures: measures(&listed),
        warnings: Vec::new(),
    })
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let includes = read_list(text, "split-include")?;
    Ok(Pushed {
        includes: includes.unwrap_or_else(|| vec![Pushed::everything(false)]),
        excludes: read_list(text, "split-exclude")?.unwrap_or_default(),
        ..Pushed::default()
    })
}

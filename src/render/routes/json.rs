//! JSON: both forms, with the origin of every entry, for programs of one's own.

use serde_json::{Value, json};

use super::pushed::{Pushed, read_prefix};
use crate::message::shorten;
use crate::plan::{PlannedPrefix, RoutePlan, Source, SourceKind};
use crate::policy::TunnelMode;
use crate::render::{
    Families, Form, Measures, Options, Read, ReadError, RenderError, Rendered, Target, Write,
};

/// The plan with the origin of every entry.
pub const TARGET: Target = Target {
    name: "json",
    about: "both forms, with the origin of every entry",
    accepted_by: "a second reader",
    caveats: "",
    file: "routes.json",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, _options: &Options) -> Result<Rendered, RenderError> {
    let count = |v6: bool| {
        let includes = plan.includes.iter();
        includes
            .filter(|it| it.prefix.addr().is_ipv6() == v6)
            .count()
    };
    let measures = Measures {
        v4_entries: count(false),
        v6_entries: count(true),
        ..Measures::default()
    };
    Ok(Rendered {
        text: format!("{:#}\n", plan.to_json()),
        form: Some(Form::Include),
        measures,
        warnings: Vec::new(),
    })
}

impl RoutePlan {
    /// The plan for programs.
    pub fn to_json(&self) -> Value {
        let prefixes = |set: &crate::address::PrefixSet| -> Vec<String> {
            set.prefixes().map(|prefix| prefix.to_string()).collect()
        };
        let entries = |entries: &[PlannedPrefix]| -> Vec<Value> {
            let entry = |entry: &PlannedPrefix| {
                let sources = entry.sources.iter().filter_map(|&at| self.sources.get(at));
                json!({
                    "prefix": entry.prefix.to_string(),
                    "sources": sources.map(source_json).collect::<Vec<_>>(),
                })
            };
            entries.iter().map(entry).collect()
        };
        let unneeded = self.unneeded.iter().filter_map(|&at| self.sources.get(at));
        json!({
            "policy": self.origin,
            "tunnel": match self.mode {
                TunnelMode::Split => "split",
                TunnelMode::Full => "full",
            },
            "base": prefixes(&self.base),
            "gateways": prefixes(&self.gateways),
            "includes": entries(&self.includes),
            "excludes": entries(&self.excludes),
            "needs_no_entry": unneeded.map(source_json).collect::<Vec<_>>(),
        })
    }
}

fn source_json(source: &Source) -> Value {
    let mut value = json!({
        "kind": source.kind.name(),
        "prefix": source.prefix.to_string(),
        "line": source.line,
    });
    match &source.kind {
        SourceKind::Public(name) => value["name"] = json!(name),
        SourceKind::Feed(name, entry) => {
            value["name"] = json!(name);
            value["entry"] = json!(entry.to_string());
        }
        SourceKind::Clients
        | SourceKind::Corporate
        | SourceKind::PinPointDns
        | SourceKind::DnsServer
        | SourceKind::Gateway => {}
    }
    value
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| ReadError::new(error.line(), shorten(&error.to_string())))?;
    let mut pushed = Pushed::default();
    let includes = value.get("includes").and_then(Value::as_array);
    let includes = includes.ok_or_else(|| ReadError::new(1, "there is no list `includes`"))?;
    for entry in includes {
        let prefix = entry.get("prefix").and_then(Value::as_str);
        let prefix = prefix.ok_or_else(|| ReadError::new(1, "an entry without `prefix`"))?;
        pushed.includes.push(read_prefix(1, prefix)?);
    }
    Ok(pushed)
}

//! `offramp render --list`: every target, from the registry.

use serde_json::{Value, json};

use crate::cli::error::CliError;
use crate::cli::number::whole;
use crate::render::{Kind, Limit, Target};

pub(super) fn print(json: bool) -> Result<(), CliError> {
    if json {
        let targets: Vec<Value> = Target::all().map(as_json).collect();
        return crate::cli::print_json(&json!({ "targets": targets }));
    }
    crate::cli::print(&text())
}

fn text() -> String {
    let width = Target::all().map(|target| target.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    let mut title = "";
    for target in Target::all() {
        if title != heading(target.kind()) {
            let gap = if title.is_empty() { "" } else { "\n" };
            title = heading(target.kind());
            text.push_str(&format!("{gap}{title}\n"));
        }
        text.push_str(&format!("{:<width$}  {}\n", target.name, target.about));
        for limit in target.limits {
            text.push_str(&format!("{:<width$}    {}\n", "", in_words(limit)));
        }
    }
    text
}

fn heading(kind: Kind) -> &'static str {
    match kind {
        Kind::Routes => "Routes: which addresses enter the tunnel",
        Kind::Names => "Names: what VPN clients resolve",
        Kind::GatewayRules | Kind::ClientRules => {
            "Rules: what is blocked, on the gateway and on the clients"
        }
        Kind::Settings => "Settings: what VPN clients and browsers do by themselves",
    }
}

fn in_words(limit: &Limit) -> String {
    let verb = if limit.is_strict {
        "takes"
    } else {
        "some take"
    };
    let most = whole(limit.most as u64);
    format!("{verb} {most} {} at most: {}", limit.measure, limit.whose)
}

fn as_json(target: &Target) -> Value {
    let limits = target.limits.iter().map(|limit| {
        json!({
            "measure": limit.measure.to_string(),
            "most": limit.most,
            "strict": limit.is_strict,
            "whose": limit.whose,
        })
    });
    json!({
        "target": target.name,
        "kind": target.kind().name(),
        "about": target.about,
        "file": target.file,
        "limits": limits.collect::<Vec<_>>(),
    })
}

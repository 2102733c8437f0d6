//! Chrome and Chromium on Linux: calls from the interface of the default route.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ABOUT_INTERFACES, MODE_2, NAMING, for_split_tunnels, setting};
use crate::message::shorten;
use crate::policy::Policy;
use crate::render::{Families, Read, ReadError, RenderError, Rendered, Target, Write};

/// Policies of Chrome on Linux.
pub const TARGET: Target = Target {
    name: "chrome-json",
    about: "JSON for Chrome (/etc/opt/chrome/policies/managed) and Chromium (/etc/chromium/policies/managed) on Linux, whose calls then keep to \
            the interface of the default route; for split tunnels",
    accepted_by: "Chromium on Linux: browsers of two clients call each other outside the tunnel, and inside without it",
    caveats: "JSON has no comments: what the setting does is told beside the file, and in docs/rules.md; Chrome 91 and later",
    file: "chrome-policies.json",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Settings(NAMING, |policy, _| write(policy)),
    read: Read::Settings(|text, _| read(text)),
};

fn write(policy: &Policy) -> Result<Rendered, RenderError> {
    for_split_tunnels(&TARGET, policy)?;
    let text = format!("{:#}\n", json!({ "WebRtcIPHandling": MODE_2 }));
    Ok(Rendered {
        warnings: vec![format!("WebRtcIPHandling: {}", ABOUT_INTERFACES.join(" "))],
        ..Rendered::of_names(text)
    })
}

fn read(text: &str) -> Result<BTreeSet<String>, ReadError> {
    let policies: Value = serde_json::from_str(text)
        .map_err(|error| ReadError::new(error.line(), shorten(&error.to_string())))?;
    let Some(policies) = policies.as_object() else {
        return Err(ReadError::new(1, "policies are one object"));
    };
    let settings = policies.iter().filter_map(|(name, value)| {
        let text = value.as_str().map(str::to_owned);
        setting(name, &text.unwrap_or_else(|| value.to_string()))
    });
    Ok(settings.collect())
}

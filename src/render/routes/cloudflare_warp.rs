//! Cloudflare WARP: the split tunnel of a device profile, as JSON for the API.
//!
//! ```text
//!  PATCH /accounts/ACCOUNT/devices/policy                the default profile
//!  PATCH /accounts/ACCOUNT/devices/policy/PROFILE        another one
//! ```
//!
//! A profile either excludes addresses from everything or includes some; the API refuses both in one request. JSON has no
//! comments, so the origin of an entry is its `description`.
//!
//! Sources: the Cloudflare API's reference, "Update the default device settings profile", for the body; "Split Tunnels" in
//! the Cloudflare One documentation, dated 2025-10-21, for the two modes (both read 2026-11).

use serde_json::{Map, Value, json};

use super::lists::{Gateways, Line, Lists, form_out_of_everything, measures};
use super::pushed::{Pushed, read_prefix};
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::{
    Families, Form, Measures, Options, Read, ReadError, RenderError, Rendered, Target, Write,
};

/// JSON for Cloudflare's API.
pub const TARGET: Target = Target {
    name: "cloudflare-warp",
    about: "the split tunnel of a WARP device profile, the body of a PATCH for Cloudflare's API",
    accepted_by: "a second reader of its JSON; no Cloudflare account was tried",
    caveats: CAVEATS,
    file: "warp-split-tunnel.json",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

/// Remarks on both targets of WARP.
pub(super) const CAVEATS: &str = "replaces the whole list, Cloudflare's default exclusions of private networks among it; \
    entries by domain are not compared; how many entries a profile takes is unverified";

/// The list of one form, whose key is the form's own word.
pub(super) struct SplitTunnel {
    pub(super) form: Form,
    pub(super) listed: Vec<Line>,
    pub(super) measures: Measures,
    pub(super) warnings: Vec<String>,
}

impl SplitTunnel {
    /// The list of `plan` for `target`.
    pub(super) fn of(
        target: &'static Target,
        plan: &RoutePlan,
        options: &Options,
    ) -> Result<Self, RenderError> {
        let form = form_out_of_everything(target, plan, options)?;
        let (listed, warnings) = match form {
            Form::Include => (
                Lists::of(plan, form, form, Gateways::LeftToClient).includes,
                vec![
                    "some features of WARP need Cloudflare's own domains in the list of what is included: \
                     add those of your account, as Cloudflare's page on split tunnels says"
                        .to_owned(),
                ],
            ),
            Form::Exclude => (Lists::out_of_everything(plan).excludes, Vec::new()),
        };
        // A list of nothing would be taken for no choice.
        if form == Form::Include && listed.is_empty() {
            return Err(RenderError::NothingEnters { target });
        }
        let measures = measures(&listed);
        Ok(Self {
            form,
            listed,
            measures,
            warnings,
        })
    }
}

/// The origin of an entry in the characters that a description may have.
pub(super) fn description(line: &Line) -> String {
    let plain = line.origin.chars().filter(|char| !char.is_control());
    plain.take(MAX_DESCRIPTION).collect()
}

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let split = SplitTunnel::of(&TARGET, plan, options)?;
    let entry = |line: &Line| match description(line) {
        text if text.is_empty() => json!({ "address": line.prefix.to_string() }),
        text => json!({ "address": line.prefix.to_string(), "description": text }),
    };
    let entries: Vec<Value> = split.listed.iter().map(entry).collect();
    let body = Map::from_iter([(split.form.to_string(), Value::from(entries))]);
    Ok(Rendered {
        text: format!("{:#}\n", Value::from(body)),
        form: Some(split.form),
        measures: split.measures,
        warnings: split.warnings,
    })
}

/// Reads the body of a request, or what the API answers with: the profile itself or below `result`.
fn read(text: &str) -> Result<Pushed, ReadError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| ReadError::new(error.line(), shorten(&error.to_string())))?;
    let profile = value.get("result").unwrap_or(&value);
    let list = |form: Form| profile.get(form.to_string()).and_then(Value::as_array);
    let (form, entries) = match (list(Form::Include), list(Form::Exclude)) {
        (Some(_), Some(_)) => {
            let message = "a profile has either `include` or `exclude`, and this one has both";
            return Err(ReadError::new(1, message));
        }
        (Some(entries), None) => (Form::Include, entries),
        (None, Some(entries)) => (Form::Exclude, entries),
        (None, None) => {
            let message = "there is no list `include` or `exclude`";
            return Err(ReadError::new(1, message));
        }
    };
    let mut listed = Listed::default();
    for entry in entries {
        let field = |key| entry.get(key).and_then(Value::as_str);
        listed.add(1, field("address"), field("host"))?;
    }
    Ok(listed.pushed(form))
}

/// Entries that were read.
#[derive(Debug, Default)]
pub(super) struct Listed {
    prefixes: Vec<ipnet::IpNet>,
    left_out: Vec<(usize, String)>,
}

impl Listed {
    /// Adds an entry, which has either an address or a domain.
    pub(super) fn add(
        &mut self,
        line: usize,
        address: Option<&str>,
        host: Option<&str>,
    ) -> Result<(), ReadError> {
        match (address, host) {
            (Some(address), _) => self.prefixes.push(read_prefix(line, address)?),
            (None, Some(host)) => self.left_out.push((line, shorten(host))),
            (None, None) => {
                return Err(ReadError::new(line, "an entry without `address` or `host`"));
            }
        }
        Ok(())
    }

    /// The entries as a list of `form`.
    pub(super) fn pushed(self, form: Form) -> Pushed {
        let Self { prefixes, left_out } = self;
        let (includes, excludes) = match form {
            Form::Include => (prefixes, Vec::new()),
            Form::Exclude => ([false, true].map(Pushed::everything).to_vec(), prefixes),
        };
        Pushed {
            includes,
            excludes,
            left_out,
        }
    }
}

/// Characters of a description; the limit of Cloudflare's own form is unverified.
const MAX_DESCRIPTION: usize = 100;

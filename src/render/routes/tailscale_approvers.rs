//! Tailscale and Headscale: `autoApprovers.routes` of the policy file, which approves the routes of [`super::tailscale`].
//!
//! The file is a policy of its own that has nothing else: its object is merged into the one in use.

use serde_json::{Map, Value, json};

use super::lists::{head, measures};
use super::pushed::{Pushed, read_prefix};
use super::tailscale::advertised;
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::{
    Families, Form, Options, Read, ReadError, RenderError, Rendered, Target, Write,
};

/// A part of the policy file.
pub const TARGET: Target = Target {
    name: "tailscale-approvers",
    about: "`autoApprovers` for the policy file of Tailscale or Headscale (`--name TAG`)",
    accepted_by: "a parser of JSON and a second reader; neither Tailscale nor Headscale was tried (unverified)",
    caveats: "approves routes and grants nobody access: `acls` or `grants` do",
    file: "tailscale-approvers.hujson",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let tag = options.name.as_deref().unwrap_or("offramp");
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if tag.is_empty() || tag.len() > MAX_TAG || !tag.bytes().all(is_word) {
        return Err(RenderError::BadName {
            target: &TARGET,
            name: shorten(tag),
            why: "it names a tag of the subnet router, without `tag:`: letters, digits and -, at most 60",
        });
    }
    let lists = advertised(&TARGET, plan, options)?;
    let tag = format!("tag:{tag}");
    let routes: Map<String, Value> = lists
        .includes
        .iter()
        .map(|line| (line.prefix.to_string(), json!([tag])))
        .collect();
    let [first, second] = head(plan, &format!("{} routes", routes.len()));
    let text = format!(
        "// {first}\n// {second}\n\
         // Merge this object into the policy file, and give the subnet router the tag {tag}, which `tagOwners` must have.\n\
         {:#}\n",
        json!({ "autoApprovers": { "routes": routes } })
    );
    Ok(Rendered {
        text,
        form: Some(Form::Include),
        measures: measures(&lists.includes),
        warnings: Vec::new(),
    })
}

fn read(text: &str) -> Result<Pushed, ReadError> {
    // Lines of comments alone; the other liberties of HuJSON are refused by the parser.
    let plain: String = text
        .lines()
        .map(|line| match line.trim_start().starts_with("//") {
            true => "\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    let value: Value = serde_json::from_str(&plain)
        .map_err(|error| ReadError::new(error.line(), shorten(&error.to_string())))?;
    let routes = value.pointer("/autoApprovers/routes");
    let routes = routes.and_then(Value::as_object).ok_or_else(|| {
        ReadError::new(
            1,
            "there is no object `routes` in an object `autoApprovers`",
        )
    })?;
    let mut pushed = Pushed::default();
    for prefix in routes.keys() {
        pushed.includes.push(read_prefix(1, prefix)?);
    }
    Ok(pushed)
}

/// Characters of a tag.
const MAX_TAG: usize = 60;

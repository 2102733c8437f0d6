//! GlobalProtect of Palo Alto Networks: the same as `globalprotect`, as the element of the XML configuration.
//!
//! The XML API takes it with `type=config&action=edit` at the path that a comment of the file names. `edit` replaces the
//! element, and with it what it says of domains and applications.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use roxmltree::{Document, Node};

use super::globalprotect::{CAVEATS, EXCLUDE, Found, INCLUDE, LIMITS, Parts, choose};
use super::pushed::Pushed;
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::xml::comment;
use crate::render::{Families, Options, Read, ReadError, RenderError, Rendered, Target, Write};

/// The element `split-tunneling` of PAN-OS.
pub const TARGET: Target = Target {
    name: "globalprotect-xml",
    about: "the same as the element `split-tunneling`, for the XML API",
    accepted_by: "an XML parser and a second reader; no PAN-OS was tried",
    caveats: CAVEATS,
    file: "globalprotect-split-tunneling.xml",
    is_executable: false,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::NamedRoutes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let Parts {
        place,
        lists,
        form,
        measures,
        head,
    } = Parts::of(&TARGET, plan, options)?;
    let [first, second] = head.map(|line| comment(&line));
    let mut text = format!(
        "<!-- {first} -->\n<!-- {second} -->\n\
         <!-- {} -->\n\
         <!-- Nobody tried this on a firewall. `edit` there also replaces domains and applications of the split tunnel. -->\n\
         <split-tunneling>\n",
        comment(&format!(
            "xpath: /config/devices/entry[@name='localhost.localdomain']/vsys/entry[@name='vsys1']/global-protect/\
             global-protect-gateway/entry[@name='{}']/remote-user-tunnel-configs/entry[@name='{}']/split-tunneling",
            place.gateway, place.settings
        ))
    );
    for (key, listed) in [(INCLUDE, &lists.includes), (EXCLUDE, &lists.excludes)] {
        _ = writeln!(text, "  <{key}>");
        for line in listed {
            if !line.origin.is_empty() {
                _ = writeln!(text, "    <!-- {} -->", comment(&line.origin));
            }
            _ = writeln!(text, "    <member>{}</member>", line.prefix);
        }
        _ = writeln!(text, "  </{key}>");
    }
    text.push_str("</split-tunneling>\n");
    Ok(Rendered {
        text,
        form: Some(form),
        measures,
        warnings: Vec::new(),
    })
}

fn read(text: &str, name: Option<&str>) -> Result<Pushed, ReadError> {
    let document = Document::parse(text).map_err(|error| {
        let line = usize::try_from(error.pos().row).unwrap_or(0);
        ReadError::new(line, shorten(&error.to_string()))
    })?;
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let of_name = |tag| move |node: &Node<'_, '_>| node.has_tag_name(tag);
    for split in document.descendants().filter(of_name("split-tunneling")) {
        let entry = found.entry(owner(split)).or_default();
        for (key, list) in [
            (INCLUDE, &mut entry.includes),
            (EXCLUDE, &mut entry.excludes),
        ] {
            let lists = split.children().filter(of_name(key));
            for member in lists.flat_map(|it| it.children()).filter(of_name("member")) {
                let line = document.text_pos_at(member.range().start).row;
                let line = usize::try_from(line).unwrap_or(0);
                let prefix = member.text().unwrap_or_default().trim();
                list.push((line, prefix.to_owned()));
            }
        }
    }
    choose(found, name, text.lines().count())
}

/// `GATEWAY/SETTINGS` of the element; empty where it stands by itself.
fn owner(split: Node<'_, '_>) -> String {
    let mut entries = split.ancestors().filter(|it| it.has_tag_name("entry"));
    let mut name = || entries.next().and_then(|it| it.attribute("name"));
    match (name(), name()) {
        (Some(settings), Some(gateway)) => format!("{gateway}/{settings}"),
        _ => String::new(),
    }
}

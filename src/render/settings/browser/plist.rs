//! Property lists: policies of a browser on macOS, written and read.

use std::collections::BTreeSet;

use super::setting;
use crate::message::shorten;
use crate::render::ReadError;
use crate::render::rules::head;
use crate::render::xml::comment;

/// Writes a property list with one text.
pub(super) fn file(origin: &str, about: &[&str], name: &str, value: &str) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n",
    );
    text.push_str(&format!("<!-- {} -->\n", comment(&head(origin))));
    for line in about {
        text.push_str(&format!("<!-- {} -->\n", comment(line)));
    }
    text.push_str(&format!(
        "<plist version=\"1.0\">\n<dict>\n  <key>{name}</key>\n  <string>{value}</string>\n</dict>\n</plist>\n"
    ));
    text
}

/// Reads the deciding policies of a property list, wherever they stand in it.
pub(super) fn read(text: &str) -> Result<BTreeSet<String>, ReadError> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let document = roxmltree::Document::parse_with_options(text, options).map_err(|error| {
        let line = usize::try_from(error.pos().row).unwrap_or(0);
        let error = shorten(&error.to_string());
        ReadError::new(
            line,
            format!("{error}; `plutil -convert xml1 FILE` writes a binary property list as text"),
        )
    })?;
    let mut settings = BTreeSet::new();
    for key in document
        .descendants()
        .filter(|node| node.has_tag_name("key"))
    {
        let name = key.text().unwrap_or_default().trim();
        let value = key.next_sibling_element();
        let value = value.map(|node| match node.tag_name().name() {
            "true" => "1".to_owned(),
            "false" => "0".to_owned(),
            _ => node.text().unwrap_or_default().trim().to_owned(),
        });
        settings.extend(setting(name, &value.unwrap_or_default()));
    }
    Ok(settings)
}

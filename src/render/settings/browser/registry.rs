//! Files of regedit: policies of a browser on Windows, written and read.

use std::collections::BTreeSet;

use super::setting;
use crate::message::shorten;
use crate::render::ReadError;
use crate::render::rules::head;

/// Writes a file with one value below the key of mandatory policies.
pub(super) fn file(origin: &str, about: &[&str], key: &str, value: &str, file: &str) -> String {
    // regedit reads a file without a byte order mark in the code page of the machine.
    let ascii = |text: &str| text.replace(|char: char| !char.is_ascii(), "?");
    let mut lines = vec![HEADER.to_owned(), String::new()];
    lines.push(format!("; {}", ascii(&head(origin))));
    lines.extend(about.iter().map(|line| format!("; {line}")));
    lines.push(format!(
        "; load it  reg import {file}   on a client, as administrator; edge://policy and chrome://policy show what is in force"
    ));
    lines.push(format!(
        "; remove   reg delete \"{key}\" /v {}",
        value.split('"').nth(1).unwrap_or_default()
    ));
    lines.extend([String::new(), format!("[{key}]"), value.to_owned()]);
    let mut text = lines.join(END);
    text.push_str(END);
    text
}

/// Reads the deciding policies below `key`, which may stand in a hive of a machine or of a user.
pub(super) fn read(text: &str, key: &str) -> Result<BTreeSet<String>, ReadError> {
    let wanted = below_hive(key).unwrap_or(key).to_ascii_lowercase();
    let mut settings = BTreeSet::new();
    let mut lines = (1..).zip(text.trim_start_matches('\u{feff}').lines());
    if !lines
        .next()
        .is_some_and(|(_, line)| [HEADER, "REGEDIT4"].contains(&line.trim()))
    {
        return Err(ReadError::new(
            1,
            format!("a file of regedit begins with `{HEADER}`"),
        ));
    }
    let mut is_open = false;
    for (number, line) in lines {
        let line = line.trim();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        if let Some(key) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            // `[-KEY]` removes a key.
            let found = below_hive(key).map(str::to_ascii_lowercase);
            is_open = found == Some(wanted.clone());
            continue;
        }
        let Some((name, value)) = line
            .strip_prefix('"')
            .and_then(|line| line.split_once("\"="))
        else {
            continue;
        };
        let unread = || {
            let line = shorten(line);
            ReadError::new(
                number,
                format!("`{line}` is no text and no dword: write one of both"),
            )
        };
        let value = match (value.strip_prefix("dword:"), value.strip_prefix('"')) {
            // `-` removes a value.
            _ if value == "-" => continue,
            (Some(digits), _) => u32::from_str_radix(digits, 16)
                .map(|it| it.to_string())
                .ok(),
            (None, Some(text)) => text.strip_suffix('"').map(str::to_owned),
            (None, None) => None,
        };
        if is_open && setting(name, "").is_some() {
            settings.extend(setting(name, &value.ok_or_else(unread)?));
        }
    }
    Ok(settings)
}

/// A key without its hive.
fn below_hive(key: &str) -> Option<&str> {
    let (hive, key) = key.split_once('\\')?;
    let hives = ["HKEY_LOCAL_MACHINE", "HKEY_CURRENT_USER", "HKLM", "HKCU"];
    hives.contains(&hive).then_some(key)
}

const HEADER: &str = "Windows Registry Editor Version 5.00";
const END: &str = "\r\n";

//! [`read_json`]: a list of one kind of document, or the name of the document that stands in its place.
//!
//! The web service has three documents that are easily taken for each other, and proxies put answers into objects of their
//! own. An object that has the list under one key means one thing: the list is taken, with a note.

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::list::read_text;
use super::{FeedError, Note};
use crate::message::shorten;

/// A document of the Microsoft 365 web service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Entries with an id, a service area and a category.
    Endpoints,
    /// Announcements of changes of them.
    Changes,
}

/// Reads JSON of one shape, with nothing behind it.
pub(super) fn read_json<T: DeserializeOwned>(
    bytes: &[u8],
    kind: Kind,
    notes: &mut Vec<Note>,
) -> Result<Vec<T>, FeedError> {
    let text = read_text(bytes)?;
    let error = match serde_json::from_str(text) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    // The cold path: it is read once more, to find out why.
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => return unwrap(object, kind, notes),
        Ok(Value::Array(list)) => refuse_other(list.first(), kind)?,
        Ok(Value::String(inner)) if inner.trim_start().starts_with(['[', '{']) => {
            return Err(FeedError::EncodedTwice);
        }
        Ok(_) | Err(_) => {}
    }
    Err(json_error(&error))
}

/// Takes the list out of an object around it.
fn unwrap<T: DeserializeOwned>(
    object: Map<String, Value>,
    kind: Kind,
    notes: &mut Vec<Note>,
) -> Result<Vec<T>, FeedError> {
    refuse_version(&object)?;
    let keys = object.keys().map(|key| format!("`{}`", shorten(key)));
    let keys = match keys.take(KEYS_SHOWN).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "no keys".to_owned(),
        some if object.len() == 1 => format!("the key {some}"),
        some => format!("the keys {some}"),
    };
    let lists = object.into_iter().filter(|(_, value)| value.is_array());
    let lists: Vec<(String, Value)> = lists.collect();
    let [(key, list)] = &lists[..] else {
        return Err(FeedError::Wrapped { keys });
    };
    let first = list.get(0);
    refuse_other(first, kind)?;
    if !first.is_some_and(|first| is_of(first, kind)) {
        return Err(FeedError::Wrapped { keys });
    }
    let read = Vec::<T>::deserialize(list).map_err(|error| json_error(&error))?;
    notes.push(Note::Wrapped { key: shorten(key) });
    Ok(read)
}

/// True if `value` has the fields of an element of such a document.
fn is_of(value: &Value, kind: Kind) -> bool {
    let has = |name: &str| value.get(name).is_some();
    match kind {
        Kind::Endpoints => has("id") && has("serviceArea") && !has("endpointSetId"),
        Kind::Changes => has("endpointSetId") && has("disposition"),
    }
}

/// Refuses a list whose `first` element is of another document than one of `kind`, by the name of that.
fn refuse_other(first: Option<&Value>, kind: Kind) -> Result<(), FeedError> {
    let Some(first) = first else { return Ok(()) };
    first.as_object().map_or(Ok(()), refuse_version)?;
    let found = match kind {
        Kind::Endpoints if is_of(first, Kind::Changes) => {
            "a changes document; `offramp feed changes` shows it, and a feed is what /endpoints/INSTANCE answers"
        }
        Kind::Changes if is_of(first, Kind::Endpoints) => {
            "an endpoints document; `offramp feed diff` compares two of them"
        }
        Kind::Endpoints | Kind::Changes => return Ok(()),
    };
    let found = found.to_owned();
    Err(FeedError::OtherDocument { found })
}

/// Refuses a version document, or an element of one.
fn refuse_version(object: &Map<String, Value>) -> Result<(), FeedError> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(shorten);
    match (text("instance"), text("latest")) {
        (Some(instance), Some(latest)) => Err(FeedError::OtherDocument {
            found: format!(
                "a version document (instance {instance}, version {latest}), which has no addresses; save /endpoints/{instance}"
            ),
        }),
        _ => Ok(()),
    }
}

pub(super) fn json_error(error: &serde_json::Error) -> FeedError {
    let whole = error.to_string();
    // serde_json repeats the place at the end of its message.
    let message = whole.split(" at line ").next().unwrap_or(&whole);
    FeedError::Json {
        line: error.line(),
        column: error.column(),
        message: shorten(message),
    }
}

/// Keys of an object that a message has.
const KEYS_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use crate::feed::changes::parse_changes;
    use crate::feed::parse_microsoft;

    const ENTRY: &str =
        r#"{"id": 11, "serviceArea": "Skype", "category": "Optimize", "ips": ["52.112.0.0/14"]}"#;
    const CHANGE: &str = r#"{"id": 4, "endpointSetId": 11, "disposition": "change"}"#;
    const VERSION: &str = r#"{"instance": "Worldwide", "latest": "2026073000"}"#;

    #[test]
    fn a_list_that_a_proxy_has_wrapped_is_taken_and_said() {
        for text in [
            format!(r#"{{"status": 200, "data": [{ENTRY}]}}"#),
            format!(r#"{{"value": [{ENTRY}], "Count": 1}}"#),
        ] {
            let document = parse_microsoft(text.as_bytes()).expect(&text);
            assert_eq!(document.entries.len(), 1);
            assert!(document.notes[0].to_string().contains("has wrapped it"));
        }
        let text = format!(r#"{{"changes": [{CHANGE}]}}"#);
        let (changes, notes) = parse_changes(text.as_bytes()).expect("the one list");
        assert_eq!((changes.len(), notes.len()), (1, 1));
    }

    #[test]
    fn what_stands_in_the_place_of_the_document_is_named() {
        let refusals = [
            (
                VERSION.to_owned(),
                "a version document (instance Worldwide, version 2026073000)",
            ),
            (format!("[{VERSION}]"), "save /endpoints/Worldwide"),
            (
                format!("[{CHANGE}]"),
                "a changes document; `offramp feed changes` shows it",
            ),
            (format!(r#"{{"data": [{CHANGE}]}}"#), "a changes document"),
            (
                r#"{"status": 403, "message": "denied"}"#.to_owned(),
                "with the keys `message`, `status`, and",
            ),
            (
                format!(r#"{{"a": [{ENTRY}], "b": [{ENTRY}]}}"#),
                "with the keys `a`, `b`, and",
            ),
            (r#"{"a": [1]}"#.to_owned(), "with the key `a`, and"),
            ("{}".to_owned(), "a JSON object with no keys"),
            (
                format!("{:?}", format!("[{ENTRY}]")),
                "a JSON string that contains a document",
            ),
        ];
        for (text, message) in refusals {
            let error = parse_microsoft(text.as_bytes()).expect_err(&text);
            assert!(error.to_string().contains(message), "{text}: {error}");
        }
        let error = parse_changes(format!("[{ENTRY}]").as_bytes()).expect_err("endpoints");
        assert!(error.to_string().contains("`offramp feed diff`"), "{error}");
    }
}

//! [`schema`]: the JSON schema of the policy file, for editors, written from the tables of its sections.

use serde_json::{Map, Value, json};
use toml::de::{DeTable, DeValue};

use crate::policy::section::SECTIONS;
use crate::policy::syntax::{Absent, Form, Header, Key, Kind, Need, SectionTable};

/// The JSON schema of a policy (draft 7): sections, keys, types, words, bounds, defaults and meanings. `docs/policy.schema.json` is
/// this. It knows the form of no string, such as that of a prefix: `offramp check` does.
pub fn schema() -> Value {
    let sections: Map<String, Value> = SECTIONS
        .iter()
        .map(|section| {
            let table = table(section);
            let value = match section.header {
                Header::Single | Header::Inline => table,
                Header::Repeated => {
                    json!({ "type": "array", "items": table, "description": section.meaning })
                }
            };
            (section.name.to_owned(), value)
        })
        .collect();
    let is_required = |section: &&&SectionTable| {
        let mut keys = section.keys.iter();
        section.header == Header::Single && keys.any(|key| key.need == Need::Required)
    };
    let required = SECTIONS.iter().filter(is_required);
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Policy of offramp",
        "description": "Which traffic of VPN clients is dropped, and what is reached outside the tunnel; `offramp check` finds more mistakes",
        "type": "object",
        "additionalProperties": false,
        "required": required.map(|section| section.name).collect::<Vec<_>>(),
        "properties": sections,
    })
}

fn table(section: &SectionTable) -> Value {
    let keys = section.keys.iter();
    let properties: Map<String, Value> = keys
        .clone()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required = keys.filter(|key| key.need == Need::Required);
    let mut table = json!({
        "type": "object",
        "additionalProperties": false,
        "description": section.meaning,
        "properties": properties,
    });
    let required: Vec<&str> = required.map(|key| key.name).collect();
    if let (false, Some(fields)) = (required.is_empty(), table.as_object_mut()) {
        fields.insert("required".to_owned(), json!(required));
    }
    table
}

fn property(key: &Key) -> Value {
    let list = |item: Value| json!({ "type": "array", "items": item });
    let text = |form: Form| json!({ "type": "string", "description": form.rule() });
    let number =
        |first: i64, last: i64| json!({ "type": "integer", "minimum": first, "maximum": last });
    let mut value = match key.kind {
        Kind::Text(form) => text(form),
        Kind::Texts(form) => list(text(form)),
        Kind::Word(words) => json!({ "enum": words() }),
        Kind::Words(words) => list(json!({ "enum": words() })),
        Kind::Integer(first, last) => number(first, last),
        Kind::Integers(first, last) => list(number(first, last)),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Tables(section) => list(table(section)),
    };
    let Some(fields) = value.as_object_mut() else {
        return value;
    };
    if fields.contains_key("items") && key.need != Need::Optional {
        fields.insert("minItems".to_owned(), json!(1));
    }
    let meaning = match (key.kind, key.absent) {
        (Kind::Text(form), _) => format!("{}. Written as {}", key.meaning, form.rule()),
        (_, Absent::Otherwise(prose)) => format!("{}. Where it is absent: {prose}", key.meaning),
        (_, Absent::Refused | Absent::Value(_)) => key.meaning.to_owned(),
    };
    fields.insert("description".to_owned(), json!(meaning));
    if let Absent::Value(default) = key.absent {
        fields.extend(written(default).map(|it| ("default".to_owned(), it)));
    }
    fields.extend(written(key.example).map(|it| ("examples".to_owned(), json!([it]))));
    value
}

/// A value as JSON that is written as TOML.
fn written(toml: &str) -> Option<Value> {
    let text = format!("value = {toml}");
    let table = DeTable::parse(&text).ok()?;
    as_json(table.get_ref().get("value")?.get_ref())
}

fn as_json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(number) => {
            json!(i64::from_str_radix(number.as_str(), number.radix()).ok()?)
        }
        DeValue::Boolean(value) => json!(value),
        DeValue::Array(items) => {
            let items: Option<Vec<Value>> = items.iter().map(|it| as_json(it.get_ref())).collect();
            json!(items?)
        }
        DeValue::Table(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| Some((key.get_ref().to_string(), as_json(value.get_ref())?)));
            Value::Object(fields.collect::<Option<Map<String, Value>>>()?)
        }
        DeValue::Float(_) | DeValue::Datetime(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_schema_of_the_policy_is_current() {
        crate::generated::assert_file("docs/policy.schema.json", &format!("{:#}\n", schema()));
    }

    #[test]
    fn every_default_and_example_is_told() {
        for section in SECTIONS {
            for key in section.keys {
                let property = property(key);
                assert!(
                    !property["examples"].is_null(),
                    "{}.{}",
                    section.name,
                    key.name
                );
                let has_default = matches!(key.absent, Absent::Value(_));
                assert_eq!(
                    property["default"].is_null(),
                    !has_default,
                    "{}.{}",
                    section.name,
                    key.name
                );
            }
        }
        assert_eq!(written("0x30"), Some(json!(48)));
        assert_eq!(written("nonsense"), None);
    }
}

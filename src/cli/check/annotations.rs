//! Findings of `check`, for services that show it beside the lines of a file: GitHub's workflow commands, and SARIF.

use serde_json::{Value, json};

use crate::policy::{Code, Diagnostic, Diagnostics, Severity};
use crate::verify::BrokenExpectation;

/// A mistake, a doubt or a test that does not hold, with its place.
pub(super) struct Annotation {
    severity: Severity,
    code: String,
    text: String,
    place: Place,
    /// The reason for which the policy accepts it.
    accepted: Option<String>,
}

/// Lines and columns, counted from 1; the end is behind the last character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
}

impl Annotation {
    /// All of them, in the order of the text output.
    pub(super) fn all(diagnostics: &Diagnostics, broken: &[BrokenExpectation<'_>]) -> Vec<Self> {
        let found = diagnostics
            .iter()
            .map(|it| Self::of(it, diagnostics.source()));
        let accepted = diagnostics.accepted().iter().map(|it| Self {
            accepted: Some(it.reason.clone()),
            ..Self::of(&it.item, diagnostics.source())
        });
        let tests = broken.iter().map(Self::of_test);
        found.chain(tests).chain(accepted).collect()
    }

    fn of(diagnostic: &Diagnostic, source: &str) -> Self {
        let (line, column) = (diagnostic.line(), diagnostic.column());
        let place = diagnostic
            .labels()
            .first()
            .map_or(Place::from(line), |label| {
                let marked = source.get(label.span()).unwrap_or_default();
                let more = marked.matches('\n').count() as u32;
                let last = marked.rsplit('\n').next().unwrap_or_default();
                let length = last.chars().count() as u32;
                let start = if more == 0 { column } else { 1 };
                Place {
                    line,
                    column,
                    end_line: line + more,
                    end_column: start + length,
                }
            });
        let help = diagnostic.help().iter().map(|help| format!("\n{help}"));
        Self {
            severity: diagnostic.severity(),
            code: diagnostic.code().to_string(),
            text: diagnostic.message().to_owned() + &help.collect::<String>(),
            place,
            accepted: None,
        }
    }

    fn of_test(broken: &BrokenExpectation<'_>) -> Self {
        let test = broken.test;
        Self {
            severity: Severity::Error,
            code: TEST.to_owned(),
            text: format!(
                "test \"{}\" does not hold: expected {}, and it is {} ({})",
                test.name.value,
                test.claim.expected(),
                broken.outcome,
                broken.because
            ),
            place: Place::from(test.line),
            accepted: None,
        }
    }
}

impl From<u32> for Place {
    fn from(line: u32) -> Self {
        Self {
            line,
            column: 1,
            end_line: line,
            end_column: 1,
        }
    }
}

/// Workflow commands of GitHub Actions, one a line; what is accepted is no news.
pub(super) fn github(origin: &str, annotations: &[Annotation]) -> String {
    let news = annotations.iter().filter(|it| it.accepted.is_none());
    let commands = news.map(|it| {
        let Place {
            line,
            column,
            end_line,
            end_column,
        } = it.place;
        format!(
            "::{} file={},line={line},endLine={end_line},col={column},endColumn={end_column},title={}::{}\n",
            it.severity,
            escaped(origin).replace(':', "%3A").replace(',', "%2C"),
            it.code,
            escaped(&it.text)
        )
    });
    commands.collect()
}

/// A workflow command is one line, and `%` begins an escape in it.
fn escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A log of SARIF 2.1.0 (OASIS), of one run; what is accepted is suppressed in the source (§3.35).
pub(super) fn sarif(origin: &str, annotations: &[Annotation]) -> Value {
    let results = annotations.iter().map(|it| {
        let reason = it.accepted.iter();
        let suppressions =
            reason.map(|reason| json!({ "kind": "inSource", "justification": reason }));
        json!({
            "suppressions": suppressions.collect::<Vec<_>>(),
            "ruleId": it.code,
            "level": it.severity.as_str(),
            "message": { "text": it.text },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": origin },
                "region": {
                    "startLine": it.place.line,
                    "startColumn": it.place.column,
                    "endLine": it.place.end_line,
                    "endColumn": it.place.end_column,
                },
            }}],
        })
    });
    let rules = Code::ALL.iter().map(|code| code.as_str()).chain([TEST]);
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "offramp",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.map(|rule| json!({ "id": rule })).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

/// Code of a `[[test]]` that does not hold.
const TEST: &str = "test-broken";

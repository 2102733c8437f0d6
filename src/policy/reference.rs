//! Properties that hold for any bytes taken as a policy file; the fuzzer and the property tests call it.

use crate::policy::diagnostic::Style;
use crate::policy::diagnostic::{Diagnostics, Severity};

/// Parses `data` and checks every promise of [`parse`](super::parse).
///
/// # Panics
///
/// When a promise is broken: a span outside the text, a refusal without an error, a policy that printing changes.
pub fn fuzz_text(data: &[u8]) {
    match super::parse("fuzz.toml", data) {
        Ok((policy, warnings)) => {
            check(&warnings);
            assert_eq!(
                warnings.count(Severity::Error),
                0,
                "a policy is taken with errors"
            );
            let printed = policy.to_string();
            match super::parse("printed.toml", printed.as_bytes()) {
                Ok((again, _)) => {
                    assert_eq!(again.to_string(), printed, "printing changes the policy")
                }
                Err(errors) => panic!("a printed policy is refused: {errors}\n{printed}"),
            }
        }
        Err(errors) => {
            check(&errors);
            assert!(
                errors.count(Severity::Error) > 0 || errors.omitted() > 0,
                "a policy is refused without an error"
            );
        }
    }
}

fn check(diagnostics: &Diagnostics) {
    for item in diagnostics {
        assert!(!item.message().is_empty(), "a diagnostic says nothing");
        for label in item.labels() {
            let span = label.span();
            let marked = diagnostics.source().get(span.clone());
            assert!(marked.is_some(), "span {span:?} is outside the text");
            assert!(
                label.line() >= 1 && label.column() >= 1,
                "lines and columns count from 1"
            );
        }
    }
    // Drawing is linear in what is drawn; a few thousand messages would only slow the fuzzer down.
    if diagnostics.len() <= MAX_DRAWN {
        let plain = diagnostics.render(Style::Plain);
        assert_eq!(plain.is_empty(), diagnostics.is_empty());
        diagnostics.render(Style::Colored);
    }
}

/// Diagnostics up to which the fuzzer draws them.
const MAX_DRAWN: usize = 200;

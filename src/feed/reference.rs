//! Properties that hold for any bytes taken as a feed; the fuzzer and the property tests call it.

use super::changes::parse_changes;
use super::{
    Difference, Document, FeedError, guard, parse_aws, parse_list, parse_microsoft, parse_page,
};

/// Reads `data` as every kind of feed and checks what the readers promise.
///
/// # Panics
/// When a promise is broken.
pub fn fuzz_feed(data: &[u8]) {
    for read in [parse_list, parse_microsoft, parse_aws, parse_page] {
        match read(data) {
            Ok(document) => check(&document),
            Err(error) => check_error(&error),
        }
    }
    if let Err(error) = parse_changes(data) {
        check_error(&error);
    }
}

fn check(document: &Document) {
    assert!(
        !document.entries.is_empty(),
        "a feed without entries is taken"
    );
    for entry in &document.entries {
        for prefix in &entry.prefixes {
            assert_eq!(prefix.trunc(), *prefix, "{prefix} has host bits");
        }
    }
    assert!(Difference::between(document, document).is_empty());
    let entries = document.entries.iter();
    let prefixes: Vec<_> = entries
        .flat_map(|entry| entry.prefixes.iter().map(|prefix| (entry.key, *prefix)))
        .collect();
    if guard::refuse_wide(&prefixes).is_ok() {
        let widest = prefixes.iter().map(|(_, prefix)| prefix.prefix_len()).min();
        assert!(widest.is_none_or(|length| length >= guard::MIN_V4_LENGTH));
    }
}

fn check_error(error: &FeedError) {
    let message = error.to_string();
    assert!(
        !message.is_empty() && message.len() < 2_000 && !message.contains('\n'),
        "{message}"
    );
}

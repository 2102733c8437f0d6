//! Checked-in text that is derived from the code: compared in tests, and written anew with `OFFRAMP_GENERATE=1`.

use std::path::Path;

/// Fails unless the file at `path` of the repository is `text`.
pub(crate) fn assert_file(path: &str, text: &str) {
    let found = read(path);
    compare(path, &found, text.to_owned());
}

/// Fails unless the file at `path` has `text` between the lines `<!-- NAME: … -->` and `<!-- end of NAME -->`.
pub(crate) fn assert_block(path: &str, name: &str, text: &str) {
    let found = read(path);
    let (start, end) = (format!("<!-- {name}: "), format!("<!-- end of {name} -->"));
    let (head, rest) = found
        .split_once(&start)
        .unwrap_or_else(|| panic!("{path} has no line `{start}… -->`"));
    let (opening, rest) = rest.split_once('\n').expect("a line ends");
    let (_, tail) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("{path} has no line `{end}`"));
    let expected = format!("{head}{start}{opening}\n{text}{end}{tail}");
    compare(path, &found, expected);
}

fn compare(path: &str, found: &str, expected: String) {
    if std::env::var_os("OFFRAMP_GENERATE").is_some() {
        std::fs::write(in_repository(path), expected).expect("the repository can be written");
        return;
    }
    assert!(
        found == expected,
        "{path} is out of date; run `OFFRAMP_GENERATE=1 cargo test --lib generated_` and commit it"
    );
}

/// The text of a file; empty where it is missing.
fn read(path: &str) -> String {
    std::fs::read_to_string(in_repository(path)).unwrap_or_default()
}

fn in_repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

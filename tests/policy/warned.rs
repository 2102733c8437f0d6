//! Policies that are accepted with warnings: each file in `tests/warned/` with its expected report.

use std::error::Error;
use std::fs;
use std::path::Path;

use offramp::policy::{self, Severity, Style};

#[test]
fn every_doubt_is_drawn_where_it_stands() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/warned");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory)? {
        names.push(
            entry?
                .file_name()
                .into_string()
                .map_err(|name| format!("{name:?}"))?,
        );
    }
    names.sort();
    assert!(names.len() >= 8, "only {} cases found", names.len());
    for name in names {
        let text = fs::read(directory.join(&name))?;
        let (_, warnings) = policy::parse("policy.toml", &text)?;
        assert_eq!(warnings.count(Severity::Error), 0);
        insta::assert_snapshot!(
            name.trim_end_matches(".toml"),
            warnings.render(Style::Plain)
        );
    }
    Ok(())
}

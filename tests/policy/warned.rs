//! Policies that are accepted with warnings: each file in `tests/warned/` with its expected report.

use offramp::policy::{self, Diagnostics, Severity, Style};

#[test]
fn every_doubt_is_drawn_where_it_stands() -> Result<(), Diagnostics> {
    let cases = crate::cases("warned");
    assert!(cases.len() >= 8, "only {} cases found", cases.len());
    for (name, text) in cases {
        let (_, warnings) = policy::parse("policy.toml", &text)?;
        assert_eq!(warnings.count(Severity::Error), 0);
        insta::assert_snapshot!(name, warnings.render(Style::Plain));
    }
    Ok(())
}

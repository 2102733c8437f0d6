//! Paths as a policy writes them: of files, programs and logs.

use crate::message::shorten;
use crate::policy::diagnostic::Code;

use super::problem::Problem;

/// Reads the path of a file or a program: any text without control characters.
pub(in crate::policy) fn parse_path(text: &str) -> Result<String, Problem> {
    if text.trim().is_empty() {
        return Err(Problem::new(Code::BadPath, "the path is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(
            Problem::new(Code::BadPath, format!("path `{}` has control characters", shorten(text)))
                .help("in \"...\" TOML reads \\t as a tab: write Windows paths in single quotes, 'C:\\tools\\x.exe'"),
        );
    }
    Ok(text.to_owned())
}

/// Reads where a log is to be written: an absolute path, or `-` for standard output.
pub(in crate::policy) fn parse_log(text: &str) -> Result<String, Problem> {
    let path = parse_path(text)?;
    if path == STANDARD_OUTPUT || path.starts_with('/') {
        return Ok(path);
    }
    let problem = Problem::new(
        Code::BadPath,
        format!("path `{}` does not begin with /", shorten(text)),
    );
    Err(problem.help(
        "a daemon has no folder of its own: write e.g. \"/var/log/offramp/drops.jsonl\", or \"-\" for standard output",
    ))
}

/// Name that stands for standard output.
pub(in crate::policy) const STANDARD_OUTPUT: &str = "-";

//! [`CliError`]: why a command ends without its result, and the exit code that says so.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Why a command ends without its result.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The request makes no sense: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The policy has errors, which were printed: exit code 2.
    #[error("{0}")]
    Refused(String),
    /// It could not be done: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Whoever read the output has gone: no error.
    #[error("the program that reads the output has closed it")]
    ReaderGone,
}

impl CliError {
    /// Standard output cannot be written.
    pub(super) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }

    /// The file cannot be used as `what`.
    pub(super) fn file(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::Failed(format!("{what} {}: {error}", path.display()))
    }

    /// Prints the error; the exit code it stands for.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::ReaderGone => {}
            Self::Usage(_) | Self::Refused(_) | Self::Failed(_) => {
                say(format_args!("{ERROR}error{ERROR:#}: {self}\n"));
            }
        }
        self.exit_code()
    }

    /// The exit code it stands for.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::ReaderGone => ExitCode::SUCCESS,
            Self::Usage(_) | Self::Refused(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// How the word "error" looks.
const ERROR: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
/// How the word "warning" looks.
const WARNING: anstyle::Style = anstyle::AnsiColor::Yellow.on_default().bold();

/// Prints a warning.
pub(super) fn warn(message: &str) {
    say(format_args!("{WARNING}warning{WARNING:#}: {message}\n"));
}

/// Prints to standard error. Where that cannot be written, the exit code says what there is to say.
pub(super) fn say(text: fmt::Arguments<'_>) {
    _ = anstream::stderr().write_fmt(text);
}

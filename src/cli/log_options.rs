//! How a program that stays logs: its options, and the start of its log.

use std::io::{self, IsTerminal};

use tracing::error;

use super::error::CliError;
use super::log::{self, LogEnd};

/// How and what to log.
#[derive(Debug, clap::Args)]
pub(super) struct LogOptions {
    /// Format of the log
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    log: LogFormat,
    /// Log decisions about reloads and devices, too
    #[arg(long, short)]
    verbose: bool,
}

/// How to write the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// `journal` under systemd, else `text`
    Auto,
    /// Lines with time and level
    Text,
    /// Lines that are JSON objects
    Json,
    /// Lines with the level as the systemd journal reads it
    Journal,
}

impl LogOptions {
    /// Starts the log on standard error; it ends with what is returned.
    pub(super) fn start(&self) -> Result<LogEnd, CliError> {
        self.try_start().map_err(|error| {
            CliError::Failed(format!(
                "cannot start the thread that writes the log: {error}"
            ))
        })
    }

    fn try_start(&self) -> io::Result<LogEnd> {
        let level = if self.verbose {
            tracing::Level::DEBUG
        } else {
            tracing::Level::INFO
        };
        // Whatever logs through `tracing` beside us is not the operator's business.
        let filter = tracing_subscriber::filter::Targets::new().with_target("offramp", level);
        let format = match self.log {
            LogFormat::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => LogFormat::Journal,
            LogFormat::Auto => LogFormat::Text,
            other => other,
        };
        use tracing_subscriber::prelude::*;
        let (writer, end) = log::start()?;
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .with_target(false)
            .with_ansi(io::stderr().is_terminal() && anstream::stderr().is_terminal());
        let registry = tracing_subscriber::registry().with(filter);
        match format {
            LogFormat::Auto | LogFormat::Text => registry.with(lines).init(),
            LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
            LogFormat::Journal => registry
                .with(lines.with_ansi(false).event_format(super::journal::Lines))
                .init(),
        }
        // A panic, too, is for the log.
        std::panic::set_hook(Box::new(|panic| error!("{panic}")));
        Ok(end)
    }
}

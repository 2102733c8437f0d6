//! `offramp observe`: a live interface, judged and left alone.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::error::{CliError, warn};
use super::input::load_policy;
use super::replay::print_summary;
use crate::audit::quality::Quality;
use crate::audit::{Audit, Kept};
use crate::capture::CapturedFrame;
use crate::datapath::worker::{self, ByPolicy};
use crate::datapath::{FrameSink, Outcome};
use crate::filter::CompileError;
use crate::gateway::interface::{InterfaceBackend, Limits};
use crate::verdict::Action;

/// Watch a live interface and tell what the policy would do: an audit before the switch-on
///
/// Nothing is dropped or changed. Packets in both directions are seen: those to clients count as `not-a-client`, and media
/// between two clients counts as it enters and as it leaves. Listens until it is interrupted (Ctrl-C), or as long as --seconds and --packets say,
/// and then prints the summary that `replay` prints. Needs root, or CAP_NET_RAW.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp observe config/contoso.toml tun0
  offramp observe config/contoso.toml tun0 --seconds 3600 --json > audit.json")]
pub(super) struct Options {
    /// The policy file
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// The interface on which clients' packets enter, e.g. tun0
    #[arg(value_name = "INTERFACE")]
    interface: String,
    /// Stop after this many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Stop after this many frames
    #[arg(long, value_name = "N")]
    packets: Option<u64>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let policy = load_policy(&options.policy)?;
    let stop = Arc::new(AtomicBool::new(false));
    let signaled = Arc::clone(&stop);
    ctrlc::set_handler(move || signaled.store(true, Ordering::Relaxed))
        .map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")))?;

    let limits = Limits {
        duration: options.seconds.map(Duration::from_secs),
        frames: options.packets,
    };
    let failed = |error: CompileError| CliError::Failed(error.to_string());
    let mut judge = ByPolicy::new(&policy);
    let sink = Watch {
        audit: Audit::new(),
        kept: Kept::new(&policy).map_err(failed)?,
        quality: Quality::new(&policy).map_err(failed)?,
        seen: 0,
        dropped: 0,
        ticker: ticker(&options.interface),
    };
    let failed =
        |error: io::Error| CliError::Failed(format!("interface {}: {error}", options.interface));
    let mut backend =
        InterfaceBackend::open(&options.interface, sink, limits, stop).map_err(failed)?;
    let watched = worker::run(&mut backend, &mut judge);
    let (mut sink, missed) = backend.into_sink();
    sink.ticker.finish_and_clear();
    sink.audit.miss(missed);
    if missed > 0 {
        warn(&format!(
            "interface {}: {missed} frames came faster than they could be judged; the summary lacks them",
            options.interface
        ));
    }
    let quality = sink.quality.report(&policy);
    print_summary(
        &sink.audit,
        sink.kept.as_ref(),
        &quality,
        &policy,
        options.json,
    )?;
    match watched {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(CliError::Failed(error.to_string())),
    }
}

/// A line that shows that something happens, on a terminal.
fn ticker(interface: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let ticker = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {prefix}: {msg}; Ctrl-C ends it");
    ticker.set_style(style.unwrap_or(ProgressStyle::default_spinner()));
    ticker.set_prefix(format!("watching {interface}"));
    ticker.enable_steady_tick(Duration::from_millis(200));
    ticker
}

struct Watch {
    audit: Audit,
    kept: Option<Kept>,
    quality: Quality,
    seen: u64,
    dropped: u64,
    ticker: ProgressBar,
}

impl FrameSink for Watch {
    fn note(&mut self, _frame: &CapturedFrame<'_>, outcome: Outcome<'_>) -> io::Result<()> {
        match outcome {
            Outcome::Skipped(_) => self.audit.skip(),
            Outcome::Judged(packet, verdict) => {
                self.audit
                    .record(verdict, packet.parse(), packet.length_on_wire);
                if let Some(kept) = &mut self.kept {
                    kept.record(verdict, packet);
                }
                self.quality.record(verdict, packet);
                self.seen += 1;
                self.dropped += u64::from(verdict.action == Action::Drop);
                if !self.ticker.is_hidden() {
                    let (seen, dropped) = (self.seen, self.dropped);
                    self.ticker
                        .set_message(format!("{seen} packets, {dropped} would be dropped"));
                }
            }
        }
        Ok(())
    }
}

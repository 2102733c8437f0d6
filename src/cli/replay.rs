//! `offramp replay`: every packet of a capture, judged.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Read as _, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstream::ColorChoice;
use indicatif::{ProgressBar, ProgressStyle};

use super::error::{CliError, warn};
use super::input::{Capture, load_policy, open_capture};
use super::summary::{TextOptions, render, render_comparison};
use crate::audit::quality::{Quality, QualityReport};
use crate::audit::{Audit, Comparison, Kept};
use crate::capture::{CaptureError, CapturedFrame, NotIp, PcapngWriter};
use crate::datapath::CaptureBackend;
use crate::datapath::worker::{self, ByPolicy};
use crate::datapath::{BackendError, FrameSink, Outcome};
use crate::files::place;
use crate::filter::{CompileError, CompiledPolicy};
use crate::policy::Style;
use crate::verdict::{Action, Verdict};

/// Judge every packet of a capture: what would the policy drop, and what would it cut off?
///
/// Reads pcap and pcapng, both also compressed with gzip, of all common link types. A capture that is cut off in the
/// middle is judged as far as it goes, with a warning and exit code 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  offramp replay config/contoso.toml office.pcapng
  offramp replay config/contoso.toml office.pcap.gz --write-dropped dropped.pcapng
  offramp replay config/contoso.toml office.pcap --verdicts - | grep ' drop '
  offramp replay config/contoso.toml office.pcap --compare-match

A line of --verdicts is `FRAME VERDICT REASON`. FRAME counts packet blocks from 1; VERDICT is
forward, drop, or skip where the frame holds no IP packet; REASON says why.")]
pub(super) struct Options {
    /// The policy file
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// The capture
    #[arg(value_name = "CAPTURE")]
    capture: PathBuf,
    /// Write a line for each frame to FILE, or to standard output (-), and no summary
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    verdicts: Option<PathBuf>,
    /// Write the dropped packets to FILE (pcapng, the reason as packet comment)
    #[arg(long, value_name = "FILE")]
    write_dropped: Option<PathBuf>,
    /// Write the forwarded packets to FILE (pcapng)
    #[arg(long, value_name = "FILE")]
    write_forwarded: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Print what each value of `media.match` would drop, side by side, whatever the policy has
    #[arg(long, conflicts_with = "verdicts")]
    compare_match: bool,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    if looks_like_capture(&options.policy) {
        return Err(CliError::Usage(format!(
            "{capture} is a capture, and the policy comes first: offramp replay {policy} {capture}",
            capture = options.policy.display(),
            policy = options.capture.display(),
        )));
    }
    let policy = load_policy(&options.policy)?;
    refuse_overwriting(options)?;
    let progress = ProgressBar::hidden();
    let watch = progress.clone();
    let Capture { reader, size } = open_capture(&options.capture, |file| watch.wrap_read(file))?;
    show(&progress, size);

    let failed = |error: CompileError| CliError::Failed(error.to_string());
    let sink = Sink {
        policy: &policy,
        verdicts: options
            .verdicts
            .as_deref()
            .map(VerdictLines::create)
            .transpose()?,
        dropped: options
            .write_dropped
            .as_deref()
            .map(CaptureFile::create)
            .transpose()?,
        forwarded: options
            .write_forwarded
            .as_deref()
            .map(CaptureFile::create)
            .transpose()?,
        audit: Audit::new(),
        kept: Kept::new(&policy).map_err(failed)?,
        quality: Quality::new(&policy).map_err(failed)?,
        comparison: match options.compare_match {
            true => Some(Comparison::new(&policy).map_err(failed)?),
            false => None,
        },
    };
    let mut backend = CaptureBackend::new(reader, sink);
    let judged = worker::run(&mut backend, &mut ByPolicy::new(&policy));
    progress.finish_and_clear();
    // A capture that ends early is judged as far as it goes; everything up to there is kept.
    let cut_off = match judged {
        Ok(()) => None,
        Err(BackendError::Capture(error)) => Some(error),
        Err(BackendError::Sink(error)) => return Err(CliError::output(error)),
        Err(error @ (BackendError::Interface { .. } | BackendError::Removed { .. })) => {
            return Err(CliError::Failed(error.to_string()));
        }
    };
    let Audits {
        audit,
        kept,
        mut quality,
        comparison,
    } = backend.into_sink().finish()?;
    if let Some(comparison) = comparison {
        print_comparison(&comparison, options.json)?;
    } else if options.verdicts.is_none() {
        let quality = quality.report(&policy);
        print_summary(&audit, kept.as_ref(), &quality, &policy, options.json)?;
    }
    match cut_off {
        None => Ok(ExitCode::SUCCESS),
        Some(error @ CaptureError::Truncated { .. }) => {
            warn(&format!("capture {}: {error}", options.capture.display()));
            Ok(ExitCode::FAILURE)
        }
        Some(error) => Err(CliError::Failed(format!(
            "capture {}: {error}",
            options.capture.display()
        ))),
    }
}

/// Returns `true` if a file begins as captures do: pcap of either byte order and clock, pcapng, or one that is compressed.
fn looks_like_capture(path: &Path) -> bool {
    let mut first = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut first));
    let is_pcap = |bytes: [u8; 4]| matches!(u32::from_be_bytes(bytes), 0xa1b2_c3d4 | 0xa1b2_3c4d);
    let reversed = [first[3], first[2], first[1], first[0]];
    read.is_ok()
        && (is_pcap(first)
            || is_pcap(reversed)
            || first == [0x0a, 0x0d, 0x0d, 0x0a]
            || first.starts_with(&[0x1f, 0x8b]))
}

/// Prints what an audit found out.
pub(super) fn print_summary(
    audit: &Audit,
    kept: Option<&Kept>,
    quality: &QualityReport,
    policy: &CompiledPolicy,
    json: bool,
) -> Result<(), CliError> {
    let report = audit.report(policy);
    let kept = kept.map(Kept::report);
    if json {
        let mut json = value(&report)?;
        if let Some(fields) = json.as_object_mut() {
            fields.insert("quality".to_owned(), value(quality)?);
            if let Some(kept) = &kept {
                fields.insert("kept".to_owned(), value(kept)?);
            }
        }
        return super::print_json(&json);
    }
    super::print(&render(
        &report,
        kept.as_ref(),
        Some(quality),
        &text_options(),
    ))
}

/// Prints the reports of one capture under each value of `media.match`.
fn print_comparison(comparison: &Comparison, json: bool) -> Result<(), CliError> {
    let reports = comparison.reports();
    if json {
        let fields = reports.iter();
        let fields = fields.map(|(it, report)| Ok((it.word().to_owned(), value(report)?)));
        let fields = fields.collect::<Result<serde_json::Map<_, _>, CliError>>()?;
        return super::print_json(&serde_json::Value::Object(fields));
    }
    super::print(&render_comparison(&reports, &text_options()))
}

fn value(report: &impl serde::Serialize) -> Result<serde_json::Value, CliError> {
    serde_json::to_value(report)
        .map_err(|error| CliError::Failed(format!("cannot write the report: {error}")))
}

/// Text as wide as the terminal, in colors that standard output takes.
fn text_options() -> TextOptions {
    let default = TextOptions::default();
    TextOptions {
        width: terminal_size::terminal_size().map_or(default.width, |(width, _)| width.0),
        style: match anstream::AutoStream::choice(&io::stdout()) {
            ColorChoice::Never => Style::Plain,
            ColorChoice::Always | ColorChoice::AlwaysAnsi | ColorChoice::Auto => Style::Colored,
        },
    }
}

/// Shows a progress bar on a terminal while a capture of `size` bytes is read.
fn show(progress: &ProgressBar, size: u64) {
    if !io::stderr().is_terminal() || size < LONG_CAPTURE {
        return;
    }
    let template = "judging {bar:30} {percent:>3} % of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
    progress.set_style(style);
    progress.set_length(size);
    progress.set_draw_target(indicatif::ProgressDrawTarget::stderr());
}

/// A capture of this many bytes takes long enough to look at a progress bar.
const LONG_CAPTURE: u64 = 64 << 20;

/// Nothing that is read may be written over, and no two outputs may share a file.
fn refuse_overwriting(options: &Options) -> Result<(), CliError> {
    let outputs = [
        &options.verdicts,
        &options.write_dropped,
        &options.write_forwarded,
    ];
    let outputs: Vec<&Path> = outputs
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .filter(|path| *path != Path::new("-"))
        .collect();
    for (at, output) in outputs.iter().enumerate() {
        let others = [options.policy.as_path(), options.capture.as_path()];
        let others = others.iter().chain(&outputs[..at]);
        if let Some(other) = others.copied().find(|other| is_same_file(output, other)) {
            return Err(CliError::Usage(format!(
                "{} would be written over {}; name another file",
                output.display(),
                other.display()
            )));
        }
    }
    Ok(())
}

/// Returns `true` if two paths lead to one file, by links or because both would create it.
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Err(_), Err(_)) => created(one) == created(other),
        _ => false,
    }
}

/// Returns the path at which a missing file would be created.
fn created(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    folder.join(path.file_name().unwrap_or_default())
}

/// Notes what becomes of each frame, wherever that was asked for.
struct Sink<'a> {
    policy: &'a CompiledPolicy,
    verdicts: Option<VerdictLines>,
    dropped: Option<CaptureFile>,
    forwarded: Option<CaptureFile>,
    audit: Audit,
    kept: Option<Kept>,
    quality: Quality,
    comparison: Option<Comparison>,
}

/// The audits of a capture that was read to its end.
struct Audits {
    audit: Audit,
    kept: Option<Kept>,
    quality: Quality,
    comparison: Option<Comparison>,
}

impl FrameSink for Sink<'_> {
    fn note(&mut self, frame: &CapturedFrame<'_>, outcome: Outcome<'_>) -> io::Result<()> {
        let (packet, verdict) = match outcome {
            Outcome::Judged(packet, verdict) => (packet, verdict),
            Outcome::Skipped(what) => {
                self.audit.skip();
                return self.line(|lines| lines.write_skipped(frame.number, what));
            }
        };
        if let Some(comparison) = &mut self.comparison {
            comparison.record(packet);
        } else if self.verdicts.is_none() {
            self.audit
                .record(verdict, packet.parse(), packet.length_on_wire);
            if let Some(kept) = &mut self.kept {
                kept.record(verdict, packet);
            }
            self.quality.record(verdict, packet);
        }
        self.line(|lines| lines.write(frame.number, verdict))?;
        match verdict.action {
            Action::Forward => match &mut self.forwarded {
                Some(file) => file.write(frame, None),
                None => Ok(()),
            },
            Action::Drop => match &mut self.dropped {
                Some(file) => file.write(frame, Some(&self.policy.rules().tell(verdict))),
                None => Ok(()),
            },
        }
    }
}

impl Sink<'_> {
    /// Writes a verdict line, if they are wanted. When their reader has gone, captures that are being written go on.
    fn line(&mut self, write: impl FnOnce(&mut VerdictLines) -> io::Result<()>) -> io::Result<()> {
        let Some(lines) = &mut self.verdicts else {
            return Ok(());
        };
        match write(lines) {
            Err(error)
                if error.kind() == io::ErrorKind::BrokenPipe
                    && (self.dropped.is_some() || self.forwarded.is_some()) =>
            {
                self.verdicts = None;
                Ok(())
            }
            written => written,
        }
    }

    /// Writes out what is still in buffers.
    fn finish(self) -> Result<Audits, CliError> {
        for file in [self.dropped, self.forwarded].into_iter().flatten() {
            file.finish()?;
        }
        if let Some(lines) = self.verdicts {
            lines.finish()?;
        }
        Ok(Audits {
            audit: self.audit,
            kept: self.kept,
            quality: self.quality,
            comparison: self.comparison,
        })
    }
}

/// Destination of verdict lines.
struct VerdictLines {
    out: BufWriter<Box<dyn Write>>,
    name: String,
}

impl VerdictLines {
    fn create(path: &Path) -> Result<Self, CliError> {
        let (out, name): (Box<dyn Write>, _) = if path == Path::new("-") {
            (Box::new(io::stdout()), "standard output".to_owned())
        } else {
            let file = place::create(path, 0o666)
                .map_err(|error| CliError::file("verdicts", path, &error))?;
            (Box::new(file), path.display().to_string())
        };
        Ok(Self {
            out: BufWriter::with_capacity(1 << 16, out),
            name,
        })
    }

    /// Writes a line in pieces: formatting it would take longer than judging the packet.
    fn write(&mut self, frame: u64, verdict: Verdict) -> io::Result<()> {
        let mut digits = [0; MAX_DIGITS];
        let pieces = [
            decimal(frame, &mut digits),
            match verdict.action {
                Action::Forward => b" forward ",
                Action::Drop => b" drop ",
            },
            verdict.reason.name().as_bytes(),
            b"\n",
        ];
        for piece in pieces {
            self.out
                .write_all(piece)
                .map_err(|error| named(&self.name, &error))?;
        }
        Ok(())
    }

    #[cold]
    fn write_skipped(&mut self, frame: u64, what: NotIp) -> io::Result<()> {
        writeln!(self.out, "{frame} skip {what}").map_err(|error| named(&self.name, &error))
    }

    fn finish(mut self) -> Result<(), CliError> {
        self.out
            .flush()
            .map_err(|error| CliError::output(named(&self.name, &error)))
    }
}

/// `number` in decimal, at the end of `digits`.
fn decimal(mut number: u64, digits: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut start = MAX_DIGITS;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    &digits[start..]
}

/// Digits of [`u64::MAX`].
const MAX_DIGITS: usize = 20;

/// A capture that packets are written to.
struct CaptureFile {
    writer: PcapngWriter<BufWriter<File>>,
    name: String,
}

impl CaptureFile {
    fn create(path: &Path) -> Result<Self, CliError> {
        let failed = |error| CliError::file("capture", path, &error);
        let file = place::create(path, 0o666).map_err(failed)?;
        let writer = PcapngWriter::new(BufWriter::with_capacity(1 << 16, file)).map_err(failed)?;
        Ok(Self {
            writer,
            name: path.display().to_string(),
        })
    }

    fn write(&mut self, frame: &CapturedFrame<'_>, comment: Option<&str>) -> io::Result<()> {
        self.writer
            .write_frame(frame, comment)
            .map_err(|error| named(&self.name, &error))
    }

    fn finish(self) -> Result<(), CliError> {
        let flushed = self.writer.finish().and_then(|mut file| file.flush());
        flushed.map_err(|error| CliError::output(named(&self.name, &error)))
    }
}

/// The same error, with the name of the file in it.
fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::verdict::Reason;

    #[test]
    fn numbers_are_written_as_display_writes_them() {
        for number in [0, 1, 9, 10, 99, 100, 1_234_567_890, u64::MAX - 1, u64::MAX] {
            let mut digits = [0; MAX_DIGITS];
            assert_eq!(decimal(number, &mut digits), number.to_string().as_bytes());
        }
    }

    #[test]
    fn a_line_is_the_number_and_what_the_verdict_displays() {
        for reason in Reason::ALL {
            for verdict in [Verdict::forward(reason), Verdict::drop(reason)] {
                let written = Shared::default();
                let mut lines = VerdictLines {
                    out: BufWriter::new(Box::new(written.clone())),
                    name: "memory".to_owned(),
                };
                lines.write(1_234, verdict).expect("memory takes it");
                lines.finish().expect("memory takes it");
                let text = written.0.lock().expect("nobody panicked").clone();
                assert_eq!(String::from_utf8(text), Ok(format!("1234 {verdict}\n")));
            }
        }
    }

    /// Memory that is read after its writer is gone.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

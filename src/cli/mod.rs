//! The `offramp` command: arguments in, text or JSON out, one file a command.
//!
//! Results go to standard output, everything said about them to standard error. Exit codes: 0 fine, 1 failed, 2 usage or
//! policy refused, 3 the check found something.

mod bypass;
mod call;
mod check;
mod demo;
mod dns;
mod enforce;
mod error;
mod explain;
mod explain_name;
mod feed;
mod fleet;
mod guess;
mod init;
mod input;
mod journal;
mod log;
mod log_options;
mod number;
mod observe;
mod rates;
mod reload;
mod render;
mod replay;
mod routes;
mod run;
mod status;
mod summary;
#[cfg(test)]
mod testing;
mod top;
mod trace;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use error::CliError;

/// Keep Lync, Skype for Business and Teams media off the VPN
///
/// offramp judges the packets of VPN clients by one policy file: traffic to the Lync servers and peer-to-peer media to
/// internal hosts and other clients is dropped, so that calls leave the tunnel and take the A/V Edge's public relay.
#[derive(Debug, Parser)]
#[command(
    name = "offramp",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Arguments {
    /// When to use colors
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

/// When to use colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    /// On a terminal
    Auto,
    /// Also in a file or a pipe
    Always,
    /// Not at all
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(Box<init::Options>),
    Check(check::Options),
    Explain(Box<explain::Options>),
    Call(call::Options),
    Verify(verify::Options),
    Replay(replay::Options),
    Observe(observe::Options),
    Run(run::Options),
    Dns(dns::Options),
    Demo(demo::Options),
    Status(status::Options),
    Top(top::Options),
    Trace(trace::Options),
    Bypass(bypass::Options),
    Enforce(enforce::Options),
    Keep(enforce::KeepOptions),
    Reload(reload::Options),
    Render(render::Options),
    Routes(routes::Options),
    #[command(
        subcommand,
        after_help = "Example:\n  offramp feed fetch /etc/offramp/site.toml"
    )]
    Feed(feed::Command),
    #[command(
        subcommand,
        after_help = "Example:\n  offramp fleet agent /etc/offramp/site.toml"
    )]
    Fleet(fleet::Command),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  offramp completions bash > /etc/bash_completion.d/offramp")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the commands, or that of the policy file
    #[command(
        after_help = "Examples:\n  offramp man > /usr/share/man/man1/offramp.1\n  offramp man policy | man -l -"
    )]
    Man {
        /// offramp(1) or offramp.toml(5)
        #[arg(value_name = "PAGE", default_value = "commands")]
        page: Page,
    },
    /// Print the JSON schema of the policy file, by which editors complete and check one
    #[command(
        after_help = "Example:\n  offramp schema > offramp.schema.json\n\nA policy names it in its first line: #:schema offramp.schema.json"
    )]
    Schema,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().collect();
    let parsed = Arguments::try_parse_from(&given).or_else(|error| {
        let reordered = guess::reordered(&given);
        let parsed = reordered.and_then(|it| Arguments::try_parse_from(it).ok());
        parsed.ok_or(error)
    });
    let arguments = match parsed {
        Ok(arguments) => arguments,
        // Help and version are no errors; clap knows which stream each belongs to.
        Err(error) => {
            if let Some(meant) = guess::suggestion(&error) {
                let word = given.get(1).map(|it| it.to_string_lossy());
                let word = crate::message::shorten(&word.unwrap_or_default());
                let why = format!("there is no command `{word}`; you may mean: {meant}");
                return CliError::Usage(why).report();
            }
            let printed = error.print();
            return match printed {
                _ if error.use_stderr() => ExitCode::from(2),
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => CliError::output(error).report(),
            };
        }
    };
    match arguments.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let done = match arguments.command {
        Command::Init(options) => init::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Call(options) => call::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Observe(options) => observe::run(&options),
        Command::Run(options) => run::run(&options),
        Command::Dns(options) => dns::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Top(options) => top::run(&options),
        Command::Trace(options) => trace::run(&options),
        Command::Bypass(options) => bypass::run(&options),
        Command::Enforce(options) => enforce::run(&options),
        Command::Keep(options) => enforce::keep(&options),
        Command::Reload(options) => reload::run(&options),
        Command::Render(options) => render::run(&options),
        Command::Routes(options) => routes::run(&options),
        Command::Feed(command) => feed::run(&command),
        Command::Fleet(command) => fleet::run(&command),
        Command::Completions { shell } => print_completions(shell),
        Command::Man {
            page: Page::Commands,
        } => print_manual(),
        Command::Man { page: Page::Policy } => done(print(&crate::policy::page())),
        Command::Schema => done(print_json(&crate::policy::schema())),
    };
    done.unwrap_or_else(|error| error.report())
}

/// A manual page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Page {
    Commands,
    Policy,
}

fn done(printed: Result<(), CliError>) -> Result<ExitCode, CliError> {
    printed.map(|()| ExitCode::SUCCESS)
}

fn print_completions(shell: clap_complete::Shell) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "offramp", &mut script);
    io::stdout().write_all(&script).map_err(CliError::output)?;
    Ok(ExitCode::SUCCESS)
}

/// One page for all commands: what `--help` says of each, under a heading of its own.
fn print_manual() -> Result<ExitCode, CliError> {
    let mut page = Vec::new();
    write_manual(&mut page).map_err(CliError::output)?;
    io::stdout().write_all(&page).map_err(CliError::output)?;
    Ok(ExitCode::SUCCESS)
}

fn write_manual(page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = Arguments::command();
    command.build();
    let manual = clap_mangen::Man::new(command.clone());
    manual.render_title(page)?;
    manual.render_name_section(page)?;
    manual.render_synopsis_section(page)?;
    manual.render_description_section(page)?;
    manual.render_options_section(page)?;
    for subcommand in command
        .get_subcommands_mut()
        .filter(|it| it.get_name() != "help")
    {
        let help = subcommand.render_long_help().to_string();
        writeln!(
            page,
            ".SH \"OFFRAMP {}\"\n.nf",
            subcommand.get_name().to_uppercase()
        )?;
        for line in help.lines() {
            // In roff a backslash escapes, a hyphen is typographic, and a dot or quote in front is a request.
            let line = line.replace('\\', "\\\\").replace('-', "\\-");
            writeln!(page, "\\&{line}")?;
        }
        writeln!(page, ".fi")?;
    }
    Ok(())
}

/// Prints a result.
fn print(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CliError::output)
}

/// Prints a result for programs.
fn print_json(value: &serde_json::Value) -> Result<(), CliError> {
    print(&format!("{value:#}\n"))
}

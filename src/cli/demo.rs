//! `offramp demo`: a site in a box, and what offramp does to its traffic.

mod names;
mod process;

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anstyle::AnsiColor;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use self::names::NameOutcome;
use self::process::GatewayProcess;
use super::error::CliError;
use crate::filter::{CompiledPolicy, Generation, Question};
use crate::gateway::report::control;
use crate::gateway::report::status::Status;
use crate::gateway::testbed::names::serve_names;
use crate::gateway::testbed::namespace::{SiteError, enter_namespaces};
use crate::gateway::testbed::site::{
    CLIENT_A, CLIENT_B, CONCENTRATOR_VPN, DNS_SERVER, EDGE_INTERNAL, EDGE_PUBLIC, FRONT_END,
    HOME_A, JUMP_HOST, OFFICE, SERVER, Site,
};
use crate::gateway::testbed::traffic::{Probe, Wire, serve_relay, serve_tcp, serve_udp};
use crate::packet::media::Payload;
use crate::plan::Zones;
use crate::policy::{self, Protocol};
use crate::verdict::Action;

/// Show on a site in a box what offramp does: the article's traffic, before and after
///
/// Builds homes, concentrator, corporate network and Edge in network namespaces of its own, runs `offramp run` there with
/// the article's policy (config/contoso.toml), sends the traffic that the article speaks of, and compares what happens with
/// what the policy says. Needs no root where user namespaces are allowed, touches nothing of this host, and leaves nothing
/// behind. Exits with 1 if anything differs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  offramp demo")]
pub(super) struct Options {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Traffic that the demo sends, and how people call it.
struct Case {
    name: &'static str,
    way: Way,
    probe: Probe,
}

/// Which way it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Tunnel,
    Outside,
}

/// Outcome of a case.
struct Outcome<'a> {
    case: &'a Case,
    before: bool,
    after: bool,
    expected: Expected,
}

/// Verdict of the policy.
struct Expected {
    passes: bool,
    because: String,
    /// The same without names, for a table of 80 columns.
    brief: String,
}

pub(super) fn run(options: &Options) -> Result<ExitCode, CliError> {
    let steps = Steps::new();
    enter_namespaces().map_err(failed)?;
    let folder = Folder::new()?;
    let socket = folder.0.join("control.sock");
    let text = POLICY.replacen(
        "[gateway]",
        &format!("[gateway]\ncontrol = '{}'", socket.display()),
        1,
    );
    let file = folder.0.join("contoso.toml");
    fs::write(&file, &text).map_err(|error| CliError::file("policy", &file, &error))?;
    let compiled = compile(&text)?;

    steps.begin("building homes, concentrator, corporate network and Edge");
    let site = Site::build().map_err(failed)?;
    serve(&site).map_err(failed)?;
    let cases = cases();
    steps.begin("sending the article's traffic, with nothing in its way");
    let everything = vec![true; cases.len()];
    let before = send_until(&steps, &site, &cases, &everything)?;
    if let Some((case, _)) = cases.iter().zip(&before).find(|(_, answered)| !**answered) {
        return Err(CliError::Failed(format!(
            "{}: no answer, with nothing in its way, in {ATTEMPTS} attempts: this host is too busy for the demo; try it again later",
            case.name
        )));
    }
    let names_before = names::ask(&site, (DNS_SERVER, 53).into())?;
    steps.begin("starting offramp run on the concentrator");
    let mut gateway = GatewayProcess::start(&site, &file)?;
    steps.begin("sending the same traffic again");
    let expected: Vec<Expected> = cases.iter().map(|it| expectation(&compiled, it)).collect();
    let passing: Vec<bool> = expected.iter().map(|it| it.passes).collect();
    let after = send_until(&steps, &site, &cases, &passing)?;
    let names_after = names::ask(&site, (CONCENTRATOR_VPN, 53).into())?;
    let status = control::ask(&socket)
        .map_err(|error| CliError::Failed(format!("{}: {error}", socket.display())))?;
    steps.begin("stopping it");
    gateway.stop()?;
    steps.end();

    let outcomes: Vec<Outcome<'_>> = cases
        .iter()
        .zip(before.into_iter().zip(after))
        .zip(expected)
        .map(|((case, (before, after)), expected)| Outcome {
            case,
            before,
            after,
            expected,
        })
        .collect();
    let zones = Zones::of(compiled.policy());
    let names = names::compare(&zones, names_before, names_after);
    if options.json {
        super::print_json(&json(&outcomes, &names, &status))?;
    } else {
        super::print(&report(&outcomes, &names, &status))?;
    }
    let holds = outcomes.iter().all(Outcome::is_as_expected)
        && names.iter().all(NameOutcome::is_as_expected);
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The article's policy, as it is shipped.
const POLICY: &str = include_str!("../../config/contoso.toml");

fn failed(error: SiteError) -> CliError {
    CliError::Failed(error.to_string())
}

fn compile(text: &str) -> Result<CompiledPolicy, CliError> {
    let refused = |why: String| CliError::Failed(format!("config/contoso.toml: {why}"));
    let (policy, _) = policy::parse("config/contoso.toml", text.as_bytes())
        .map_err(|errors| refused(errors.render(policy::Style::Plain)))?;
    CompiledPolicy::new(policy, Generation(1)).map_err(|error| refused(error.to_string()))
}

fn cases() -> Vec<Case> {
    use Way::{Outside, Tunnel};
    use Wire::{Ping, Tcp, Udp};
    let case = |name, way, wire, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)| Case {
        name,
        way,
        probe: Probe {
            wire,
            from: from.into(),
            to: to.into(),
        },
    };
    vec![
        case(
            "SIP to the Front End",
            Tunnel,
            Tcp,
            (CLIENT_A, 0),
            (FRONT_END, 5061),
        ),
        case(
            "media to an office",
            Tunnel,
            Udp,
            (CLIENT_A, 50_000),
            (OFFICE, 50_020),
        ),
        case(
            "media to the other client",
            Tunnel,
            Udp,
            (CLIENT_A, 50_002),
            (CLIENT_B, 50_020),
        ),
        case(
            "media relayed by the A/V Edge",
            Outside,
            Udp,
            (HOME_A, 50_004),
            (EDGE_PUBLIC, 3478),
        ),
        case("HTTPS", Tunnel, Tcp, (CLIENT_A, 0), (SERVER, 443)),
        case("SMB", Tunnel, Tcp, (CLIENT_A, 0), (SERVER, 445)),
        case(
            "Remote Desktop, allowed",
            Tunnel,
            Tcp,
            (CLIENT_A, 0),
            (JUMP_HOST, 3389),
        ),
        case("ping", Tunnel, Ping, (CLIENT_A, 0), (OFFICE, 0)),
    ]
}

/// Starts what answers.
fn serve(site: &Site) -> Result<(), SiteError> {
    for (address, port) in [
        (FRONT_END, 5061),
        (SERVER, 443),
        (SERVER, 445),
        (JUMP_HOST, 3389),
    ] {
        serve_tcp(&site.corporate, (address, port).into())?;
    }
    serve_names(&site.corporate, (DNS_SERVER, 53).into())?;
    serve_udp(&site.corporate, (OFFICE, 50_020).into())?;
    serve_udp(&site.home_b, (CLIENT_B, 50_020).into())?;
    serve_relay(
        &site.edge,
        (EDGE_PUBLIC, 3478).into(),
        (EDGE_INTERNAL, 50_100).into(),
        (OFFICE, 50_020).into(),
    )
}

/// Sends it until each case is answered that should `pass`: a probe waits for less than a second, and the processors of a busy host
/// may belong to others for as long. Whether each was answered the last time.
fn send_until(
    steps: &Steps,
    site: &Site,
    cases: &[Case],
    pass: &[bool],
) -> Result<Vec<bool>, CliError> {
    let mut answered = send(site, cases)?;
    for _ in 1..ATTEMPTS {
        let is_missing = answered
            .iter()
            .zip(pass)
            .any(|(answered, pass)| *pass && !answered);
        if !is_missing {
            break;
        }
        steps.begin("no answer to some of it, this host is busy: sending it again");
        answered = send(site, cases)?;
    }
    Ok(answered)
}

/// Times that the traffic is sent, at most.
const ATTEMPTS: u32 = 4;

/// Sends all of it at the same time, from the first home; whether each was answered.
fn send(site: &Site, cases: &[Case]) -> Result<Vec<bool>, CliError> {
    let sent: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = cases
            .iter()
            .map(|case| scope.spawn(|| (case.name, site.home_a.run(|| case.probe.is_answered()))))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    sent.into_iter()
        .map(|(name, answered)| {
            answered
                .map_err(failed)?
                .map_err(|error| CliError::Failed(format!("{name}: {error}")))
        })
        .collect()
}

/// Returns the policy's verdict on a case; the filter does not see traffic outside the tunnel.
fn expectation(policy: &CompiledPolicy, case: &Case) -> Expected {
    if case.way == Way::Outside {
        return Expected::passes("not in the tunnel");
    }
    let Probe { wire, from, to } = case.probe;
    let port = |address: SocketAddr| Some(address.port()).filter(|port| *port > 0);
    let question = Question {
        from: from.ip(),
        from_port: port(from),
        to: to.ip(),
        to_port: port(to),
        protocol: match wire {
            Wire::Tcp => Some(Protocol::Tcp),
            Wire::Udp => Some(Protocol::Udp),
            Wire::Ping => None,
        },
        payload: Payload::Other,
    };
    let explanation = policy.explain(&question);
    let answer = explanation.as_ref().and_then(|it| it.answers.first());
    let Some(answer) = answer else {
        return Expected::passes("no verdict");
    };
    let mut because = answer.verdict.to_string();
    let mut brief = because.clone();
    if let Some(rule) = answer.rule {
        _ = write!(because, ": \"{}\"", rule.name);
        // The line that the demo adds to the file stands below all rules.
        if let Some(line) = rule.line {
            _ = write!(because, ", line {line}");
            _ = write!(brief, ", line {line}");
        }
    }
    Expected {
        passes: answer.verdict.action == Action::Forward,
        because,
        brief,
    }
}

impl Expected {
    fn passes(because: &str) -> Self {
        Self {
            passes: true,
            because: because.to_owned(),
            brief: because.to_owned(),
        }
    }
}

impl Outcome<'_> {
    /// Everything passes before, and what the policy says passes after.
    fn is_as_expected(&self) -> bool {
        self.before && self.after == self.expected.passes
    }
}

fn report(outcomes: &[Outcome<'_>], names: &[NameOutcome], status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "Traffic",
        "Before",
        "With offramp",
        "By the policy",
    ]);
    for outcome in outcomes {
        let before = if outcome.before { PASSES } else { "no answer" };
        let after = match (outcome.after, outcome.expected.passes) {
            (true, _) => PASSES,
            (false, true) => "no answer",
            (false, false) => BLOCKED,
        };
        table.add_row([
            outcome.case.name,
            before,
            after,
            &marked(&outcome.expected.brief, outcome.is_as_expected()),
        ]);
    }
    let mut text = lines(&table);
    let dropped: Vec<String> = status
        .verdicts
        .iter()
        .filter(|verdict| verdict.action == "drop")
        .map(|verdict| format!("{} {}", verdict.packets, verdict.reason))
        .collect();
    _ = write!(text, "\n{}", names::report(names));
    let right = outcomes.iter().filter(|it| it.is_as_expected()).count()
        + names.iter().filter(|it| it.is_as_expected()).count();
    let all = outcomes.len() + names.len();
    _ = writeln!(
        text,
        "\n{right} of {all} match the policy, config/contoso.toml, whose lines these are.\nDropped on the gateway: {} packets.",
        dropped.join(", ")
    );
    if right == all {
        text.push_str("Calls leave the tunnel and take the Edge's public relay.\nEverything else works as before.\n");
    }
    text
}

const PASSES: &str = "passes";
const BLOCKED: &str = "blocked";
const DIFFERS: &str = "<-- differs";

/// `because`, with a mark if the outcome is another one.
fn marked(because: &str, is_as_expected: bool) -> String {
    if is_as_expected {
        because.to_owned()
    } else {
        format!("{because}  {DIFFERS}")
    }
}

/// The lines of a table, colored; the output leaves colors out where there is no terminal.
fn lines(table: &Table) -> String {
    let colors = [
        (PASSES, AnsiColor::Green),
        (BLOCKED, AnsiColor::Yellow),
        (DIFFERS, AnsiColor::Red),
    ];
    let mut text = String::new();
    for line in table.lines() {
        let line = colors
            .iter()
            .fold(line.trim().to_owned(), |line, (word, color)| {
                let style = color.on_default();
                line.replace(word, &format!("{style}{word}{style:#}"))
            });
        _ = writeln!(text, "{line}");
    }
    text
}

fn json(outcomes: &[Outcome<'_>], names: &[NameOutcome], status: &Status) -> serde_json::Value {
    let cases = outcomes.iter().map(|outcome| {
        json!({
            "traffic": outcome.case.name,
            "in_tunnel": outcome.case.way == Way::Tunnel,
            "to": outcome.case.probe.to.to_string(),
            "passes_before": outcome.before,
            "passes_with_offramp": outcome.after,
            "policy": outcome.expected.because,
            "as_expected": outcome.is_as_expected(),
        })
    });
    let names: Vec<_> = names.iter().map(NameOutcome::json).collect();
    json!({ "traffic": cases.collect::<Vec<_>>(), "names": names, "status": status })
}

/// A folder for the policy and the socket, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("offramp-demo-{}", std::process::id()));
        // One that is there already is somebody else's, and so may be what is in it.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| CliError::file("folder", &path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Tells what is going on: a spinner on a terminal, a line each elsewhere.
struct Steps {
    spinner: ProgressBar,
}

impl Steps {
    fn new() -> Self {
        let spinner = if io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{spinner} {msg} …");
            let spinner = ProgressBar::new_spinner();
            spinner.set_style(style.unwrap_or(ProgressStyle::default_spinner()));
            spinner
        } else {
            ProgressBar::hidden()
        };
        Self { spinner }
    }

    fn begin(&self, what: &'static str) {
        if self.spinner.is_hidden() {
            super::error::say(format_args!("{what} ...\n"));
        } else {
            // No thread of its own before the namespaces are left: every step draws once.
            self.spinner.set_message(what);
            self.spinner.tick();
        }
    }

    fn end(&self) {
        self.spinner.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_shows_what_the_article_speaks_of() {
        let policy = compile(POLICY).expect("the shipped policy is in order");
        let said: Vec<String> = cases()
            .iter()
            .map(|case| expectation(&policy, case).because)
            .collect();
        let verdicts: Vec<&str> = said
            .iter()
            .map(|text| text.split(':').next().unwrap_or_default())
            .collect();
        assert_eq!(
            verdicts,
            [
                "drop servers",
                "drop media",
                "drop hairpin",
                "not in the tunnel",
                "forward default",
                "forward default",
                "forward allow",
                "forward default",
            ]
        );
    }

    #[test]
    fn no_rule_of_the_shipped_policy_comes_after_the_line_that_is_added() {
        let gateway = POLICY.lines().position(|line| line == "[gateway]");
        let policy = compile(POLICY).expect("the shipped policy is in order");
        let last = policy.rules().iter().filter_map(|rule| rule.line).max();
        assert!(last < gateway.map(|line| line as u32));
    }

    #[test]
    fn an_address_of_the_demo_is_one_of_its_policy() {
        let policy = compile(POLICY).expect("the shipped policy is in order");
        let clients = &policy.policy().vpn.client_subnets;
        for client in [CLIENT_A, CLIENT_B].map(std::net::IpAddr::V4) {
            assert!(clients.iter().any(|subnet| subnet.value.contains(&client)));
        }
    }
}

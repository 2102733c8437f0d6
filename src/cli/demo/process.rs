//! [`GatewayProcess`]: the gateway that the demo starts, and ends.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::error::CliError;
use crate::gateway::testbed::site::Site;

/// `offramp run` on the concentrator, ended with the demo.
pub(super) struct GatewayProcess {
    child: Child,
}

impl GatewayProcess {
    /// Starts it, and waits until it judges.
    pub(super) fn start(site: &Site, policy: &Path) -> Result<Self, CliError> {
        let failed = |what: String| CliError::Failed(format!("offramp run: {what}"));
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut child = Command::new("nsenter")
            .arg(format!("--net={}", site.concentrator.path()))
            // Whatever becomes of the demo, it does not outlive it.
            .args(["--", "setpriv", "--pdeathsig", "TERM", "--"])
            .arg(program)
            .args(["run", "--log", "text"])
            .arg(policy)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("nsenter: {error}; install util-linux")))?;
        let (lines, log) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    // The demo has seen what it waited for.
                    _ = lines.send(line);
                }
            });
        }
        let mut gateway = Self { child };
        let mut said = String::new();
        loop {
            match log.recv_timeout(START) {
                Ok(line) if line.contains(" ready: ") => return Ok(gateway),
                Ok(line) => _ = writeln!(said, "{line}"),
                Err(_) => {
                    gateway.stop()?;
                    return Err(failed(format!("it does not start\n{}", said.trim_end())));
                }
            }
        }
    }

    pub(super) fn stop(&mut self) -> Result<(), CliError> {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself.
            _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        self.child
            .wait()
            .map(|_| ())
            .map_err(|error| CliError::Failed(format!("offramp run: {error}")))
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // After `stop` there is nobody left to end.
        _ = self.stop();
    }
}

/// How long it may take until it judges.
const START: Duration = Duration::from_secs(10);

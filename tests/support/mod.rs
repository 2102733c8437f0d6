//! Shared by the tests that run programs: commands with a time limit, folders, sandboxes, hosts, daemons.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

pub mod certificates;
pub mod fleet;
pub mod host;
pub mod sandbox;
pub mod skip;
pub mod stores;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use skip::{is_installed, may_load_programs, skip};

/// No command of a test takes nearly this long; one that does is considered hung.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The exit status of a command, and its output.
#[derive(Debug)]
pub struct Ended {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Returns the standard output of a command that must succeed.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// Returns the standard error of a command that must fail with `code` and a message, not a panic.
    #[track_caller]
    pub fn failure(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self.stderr
    }

    /// Returns the last line of standard error of a command that must fail with `code`: the error, after any warnings.
    #[track_caller]
    pub fn error(self, code: i32) -> String {
        let message = self.failure(code);
        message.lines().last().unwrap_or_default().to_owned()
    }

    /// Returns standard output as JSON, whatever the exit code.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Returns the program, to be started in the project's folder, without environment variables that affect colors.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offramp"));
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE");
    command
}

/// Runs `offramp` with `arguments`.
#[track_caller]
pub fn offramp(arguments: &[&str]) -> Ended {
    run(&mut program(arguments))
}

/// Runs `command` to its end, at most for [`TIME_LIMIT`]; standard input is empty.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = child.stdout.take().expect("piped just above");
    let stderr = child.stderr.take().expect("piped just above");
    let (stdout, stderr) = (read_all(stdout), read_all(stderr));
    let status = wait(&mut child, TIME_LIMIT).unwrap_or_else(|| panic!("{command:?} hangs"));
    let text = |reader: thread::JoinHandle<String>| reader.join().expect("a reader does not panic");
    Ended {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// Reads a pipe to its end, concurrently with the test.
pub fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // The output before an error is still shown.
        _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits until `child` ends; kills it after `limit`, and then returns no status.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child of this process") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    _ = child.kill();
    _ = child.wait();
    None
}

/// Sends the process `pid` the signal `name`: `HUP`. After `STOP` it returns once every thread has stopped.
#[track_caller]
pub fn signal(pid: u32, name: &str) {
    run(Command::new("kill").args(["-s", name, &pid.to_string()])).success();
    if name == "STOP" {
        sandbox::poll("all threads stopped", || has_stopped(pid).then_some(()));
    }
}

/// Returns `true` if every thread of the process is stopped, by a signal or by its tracer.
fn has_stopped(pid: u32) -> bool {
    let Ok(mut threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.all(|thread| {
        let stat = thread.and_then(|it| fs::read_to_string(it.path().join("stat")));
        // The state follows the name, which is in parentheses: proc_pid_stat(5).
        let state = stat
            .ok()
            .and_then(|stat| Some(stat.rsplit_once(") ")?.1.chars().next()));
        matches!(state, Some(Some('T' | 't')))
    })
}

/// Returns the path of a file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// One of our captures, by its file name: its policy, the capture, and the expected verdicts.
pub struct OwnCapture {
    pub policy: String,
    pub capture: String,
    pub verdicts: Vec<String>,
}

impl OwnCapture {
    pub fn named(file: &str) -> Self {
        let name = file.split('.').next().unwrap_or(file);
        let beside = |end: &str| format!("tests/captures/{name}.{end}");
        let verdicts = fs::read_to_string(project(&beside("verdicts"))).expect("verdicts");
        Self {
            policy: beside("policy.toml"),
            capture: format!("tests/captures/{file}"),
            verdicts: verdicts.lines().map(str::to_owned).collect(),
        }
    }

    /// Returns the number of frames that must get `verdict`.
    pub fn count(&self, verdict: &str) -> usize {
        let is = |line: &&String| line.split(' ').nth(1) == Some(verdict);
        self.verdicts.iter().filter(is).count()
    }
}

/// A folder for the files of one test, removed on drop.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// `name` is the test's name, which is unique.
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Returns the path of a file in it, which need not exist.
    pub fn path(&self, name: &str) -> String {
        let path = self.0.join(name).into_os_string();
        path.into_string()
            .expect("the target folder's name is UTF-8")
    }

    /// Writes a file into it; returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
        path
    }

    /// Creates a FIFO in it without a writer; returns its path.
    pub fn fifo(&self, name: &str) -> String {
        let path = self.path(name);
        run(Command::new("mkfifo").arg(&path)).success();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// The full name of the test whose function holds the closure `body`, as `--exact` takes it: `life::a_stop_is_clean`.
pub fn test_of<F>(body: &F) -> &'static str {
    // `gateway::life::a_stop_is_clean::{{closure}}`: the binary first. If this format ever changes, no test has the
    // name, and the caller notices.
    let path = std::any::type_name_of_val(body);
    let path = path.split("::{{closure}}").next().unwrap_or(path);
    path.split_once("::").map_or(path, |(_, name)| name)
}

/// Tells threads of a scope that it is over when it goes out of scope itself, also by an assertion that fails: the scope waits for them.
pub struct AtEnd<'a>(pub &'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

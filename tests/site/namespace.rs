//! Hosts that are network namespaces, inside a sandbox that the kernel removes whole.
//!
//! A test starts itself again under `unshare`, as the first process of its own user, process, mount and network
//! namespaces: no rights are needed where the system gives user namespaces to everybody, nothing outside can be touched,
//! and when the test ends, however it ends, every process, interface, rule and mount in there ends with it.
//!
//! ```text
//!  cargo test ── setpriv --pdeathsig KILL ── unshare --kill-child ── the test again, process 1
//!                                                                     ├ /run/netns/client1       a Host
//!                                                                     ├ /run/netns/concentrator  a Host
//!                                                                     └ daemons, each in a Host
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use crate::support::{Ended, is_installed, read_all, run, skip, test_of, wait};

/// What a test waits for comes within this time, or never.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// No test with hosts of its own takes nearly this long, also on a busy machine.
const SANDBOX_LIMIT: Duration = Duration::from_secs(180);

/// Set inside the sandbox.
const INSIDE: &str = "OFFRAMP_TEST_INSIDE_SANDBOX";

/// Runs `body`, a closure of the test itself, in a sandbox. `programs` are those that it needs.
pub fn in_sandbox(programs: &[&str], body: impl FnOnce()) {
    in_sandbox_of(test_of(&body), programs, body);
}

/// The same for helpers that put something round a test's closure: `test` is the test's full name.
pub fn in_sandbox_of(test: &str, programs: &[&str], body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        // `ip netns` keeps its names here, VPN daemons their sockets.
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"])).success();
        return body();
    }
    let always = ["setpriv", "unshare", "mount", "ip", "ss", "nft", "ping"];
    if !always.iter().chain(programs).all(is_installed) {
        return;
    }
    // Owner of everything in the sandbox, but of this device only as far as outside.
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        return skip(&format!("/dev/net/tun: {error}"));
    }
    let isolated = [
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
    ];
    // The user namespace comes first: in it even root can touch nothing outside. Its group is not root's, or ocserv would
    // try to give up the groups that it was started with, which a user namespace does not allow.
    let ways = [
        [&["--user", "--map-user=0", "--map-group=1"][..], &isolated].concat(),
        isolated.to_vec(),
    ];
    let works =
        |way: &&Vec<&str>| run(Command::new("unshare").args(*way).arg("true")).code == Some(0);
    let Some(way) = ways.iter().find(works) else {
        return skip("this system gives no namespaces of users, processes, mounts and networks");
    };
    let binary = std::env::current_exe().expect("the path of this test binary");
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(way)
        .arg(binary)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv starts");
    let stdout = read_all(child.stdout.take().expect("piped just above"));
    let stderr = read_all(child.stderr.take().expect("piped just above"));
    let status = wait(&mut child, SANDBOX_LIMIT);
    let text = |reader: thread::JoinHandle<String>| reader.join().expect("a reader does not panic");
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert!(
        stdout.contains("1 passed"),
        "in the sandbox: {status:?}\n{stdout}\n{stderr}"
    );
    // For those who ask for it with --nocapture.
    print!("{stdout}");
    eprint!("{stderr}");
}

/// Asks until there is an answer; panics with `what` when none has come in time.
#[track_caller]
pub fn poll<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "it never came: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A host: a network namespace, with its name.
#[derive(Debug)]
pub struct Host {
    pub name: &'static str,
    namespace: File,
}

impl Host {
    /// Makes a host with nothing but its loopback interface.
    pub fn new(name: &'static str) -> Self {
        run(Command::new("ip").args(["netns", "add", name])).success();
        let host = Self {
            name,
            namespace: File::open(Path::new("/run/netns").join(name)).expect("made just above"),
        };
        // Addresses of tests are nobody else's: there is nothing to detect. An address added with `nodad` can be used at
        // once; without, the kernel still takes a moment to see that it need not ask.
        for family in ["all", "default"] {
            host.set(&format!("ipv6/conf/{family}/accept_dad"), "0");
        }
        host.ip("link set lo up");
        host
    }

    /// Does `work` in this host: sockets that it makes, and programs that it starts, belong to it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET).expect("a namespace of ours");
                work()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs a program in this host to its end.
    #[track_caller]
    pub fn run(&self, command: &mut Command) -> Ended {
        self.enter(|| run(command))
    }

    /// Runs lines of `ip`, of which comments and empty ones mean nothing.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        self.feed(Command::new("ip").args(["-batch", "-"]), lines);
    }

    /// Runs a script of `nft`.
    #[track_caller]
    pub fn nft(&self, script: &str) {
        self.feed(Command::new("nft").args(["-f", "-"]), script);
    }

    /// Runs a program that reads `input`, and has to succeed.
    #[track_caller]
    fn feed(&self, command: &mut Command, input: &str) {
        let mut child = self.enter(|| {
            command
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}"))
        });
        let mut stdin = child.stdin.take().expect("piped just above");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("a child of this process");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}: {command:?}: {stderr}{input}",
            self.name
        );
    }

    /// Sets a value under `/proc/sys/net`.
    pub fn set(&self, key: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(key);
        self.enter(|| fs::write(&path, value))
            .unwrap_or_else(|error| panic!("{}: {}: {error}", self.name, path.display()));
    }

    /// Whether a program in it listens on `socket`; `protocol` is the option of `ss`.
    #[track_caller]
    pub fn listens(&self, protocol: &str, socket: &str) -> bool {
        let mut command = Command::new("ss");
        command.args(["--no-header", "--numeric", "--listening", protocol]);
        let listed = self.run(&mut command).success();
        listed.split_whitespace().any(|word| word == socket)
    }

    /// The largest packet that an interface of it carries.
    #[track_caller]
    pub fn mtu(&self, interface: &str) -> usize {
        let mut command = Command::new("ip");
        let links = self.run(command.args(["-json", "link", "show", interface]));
        let mtu = links.json()[0]["mtu"].as_u64();
        mtu.expect("every interface has one") as usize
    }

    /// Whether it has an interface of that name.
    pub fn has_interface(&self, name: &str) -> bool {
        self.run(Command::new("ip").args(["link", "show", name]))
            .code
            == Some(0)
    }
}

/// A program that runs in a host until it is dropped; its output goes to a file, which is shown when the test fails.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: String,
}

impl Daemon {
    /// Starts `command` in `host`; `log` is the path of a file for what it prints.
    #[track_caller]
    pub fn start(host: &Host, name: &str, log: String, command: &mut Command) -> Self {
        host.enter(|| Self::start_here(name, log, command))
    }

    /// Starts `command` beside the test.
    #[track_caller]
    pub fn start_here(name: &str, log: String, command: &mut Command) -> Self {
        let file = File::create(&log).unwrap_or_else(|error| panic!("{log}: {error}"));
        let both = file.try_clone().expect("a file can be shared");
        command.stdin(Stdio::null()).stdout(file).stderr(both);
        let child = command.spawn();
        Self {
            name: name.to_owned(),
            child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")),
            log,
        }
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `holds`, which must come while it runs.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        poll(&format!("{}: {what}", self.name), || {
            let ended = self.child.try_wait().expect("a child of this process");
            assert!(ended.is_none(), "{} ended: {}", self.name, self.log());
            holds(self).then_some(())
        });
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str) {
        self.wait_until(&format!("the line {text:?}"), |it| it.log().contains(text));
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself; how it ended.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, DEADLINE)
            .unwrap_or_else(|| panic!("{} does not end: {}", self.name, self.log()))
    }

    /// Asks it to end (SIGTERM); how it ended.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        run(Command::new("kill").args(["-s", "TERM", &pid])).success();
        wait(&mut self.child, DEADLINE)
            .unwrap_or_else(|| panic!("{} does not end: {}", self.name, self.log()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- log of {}\n{}\n---", self.name, last.join("\n"));
        }
    }
}

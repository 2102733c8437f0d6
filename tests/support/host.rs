//! [`Host`]: a network namespace inside a test's sandbox; [`Daemon`]: a program that runs in one.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use offramp::gateway::testbed::namespace;

use super::sandbox::{DEADLINE, poll};
use super::{Ended, run, signal, wait};

/// A host: a network namespace and its name.
#[derive(Debug)]
pub struct Host {
    pub name: &'static str,
    namespace: namespace::Host,
}

impl Host {
    /// Creates a host with only a loopback interface; `ip` finds it by its name.
    pub fn new(name: &'static str) -> Self {
        let namespace = namespace::Host::new(name).unwrap_or_else(|error| panic!("{error}"));
        let host = Self { name, namespace };
        let attach = format!("exec ip netns attach {name} $$");
        host.run(Command::new("sh").args(["-c", &attach])).success();
        // Addresses in tests are unique: no duplicate detection is needed. An address added with `nodad` can be used at
        // once; without it, the kernel takes a moment even then.
        for family in ["all", "default"] {
            host.set(&format!("ipv6/conf/{family}/accept_dad"), "0");
        }
        host
    }

    /// Runs `work` in this host: its sockets and child processes belong to it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = self.namespace.run(work);
        done.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs a program in this host to its end.
    #[track_caller]
    pub fn run(&self, command: &mut Command) -> Ended {
        self.enter(|| run(command))
    }

    /// Returns the namespace, for the services of the test bed.
    pub fn namespace(&self) -> &namespace::Host {
        &self.namespace
    }

    /// Returns what each of these commands prints, behind the command itself.
    #[track_caller]
    pub fn show(&self, commands: &[&str]) -> Vec<String> {
        let show = |command: &&str| {
            let mut words = command.split(' ');
            let program = words.next().unwrap_or_default();
            let shown = self.run(Command::new(program).args(words)).success();
            format!("{command}\n{shown}")
        };
        commands.iter().map(show).collect()
    }

    /// Runs lines of `ip`; comments and empty lines are skipped.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        let done = self.namespace.ip(lines);
        done.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Runs a script of `nft`.
    #[track_caller]
    pub fn nft(&self, script: &str) {
        let done = self.namespace.feed("nft", &["-f", "-"], script);
        done.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Has it forward packets of both families, without a reverse path filter on all of its interfaces.
    pub fn forward(&self) {
        self.set("ipv4/ip_forward", "1");
        self.set("ipv6/conf/all/forwarding", "1");
        self.set("ipv4/conf/all/rp_filter", "0");
    }

    /// Sets a value under `/proc/sys/net`.
    pub fn set(&self, key: &str, value: &str) {
        let set = self.namespace.set(&format!("net/{key}"), value);
        set.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Returns `true` if a program in it listens on `socket`; `protocol` is the option of `ss`.
    #[track_caller]
    pub fn listens(&self, protocol: &str, socket: &str) -> bool {
        let mut command = Command::new("ss");
        command.args(["--no-header", "--numeric", "--listening", protocol]);
        let listed = self.run(&mut command).success();
        listed.split_whitespace().any(|word| word == socket)
    }

    /// Returns the MTU of one of its interfaces.
    #[track_caller]
    pub fn mtu(&self, interface: &str) -> usize {
        let mut command = Command::new("ip");
        let links = self.run(command.args(["-json", "link", "show", interface]));
        let mtu = links.json()[0]["mtu"].as_u64();
        mtu.expect("every interface has one") as usize
    }

    /// Returns `true` if it has an interface of that name.
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
    /// Starts `command` in `host`; `log` is the path of a file for its output.
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

    /// Returns its output so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `holds` returns `true`; panics if the program ends first.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        poll(&format!("{}: {what}", self.name), || {
            let ended = self.child.try_wait().expect("a child of this process");
            assert!(ended.is_none(), "{} ended: {}", self.name, self.log());
            holds(self).then_some(())
        });
    }

    /// Waits until its output contains `text`.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str) {
        self.wait_until(&format!("the line {text:?}"), |it| it.log().contains(text));
    }

    /// Returns its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself; returns its exit status.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, DEADLINE)
            .unwrap_or_else(|| panic!("{} does not end: {}", self.name, self.log()))
    }

    /// Sends it the signal `name`: `HUP`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Asks it to end (SIGTERM); returns its exit status.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
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

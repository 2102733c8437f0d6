//! A sandbox for a test: namespaces of its own for users, processes, mounts and networks, which the kernel removes.
//!
//! A test re-executes itself under `unshare`, as the first process of the sandbox. No privileges are needed where the
//! system allows user namespaces to everybody, nothing outside can be changed, and when the test ends, however it ends,
//! all processes, interfaces, rules and mounts of the sandbox end with it.
//!
//! In a user namespace a gateway diverts by nftables, since the kernel takes eBPF programs from real root alone. So tests
//! of both diversions run twice, the second time as root without a user namespace: `OFFRAMP_TEST_DIVERSION=ebpf` or
//! `=nftables` asks for one.
//!
//! ```text
//!  cargo test ── setpriv --pdeathsig KILL ── unshare --kill-child ── the test again, process 1
//!                                                                     ├ /run/netns/client1       a Host
//!                                                                     ├ /run/netns/concentrator  a Host
//!                                                                     └ daemons, each in a Host
//! ```

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{is_installed, may_load_programs, read_all, run, skip, test_of, wait};

/// Any event that a test waits for happens within this time, or never.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// No test with hosts of its own takes nearly this long, even on a busy machine.
const SANDBOX_LIMIT: Duration = Duration::from_secs(180);

/// Set inside the sandbox.
const INSIDE: &str = "OFFRAMP_TEST_INSIDE_SANDBOX";

/// The diversion of the gateways in a sandbox, as `gateway.diversion` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diversion {
    Nftables,
    Ebpf,
}

impl Diversion {
    /// The one of this sandbox.
    pub fn here() -> Self {
        match std::env::var(INSIDE).as_deref() {
            Ok("ebpf") => Self::Ebpf,
            _ => Self::Nftables,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Ebpf => "ebpf",
        }
    }
}

/// Runs `body`, a closure of the test itself, in a sandbox for each diversion. `programs` are those it needs.
pub fn in_sandbox(programs: &[&str], body: impl FnOnce()) {
    in_sandbox_of(test_of(&body), programs, body);
}

/// Does the same for helpers that wrap a test's closure: `test` is the test's full name.
pub fn in_sandbox_of(test: &str, programs: &[&str], body: impl FnOnce()) {
    in_sandboxes_of(
        &[Diversion::Nftables, Diversion::Ebpf],
        test,
        programs,
        body,
    );
}

/// Runs `body`, a closure of the test itself, in a sandbox where gateways divert by nftables.
pub fn in_nftables_sandbox(programs: &[&str], body: impl FnOnce()) {
    in_sandboxes_of(&[Diversion::Nftables], test_of(&body), programs, body);
}

/// Runs `body`, a closure of the test itself, in a sandbox where gateways divert by eBPF.
pub fn in_ebpf_sandbox(programs: &[&str], body: impl FnOnce()) {
    in_sandboxes_of(&[Diversion::Ebpf], test_of(&body), programs, body);
}

fn in_sandboxes_of(diversions: &[Diversion], test: &str, programs: &[&str], body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        // `ip netns` keeps its names here, and VPN daemons their sockets.
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"])).success();
        ip("link set lo up");
        if Diversion::here() == Diversion::Ebpf {
            run(Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"])).success();
        }
        return body();
    }
    let always = ["setpriv", "unshare", "mount", "ip", "ss", "nft", "ping"];
    if !always.iter().chain(programs).all(is_installed) {
        return;
    }
    // Owner of everything in the sandbox, but with no more access to this device than outside.
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        return skip(&format!("/dev/net/tun: {error}"));
    }
    let wanted = std::env::var("OFFRAMP_TEST_DIVERSION");
    let is_wanted = |it: &&Diversion| wanted.as_ref().is_ok_and(|wanted| it.word() == wanted);
    for diversion in diversions
        .iter()
        .filter(|it| wanted.is_err() || is_wanted(it))
    {
        run_inside(*diversion, test);
    }
}

/// Runs `test` again, in a sandbox.
fn run_inside(diversion: Diversion, test: &str) {
    if diversion == Diversion::Ebpf && !may_load_programs() {
        return;
    }
    let isolated = [
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
    ];
    // The user namespace comes first: in it even root can touch nothing outside. Its group is not root, or ocserv would
    // try to give up the groups that it was started with, which a user namespace does not allow.
    let ways = [
        [&["--user", "--map-user=0", "--map-group=1"][..], &isolated].concat(),
        isolated.to_vec(),
    ];
    // eBPF programs are loaded by root of the first user namespace.
    let ways = match diversion {
        Diversion::Nftables => &ways[..],
        Diversion::Ebpf => &ways[1..],
    };
    let works =
        |way: &&Vec<&str>| run(Command::new("unshare").args(*way).arg("true")).code == Some(0);
    let Some(way) = ways.iter().find(works) else {
        let word = diversion.word();
        return skip(&format!(
            "this system gives this user no namespaces for gateways that divert by {word}"
        ));
    };
    let binary = std::env::current_exe().expect("the path of this test binary");
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(way)
        .arg(binary)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, diversion.word())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv starts");
    let stdout = read_all(child.stdout.take().expect("piped just above"));
    let stderr = read_all(child.stderr.take().expect("piped just above"));
    let longer = std::env::var("OFFRAMP_SOAK").ok();
    let longer = longer.and_then(|it| it.parse().ok()).unwrap_or_default();
    let status = wait(&mut child, SANDBOX_LIMIT + Duration::from_secs(longer));
    let text = |reader: thread::JoinHandle<String>| reader.join().expect("a reader does not panic");
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert!(
        stdout.contains("1 passed"),
        "in the sandbox of {diversion:?}: {status:?}\n{stdout}\n{stderr}"
    );
    // A skipped test reports so past the test runner, which shows captured output only with --nocapture.
    let is_skip = |line: &&str| line.starts_with("SKIPPED ");
    for line in stderr.lines().filter(is_skip) {
        _ = writeln!(std::io::stderr(), "{line}");
    }
    print!("{stdout}");
    eprint!("{stderr}");
}

/// Runs `ip` with these arguments in the sandbox itself.
#[track_caller]
pub fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' '))).success();
}

/// Polls until there is an answer; panics with `what` if none comes in time.
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

//! A sandbox for a test: namespaces of its own for users, processes, mounts and networks, which the kernel removes.
//!
//! A test re-executes itself under `unshare`, as the first process of the sandbox. No privileges are needed where the
//! system allows user namespaces to everybody, nothing outside can be changed, and when the test ends, however it ends,
//! all processes, interfaces, rules and mounts of the sandbox end with it.
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

use super::{is_installed, read_all, run, skip, test_of, wait};

/// Any event that a test waits for happens within this time, or never.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// No test with hosts of its own takes nearly this long, even on a busy machine.
const SANDBOX_LIMIT: Duration = Duration::from_secs(180);

/// Set inside the sandbox.
const INSIDE: &str = "OFFRAMP_TEST_INSIDE_SANDBOX";

/// Runs `body`, a closure of the test itself, in a sandbox. `programs` are those it needs.
pub fn in_sandbox(programs: &[&str], body: impl FnOnce()) {
    in_sandbox_of(test_of(&body), programs, body);
}

/// Does the same for helpers that wrap a test's closure: `test` is the test's full name.
pub fn in_sandbox_of(test: &str, programs: &[&str], body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        // `ip netns` keeps its names here, and VPN daemons their sockets.
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"])).success();
        ip("link set lo up");
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

//! Drops that a gateway tells of without a log, and `offramp top` in a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::site::plain::{CLIENT, DNS, MEDIA, OFFICE, PlainSite};
use crate::site::{DEADLINE, in_sandbox, poll};
use crate::support::{program, wait};

const SERVER: &str = "[[server]]\nname = \"Front End\"\naddresses = [\"10.1.0.10\"]\n";

/// A program in a terminal of 80 columns and 24 lines.
struct InTerminal {
    child: Child,
    keys: File,
    terminal: OwnedFd,
    output: Arc<Mutex<Vec<u8>>>,
}

impl InTerminal {
    fn start(site: &PlainSite, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let ends = openpty(&size, None).expect("a terminal");
        let stream = || Stdio::from(ends.slave.try_clone().expect("a descriptor"));
        let offramp = program(arguments);
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "--wait"])
            .arg(offramp.get_program())
            .args(arguments)
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied())
            .stdin(stream())
            .stdout(stream())
            .stderr(stream());
        let child = site.concentrator.enter(|| command.spawn());
        let keys = File::from(ends.master);
        let mut reader = keys.try_clone().expect("a descriptor");
        let output = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&output);
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let mut shown = shown.lock().expect("no test panics here");
                shown.extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            child: child.expect("setsid"),
            keys,
            terminal: ends.slave,
            output,
        }
    }

    fn output(&self) -> String {
        let bytes = self.output.lock().expect("no test panics here");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns what is on the screen.
    fn screen(&self) -> String {
        let mut rows = [[' '; 80]; 24];
        let (mut row, mut column) = (0, 0);
        let output = self.output();
        let mut chars = output.chars();
        while let Some(char) = chars.next() {
            match char {
                // A control sequence (ECMA-48 §5.4): parameters, then a letter.
                '\u{1b}' => {
                    let mut sequence = chars.by_ref().skip(1);
                    let mut parameters = String::new();
                    let end = sequence.find(|char| {
                        parameters.push(*char);
                        char.is_ascii_alphabetic()
                    });
                    let numbers: Vec<usize> = parameters
                        .trim_end_matches(char::is_alphabetic)
                        .split(';')
                        .map(|it| it.parse().unwrap_or(1))
                        .collect();
                    match (end, &numbers[..]) {
                        (Some('H'), [to_row, to_column]) => {
                            (row, column) = (to_row - 1, to_column - 1);
                        }
                        (Some('J'), _) => rows = [[' '; 80]; 24],
                        _ => {}
                    }
                }
                char if !char.is_control() => {
                    if let Some(cell) = rows.get_mut(row).and_then(|row| row.get_mut(column)) {
                        *cell = char;
                    }
                    column += 1;
                }
                _ => {}
            }
        }
        let rows = rows.iter().map(|row| row.iter().collect::<String>());
        rows.collect::<Vec<_>>().join("\n")
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("it is open");
    }

    /// Waits until each of `texts` is on the screen.
    #[track_caller]
    fn wait_for(&self, texts: &[&str]) {
        for text in texts {
            let is_shown = || self.screen().contains(text).then_some(());
            poll(&format!("{text:?} on the screen"), is_shown);
        }
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, DEADLINE)
            .unwrap_or_else(|| panic!("it does not end: {}", self.output()))
    }

    /// Asserts that the terminal is as it was: echo, the screen that was there, a cursor.
    #[track_caller]
    fn assert_restored(&self) {
        let state = tcgetattr(&self.terminal).expect("a terminal");
        let flags = state.local_flags;
        assert!(
            flags.contains(LocalFlags::ECHO | LocalFlags::ICANON),
            "{flags:?}"
        );
        // xterm's private modes: the alternate screen is left, the cursor shown.
        for mode in ["\u{1b}[?1049l", "\u{1b}[?25h"] {
            poll("the modes", || self.output().contains(mode).then_some(()));
        }
    }
}

impl Drop for InTerminal {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn drops_are_told_by_destination_and_service_without_a_log_and_without_addresses_of_clients() {
    in_sandbox(&[], || {
        let site = PlainSite::new("drop_table");
        let mut gateway = site.start(SERVER);
        site.send("10.1.0.10", 5_061, 4, 20);
        site.send(OFFICE, 8_443, 3, 20);
        site.send(OFFICE, DNS, 5, 20);
        let table = poll("the samples", || {
            let table = site.status()["drop_table"].clone();
            (table["packets"].as_u64() >= Some(7)).then_some(table)
        });
        let text = table.to_string();
        assert!(!text.contains("172.16."), "{text}");
        let destinations = table["destinations"].as_array().expect("a list");
        let has = |address: &str, port: u64, packets: u64| {
            destinations.iter().any(|it| {
                it["destination"] == address && it["port"] == port && it["packets"] == packets
            })
        };
        assert!(
            has("10.1.0.10", 5_061, 4) && has(OFFICE, 8_443, 3),
            "{text}"
        );
        assert_eq!(table["clients"].as_array().map(Vec::len), Some(1), "{text}");

        // They are told to a request that asks for them.
        let told = {
            use std::os::unix::net::UnixStream;
            let socket = site.folder.path("control.sock");
            let mut stream = UnixStream::connect(socket).expect("it listens");
            stream.write_all(b"addresses\n").expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it answers");
            answer
        };
        assert!(told.contains(CLIENT), "{told}");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn top_shows_a_gateway_its_silence_and_its_restart_and_leaves_the_terminal_as_it_was() {
    in_sandbox(&["setsid"], || {
        let site = PlainSite::new("top");
        let mut gateway = site.start(SERVER);
        let socket = site.folder.path("control.sock");
        let arguments = ["top", "--control", &socket, "--interval", "200ms"];
        let mut top = InTerminal::start(&site, &arguments, &[]);
        site.send(OFFICE, MEDIA, 20, 20);
        top.wait_for(&[
            "1 Reasons",
            "Packets/s",
            "drop     media",
            "no condition hinders it",
        ]);
        // Red, of the palette of 256 colors.
        assert!(top.output().contains("\u{1b}[38;5;1"), "{}", top.output());

        top.press("6");
        top.wait_for(&["client 1", "with --addresses to see them"]);
        assert!(!top.screen().contains(CLIENT), "{}", top.screen());
        top.press("?");
        top.wait_for(&["offramp top: help"]);
        top.press("?");
        top.wait_for(&["client 1"]);

        assert_eq!(gateway.terminate().code(), Some(0));
        top.wait_for(&[
            "offramp does not answer since ",
            "tries again: no gateway listens",
        ]);
        let mut gateway = site.start_again("again.log");
        top.wait_for(&["the gateway has restarted before "]);
        top.press("q");
        assert_eq!(top.wait().code(), Some(0), "{}", top.output());
        top.assert_restored();

        let with_addresses = [&arguments[..], &["--addresses"]].concat();
        let mut top = InTerminal::start(&site, &with_addresses, &[("NO_COLOR", "1")]);
        site.send("10.1.0.10", 5_061, 4, 20);
        top.press("6");
        top.wait_for(&[CLIENT]);
        assert!(!top.output().contains("\u{1b}[38;5;"), "no colors");
        // Ctrl-C, as the terminal sends it while it is raw.
        top.press("\u{3}");
        assert_eq!(top.wait().code(), Some(0));
        top.assert_restored();
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn status_watch_shows_rates_beside_totals() {
    in_sandbox(&[], || {
        let site = PlainSite::new("watched");
        let mut gateway = site.start("");
        let socket = site.folder.path("control.sock");
        site.send(OFFICE, MEDIA, 1, 20);
        poll("the packet", || {
            (site.count("drop", "media") == 1).then_some(())
        });
        let mut watch = crate::site::Daemon::start(
            &site.concentrator,
            "offramp status --watch",
            site.folder.path("watch.log"),
            &mut program(&["status", "--control", &socket, "--watch"]),
        );
        watch.wait_for_log("Packets/s");
        let rate = |log: &str| {
            let rows = log
                .lines()
                .filter(|line| line.contains("drop") && line.contains("media"));
            let cells = rows.filter_map(|row| row.split_whitespace().nth(5)?.parse::<f64>().ok());
            cells.fold(0.0, f64::max)
        };
        watch.wait_until("a rate", |watch| {
            site.send(OFFICE, MEDIA, 5, 20);
            rate(&watch.log()) > 0.0
        });
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

//! [`Process`]: the VPN daemons that run in this network namespace, and the configuration files that they were started with.

use std::fs;
use std::path::{Path, PathBuf};

/// A running VPN daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: String,
    /// The name of its executable.
    pub program: String,
    /// Its command line.
    pub words: Vec<String>,
    /// The folder that relative paths on its command line begin at.
    pub folder: PathBuf,
}

/// Returns `true` if other processes are hidden from this one (`ProtectProc=` of systemd), PID 1 included.
pub fn are_hidden() -> bool {
    fs::metadata("/proc/1").is_err()
}

/// Returns the processes of these programs in this network namespace.
pub fn running(programs: &[&str]) -> Vec<Process> {
    let own = fs::read_link("/proc/self/ns/net").ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let here = processes
        .map(|entry| entry.path())
        .filter(|process| own.is_some() && fs::read_link(process.join("ns/net")).ok() == own);
    here.filter_map(|process| Process::of(&process, programs))
        .collect()
}

impl Process {
    fn of(process: &Path, programs: &[&str]) -> Option<Self> {
        // Identified by its executable, not by its arguments: any process can set those.
        let executable = fs::read_link(process.join("exe")).ok()?;
        let program = executable.file_name()?.to_str()?;
        if !executable.starts_with("/usr") || !programs.contains(&program) {
            return None;
        }
        let command = fs::read(process.join("cmdline")).ok()?;
        let words = command.split(|byte| *byte == 0);
        let words = words.map(|word| String::from_utf8_lossy(word).into_owned());
        Some(Self {
            pid: process.file_name()?.to_string_lossy().into_owned(),
            program: program.to_owned(),
            words: words.filter(|word| !word.is_empty()).collect(),
            folder: fs::read_link(process.join("cwd")).unwrap_or_default(),
        })
    }

    /// Returns the configuration files named on an OpenVPN daemon's command line, as paths that this process can open.
    pub fn openvpn_files(&self) -> Vec<PathBuf> {
        let mut folder = self.folder.clone();
        if let Some(change) = self.values(&["--cd"]).first() {
            folder.push(change);
        }
        let mut named = self.values(&["--config"]);
        // `openvpn FILE` is short for `openvpn --config FILE`.
        let first = self.words.get(1).filter(|word| !word.starts_with('-'));
        named.extend(first.map(String::as_str));
        named.iter().map(|file| folder.join(file)).collect()
    }

    /// Returns the configuration file of an ocserv daemon; `None` if its command line does not tell, since a running ocserv
    /// clears its own.
    pub fn ocserv_file(&self) -> Option<PathBuf> {
        let named = self.values(&["--config", "-c"]);
        let joined = self
            .words
            .iter()
            .find_map(|word| word.strip_prefix("--config="));
        let file = named.first().copied().or(joined);
        // With its options still there, none of them names a file.
        let usual = (self.words.len() > 1).then_some(OCSERV_DEFAULT);
        file.or(usual).map(|file| self.folder.join(file))
    }

    /// Returns the words that follow these options.
    fn values(&self, options: &[&str]) -> Vec<&str> {
        let pairs = self.words.iter().zip(self.words.iter().skip(1));
        let values = pairs.filter(|(word, _)| options.contains(&word.as_str()));
        values.map(|(_, value)| value.as_str()).collect()
    }
}

/// The configuration that ocserv reads where no other is named (ocserv(8)).
pub const OCSERV_DEFAULT: &str = "/etc/ocserv/ocserv.conf";

#[cfg(test)]
mod tests {
    use super::*;

    fn process(command: &str) -> Process {
        Process {
            pid: "1".to_owned(),
            program: "openvpn".to_owned(),
            words: command.split(' ').map(str::to_owned).collect(),
            folder: PathBuf::from("/srv"),
        }
    }

    #[test]
    fn the_configuration_of_openvpn_is_found_with_and_without_its_option() {
        let found = process("openvpn --cd /etc/openvpn --config server.conf").openvpn_files();
        assert_eq!(found, [PathBuf::from("/etc/openvpn/server.conf")]);
        let found = process("openvpn vpn.conf").openvpn_files();
        assert_eq!(found, [PathBuf::from("/srv/vpn.conf")]);
    }

    #[test]
    fn the_configuration_of_ocserv_is_the_usual_one_or_the_one_that_is_named_if_any_is_told() {
        let found = |command: &str| process(command).ocserv_file();
        let file = |path: &str| Some(PathBuf::from(path));
        assert_eq!(found("ocserv -f"), file(OCSERV_DEFAULT));
        assert_eq!(found("ocserv -c a.conf"), file("/srv/a.conf"));
        assert_eq!(found("ocserv --config=/a.conf"), file("/a.conf"));
        assert_eq!(found("ocserv"), None);
    }
}

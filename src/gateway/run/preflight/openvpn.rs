//! Detects OpenVPN's `client-to-client`, which forwards between clients inside the daemon, out of the filter's reach.

use std::path::{Path, PathBuf};

use crate::files::regular;
use crate::gateway::host::daemons::{self, Process};
use crate::verify::Finding;

/// Checks the OpenVPN daemons in this network namespace.
pub(super) fn check(interfaces: &[String]) -> Vec<Finding> {
    // OpenVPN's interfaces are `tun`s.
    if daemons::are_hidden() && interfaces.iter().any(|name| name.starts_with("tun")) {
        return vec![Finding::host_warning(
            "other processes are hidden: whether an OpenVPN daemon forwards between clients itself cannot be seen",
            "`offramp run POLICY --dry-run` as root looks whether client-to-client is set",
        )];
    }
    let daemons = daemons::running(&["openvpn"]);
    daemons.iter().filter_map(hairpins_inside).collect()
}

fn hairpins_inside(daemon: &Process) -> Option<Finding> {
    let pid = &daemon.pid;
    let place = if daemon.words.iter().any(|word| word == "--client-to-client") {
        "its command line".to_owned()
    } else {
        match place_in(daemon.openvpn_files()) {
            Ok(place) => place?,
            Err(unread) => {
                return Some(Finding::host_warning(
                    format!(
                        "{unread} of OpenVPN (process {pid}) cannot be read: whether it forwards between clients itself is not known"
                    ),
                    "look for client-to-client in it; `offramp run POLICY --dry-run` as root can read it",
                ));
            }
        }
    };
    Some(Finding::host_warning(
        format!(
            "OpenVPN (process {pid}) forwards between clients itself: hairpin media never leaves it, and no filter sees it"
        ),
        format!(
            "remove client-to-client from {place}, and restart it: the kernel then routes between clients"
        ),
    ))
}

/// The file among `configs`, and those that they include (`config FILE`), that sets client-to-client; the first that cannot be
/// read as an error.
fn place_in(mut configs: Vec<PathBuf>) -> Result<Option<String>, String> {
    let shown = |path: &Path| path.display().to_string().escape_debug().to_string();
    let mut at = 0;
    while let Some(path) = configs.get(at).cloned() {
        let text = read_config(&path).ok_or_else(|| shown(&path))?;
        if sets_client_to_client(&text) {
            return Ok(Some(shown(&path)));
        }
        // Beside the process's own folder, to which every path was joined.
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        for included in includes(&text).map(|file| folder.join(file)) {
            if configs.len() < MAX_CONFIGS && !configs.contains(&included) {
                configs.push(included);
            }
        }
        at += 1;
    }
    Ok(None)
}

/// The files that a configuration includes.
fn includes(config: &str) -> impl Iterator<Item = &str> {
    let words = config.lines().map(|line| line.split_whitespace());
    words.filter_map(|mut words| words.next().filter(|it| *it == "config").and(words.next()))
}

/// Files of one daemon that are read.
const MAX_CONFIGS: usize = 16;

/// Reads a configuration, up to [`MAX_CONFIG`] bytes; never blocks.
fn read_config(path: &Path) -> Option<String> {
    let bytes = regular::read(path, MAX_CONFIG).ok()?;
    String::from_utf8(bytes).ok()
}

/// Upper bound for the size of a configuration, certificates included.
const MAX_CONFIG: u64 = 1 << 20;

fn sets_client_to_client(config: &str) -> bool {
    let mut lines = config.lines().map(str::trim);
    lines.any(|line| line.split_whitespace().next() == Some("client-to-client"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_option_is_told_from_a_comment() {
        assert!(sets_client_to_client(
            "port 1194\n  client-to-client # hm\n"
        ));
        assert!(!sets_client_to_client(
            "# client-to-client\n;client-to-client\n"
        ));
    }

    #[test]
    fn an_included_file_is_read_and_one_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [main, more] = ["server.conf", "more.conf"].map(|it| folder.path().join(it));
        fs::write(&main, "dev tun\nconfig more.conf\nconfig server.conf\n").expect("a file");
        let found = || place_in(vec![main.clone()]);
        let missing = found().expect_err("there is no more.conf");
        assert!(missing.ends_with("more.conf"), "{missing}");
        fs::write(&more, "client-to-client\n").expect("a file");
        let place = found().expect("both are read").expect("it is set");
        assert!(place.ends_with("more.conf"), "{place}");
        fs::write(&more, "# client-to-client\n").expect("a file");
        assert_eq!(found(), Ok(None));
    }
}

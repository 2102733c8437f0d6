//! Detects OpenVPN's `client-to-client`, which forwards between clients inside the daemon, out of the filter's reach.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::regular;
use crate::verify::Finding;

/// Checks the OpenVPN daemons in this network namespace.
pub(super) fn check(interfaces: &[String]) -> Vec<Finding> {
    // ProtectProc= hides other processes, PID 1 included. OpenVPN's interfaces are `tun`s.
    let is_hidden = fs::metadata("/proc/1").is_err();
    if is_hidden && interfaces.iter().any(|name| name.starts_with("tun")) {
        return vec![Finding::host_warning(
            "other processes are hidden: whether an OpenVPN daemon forwards between clients itself cannot be seen",
            "`offramp run POLICY --dry-run` as root looks whether client-to-client is set",
        )];
    }
    let own = fs::read_link("/proc/self/ns/net").ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let here = processes
        .map(|entry| entry.path())
        .filter(|process| own.is_some() && fs::read_link(process.join("ns/net")).ok() == own);
    here.filter_map(|process| hairpins_inside(&process))
        .collect()
}

fn hairpins_inside(process: &Path) -> Option<Finding> {
    // Identified by its executable, not by its arguments: any process can set those.
    let program = fs::read_link(process.join("exe")).ok()?;
    if !program.starts_with("/usr") || program.file_name()? != "openvpn" {
        return None;
    }
    let command = fs::read(process.join("cmdline")).ok()?;
    let words: Vec<String> = command
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let pid = process.file_name()?.to_string_lossy();
    let place = if words.iter().any(|word| word == "--client-to-client") {
        "its command line".to_owned()
    } else {
        match place_in(config_files(&words, process)) {
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

/// The configuration files named on the command line, as paths that this process can open.
fn config_files(words: &[String], process: &Path) -> Vec<PathBuf> {
    let after = |option: &str| {
        let pairs = words.iter().zip(words.iter().skip(1));
        let values = pairs.filter(move |(word, _)| word.as_str() == option);
        values.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let mut folder = fs::read_link(process.join("cwd")).unwrap_or_default();
    if let Some(change) = after("--cd").first() {
        folder.push(change);
    }
    let mut named = after("--config");
    // `openvpn FILE` is short for `openvpn --config FILE`.
    named.extend(words.get(1).filter(|word| !word.starts_with('-')).cloned());
    named.iter().map(|file| folder.join(file)).collect()
}

fn sets_client_to_client(config: &str) -> bool {
    let mut lines = config.lines().map(str::trim);
    lines.any(|line| line.split_whitespace().next() == Some("client-to-client"))
}

#[cfg(test)]
mod tests {
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
        let folder = std::env::temp_dir().join(format!("offramp-{}-openvpn", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let main = folder.join("server.conf");
        fs::write(&main, "dev tun\nconfig more.conf\nconfig server.conf\n").expect("a file");
        let found = || place_in(vec![main.clone()]);
        let missing = found().expect_err("there is no more.conf");
        assert!(missing.ends_with("more.conf"), "{missing}");
        fs::write(folder.join("more.conf"), "client-to-client\n").expect("a file");
        let place = found().expect("both are read").expect("it is set");
        assert!(place.ends_with("more.conf"), "{place}");
        fs::write(folder.join("more.conf"), "# client-to-client\n").expect("a file");
        assert_eq!(found(), Ok(None));
        fs::remove_dir_all(&folder).expect("it was made above");
    }

    #[test]
    fn the_configuration_is_found_with_and_without_its_option() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let nobody = Path::new("/proc/none");
        let found = config_files(
            &words("openvpn --cd /etc/openvpn --config server.conf"),
            nobody,
        );
        assert_eq!(found, [PathBuf::from("/etc/openvpn/server.conf")]);
        let found = config_files(&words("openvpn /srv/vpn.conf"), nobody);
        assert_eq!(found, [PathBuf::from("/srv/vpn.conf")]);
    }
}

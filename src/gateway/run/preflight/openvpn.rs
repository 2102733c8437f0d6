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
    let place = if words.iter().any(|word| word == "--client-to-client") {
        "its command line".to_owned()
    } else {
        let configs = config_files(&words, process);
        let set = |config: &&PathBuf| {
            read_config(config).is_some_and(|text| sets_client_to_client(&text))
        };
        configs
            .iter()
            .find(set)?
            .display()
            .to_string()
            .escape_debug()
            .to_string()
    };
    let pid = process.file_name()?.to_string_lossy();
    Some(Finding::host_warning(
        format!(
            "OpenVPN (process {pid}) forwards between clients itself: hairpin media never leaves it, and no filter sees it"
        ),
        format!(
            "remove client-to-client from {place}, and restart it: the kernel then routes between clients"
        ),
    ))
}

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

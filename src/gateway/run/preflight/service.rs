//! Checks that the installed unit may do what a policy asks for: a dry run is mostly root's, and the service is not.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::gateway::host::settings::Settings;
use crate::gateway::push;
use crate::policy::{Policy, Reject};
use crate::verify::Finding;

/// Properties of the unit, by `systemctl show`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    properties: Vec<(String, String)>,
}

impl Unit {
    /// The installed unit; `None` without systemd, or where there is none.
    fn installed() -> Option<Self> {
        let mut show = Command::new("systemctl");
        show.args(["show", "offramp.service", "--property", PROPERTIES]);
        let shown = show.output().ok().filter(|it| it.status.success())?;
        let unit = Self::read(&String::from_utf8_lossy(&shown.stdout));
        (unit.get("LoadState") == "loaded").then_some(unit)
    }

    fn read(text: &str) -> Self {
        let properties = text.lines().filter_map(|line| line.split_once('='));
        let owned = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            properties: owned.collect(),
        }
    }

    fn get(&self, key: &str) -> &str {
        let found = self.properties.iter().find(|(name, _)| name == key);
        found.map_or("", |(_, value)| value)
    }

    fn has(&self, key: &str, word: &str) -> bool {
        let mut words = self.get(key).split_whitespace();
        words.any(|it| it.eq_ignore_ascii_case(word))
    }

    fn is_root(&self) -> bool {
        self.get("DynamicUser") != "yes" && matches!(self.get("User"), "" | "root" | "0")
    }

    /// The folders that it may write to.
    fn writable(&self) -> Vec<PathBuf> {
        let under = |key: &str, root: &str| -> Vec<PathBuf> {
            self.get(key)
                .split_whitespace()
                .map(|it| Path::new(root).join(it))
                .collect()
        };
        let places = [
            ("RuntimeDirectory", "/run"),
            ("StateDirectory", "/var/lib"),
            ("LogsDirectory", "/var/log"),
            ("ReadWritePaths", "/"),
        ];
        places
            .iter()
            .flat_map(|(key, root)| under(key, root))
            .collect()
    }
}

/// The properties that are asked for, between commas.
const PROPERTIES: &str = "LoadState,User,DynamicUser,AmbientCapabilities,RestrictAddressFamilies,ProtectSystem,RuntimeDirectory,\
     StateDirectory,LogsDirectory,ReadWritePaths,LimitRTPRIO";

/// Finds what the installed unit may not do, and the policy asks for. `files` are those of the policy.
pub fn check(policy: &Policy, files: &[PathBuf]) -> Vec<Finding> {
    let unprivileged = Settings::of_host().get("ipv4/ip_unprivileged_port_start");
    let first_free = unprivileged.and_then(|it| u16::try_from(it).ok());
    Unit::installed().map_or_else(Vec::new, |unit| {
        check_unit(&unit, policy, files, first_free.unwrap_or(FIRST_FREE_PORT))
    })
}

fn check_unit(unit: &Unit, policy: &Policy, files: &[PathBuf], first_free: u16) -> Vec<Finding> {
    let mut findings = Vec::new();
    if unit.is_root() {
        return findings;
    }
    for file in files {
        if let Some(closed) = closed_to_others(file) {
            findings.push(Finding::host_warning(
                format!("the service's user cannot read {}", file.display()),
                format!("chmod o+{} {}", closed.1, closed.0.display()),
            ));
        }
    }
    let gateway = &policy.gateway;
    let metrics = gateway
        .metrics
        .iter()
        .map(|it| ("gateway.metrics", it.value));
    let page = gateway.page.iter().map(|it| ("gateway.page", it.value));
    let listens = policy
        .dns
        .listen
        .iter()
        .map(|it| ("dns.listen", it.value))
        .chain(metrics)
        .chain(page);
    let needs_bind = |address: SocketAddr| address.port() != 0 && address.port() < first_free;
    let mut low = listens.filter(|(_, address)| needs_bind(*address));
    if let Some((key, address)) = low.next()
        && !unit.has("AmbientCapabilities", "cap_net_bind_service")
    {
        findings.push(drop_in(
            &format!("the service may not listen at {address} ({key})"),
            &[
                "AmbientCapabilities=CAP_NET_BIND_SERVICE",
                "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
            ],
        ));
    }
    let families = unit.get("RestrictAddressFamilies");
    let has_packets = families.is_empty()
        || families.starts_with('~')
        || unit.has("RestrictAddressFamilies", "AF_PACKET");
    let may_answer = has_packets && unit.has("AmbientCapabilities", "cap_net_raw");
    if policy.filter.reject != Reject::Nothing && !may_answer {
        findings.push(drop_in(
            "the service may not answer clients (filter.reject)",
            &[
                "AmbientCapabilities=CAP_NET_RAW",
                "CapabilityBoundingSet=CAP_NET_RAW",
                "RestrictAddressFamilies=AF_PACKET",
            ],
        ));
    }
    if let Some(priority) = gateway.realtime
        && unit
            .get("LimitRTPRIO")
            .parse::<u64>()
            .is_ok_and(|most| most < priority.into())
    {
        findings.push(drop_in(
            "the service may not take a real-time priority (gateway.realtime)",
            &[
                "SystemCallFilter=sched_setscheduler",
                &format!("LimitRTPRIO={priority}"),
                "RestrictRealtime=no",
            ],
        ));
    }
    if matches!(unit.get("ProtectSystem"), "strict") {
        let writable = unit.writable();
        let logs = [
            ("gateway.drop_log", gateway.drop_log.as_ref()),
            ("dns.query_log", policy.dns.query_log.as_ref()),
        ];
        for (key, path) in logs {
            let path = path
                .map(|it| Path::new(&it.value))
                .filter(|it| it.is_absolute());
            let Some(path) = path.filter(|path| !writable.iter().any(|it| path.starts_with(it)))
            else {
                continue;
            };
            let folder = path.parent().unwrap_or(Path::new("/"));
            findings.push(drop_in(
                &format!(
                    "the service may not write to {} ({key}); /var/log/offramp is its own",
                    path.display()
                ),
                &[&format!("ReadWritePaths={}", folder.display())],
            ));
        }
        for folder in push::folders(policy) {
            if writable.iter().any(|it| folder.starts_with(it)) {
                continue;
            }
            let place = folder.display();
            findings.push(drop_in(
                &format!("the service may not write to {place} (routes.push), whose owner is root for most servers"),
                &[&format!("ReadWritePaths={place}")],
            ));
        }
    }
    findings
}

/// A finding that a drop-in of the unit solves.
fn drop_in(what: &str, lines: &[&str]) -> Finding {
    Finding::host_warning(
        what,
        format!("`systemctl edit offramp`, [Service], {}", lines.join(", ")),
    )
}

/// The first folder on the way to `file`, or the file, that not everybody may enter or read, and the right that is missing.
fn closed_to_others(file: &Path) -> Option<(PathBuf, char)> {
    let file = file.canonicalize().ok()?;
    let mut folders: Vec<&Path> = file.ancestors().skip(1).collect();
    folders.reverse();
    let allows = |path: &Path, bit: u32| {
        fs::metadata(path).is_ok_and(|it| it.permissions().mode() & bit != 0)
    };
    let closed = folders.into_iter().find(|folder| !allows(folder, 0o001));
    closed
        .map(|folder| (folder.to_owned(), 'x'))
        .or_else(|| (!allows(&file, 0o004)).then(|| (file.clone(), 'r')))
}

/// The first port that everybody may listen at, where the kernel does not say.
const FIRST_FREE_PORT: u16 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::host::sample::policy;

    /// Output of `systemctl show` for the shipped unit.
    fn shipped() -> Unit {
        let unit = include_str!("../../../../config/offramp.service");
        let mut text = "LoadState=loaded\nLimitRTPRIO=0\n".to_owned();
        text += unit;
        Unit::read(&text)
    }

    fn found(unit: &Unit, more: &str) -> Vec<String> {
        let findings = check_unit(unit, &policy(more), &[], FIRST_FREE_PORT);
        findings
            .into_iter()
            .map(|it| format!("{}; {}", it.what, it.remedy))
            .collect()
    }

    #[test]
    fn the_shipped_unit_may_answer_names_and_write_its_logs() {
        let more = "[dns]\nlisten = [\"172.16.1.1:53\"]\nupstreams = [\"10.0.0.53:53\"]\n\
                    query_log = \"/var/log/offramp/queries.jsonl\"\n\
                    [gateway]\ndrop_log = \"/var/log/offramp/drops.jsonl\"\nmetrics = \"127.0.0.1:9464\"\n";
        assert!(
            found(&shipped(), more).is_empty(),
            "{:#?}",
            found(&shipped(), more)
        );
    }

    #[test]
    fn what_it_may_not_do_is_told_with_the_lines_that_let_it() {
        let tight =
            Unit::read("LoadState=loaded\nDynamicUser=yes\nAmbientCapabilities=cap_net_admin\n");
        let [bind] = &found(&tight, "[gateway]\nmetrics = \"127.0.0.1:80\"\n")[..] else {
            panic!("one finding");
        };
        assert!(
            bind.contains("127.0.0.1:80 (gateway.metrics); `systemctl edit offramp`"),
            "{bind}"
        );
        assert!(
            bind.contains("AmbientCapabilities=CAP_NET_BIND_SERVICE"),
            "{bind}"
        );
        let [page] = &found(&tight, "[gateway]\npage = \"127.0.0.1:443\"\n")[..] else {
            panic!("one finding");
        };
        assert!(page.contains("127.0.0.1:443 (gateway.page)"), "{page}");
        let [reject] = &found(&shipped(), "[filter]\nreject = \"tcp\"\n")[..] else {
            panic!("one finding");
        };
        assert!(
            reject.contains("CapabilityBoundingSet=CAP_NET_RAW, RestrictAddressFamilies=AF_PACKET"),
            "{reject}"
        );
        let [realtime] = &found(&shipped(), "[gateway]\nrealtime = 10\n")[..] else {
            panic!("one finding");
        };
        assert!(realtime.contains("LimitRTPRIO=10"), "{realtime}");
        let [log] = &found(&shipped(), "[gateway]\ndrop_log = \"/srv/drops.jsonl\"\n")[..] else {
            panic!("one finding");
        };
        assert!(log.contains("ReadWritePaths=/srv"), "{log}");
        let root = Unit::read("LoadState=loaded\nUser=root\n");
        assert!(found(&root, "[filter]\nreject = \"tcp\"\n").is_empty());
    }

    #[test]
    fn a_file_or_folder_that_is_closed_to_others_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let file = folder.join("policy.toml");
        fs::write(&file, "").expect("a file");
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        set(folder, 0o755);
        set(&file, 0o644);
        assert_eq!(closed_to_others(&file), None);
        set(&file, 0o640);
        assert_eq!(closed_to_others(&file), Some((file.clone(), 'r')));
        set(folder, 0o750);
        assert_eq!(closed_to_others(&file), Some((folder.to_owned(), 'x')));
        set(folder, 0o755);
    }
}

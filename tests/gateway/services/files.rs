//! Files that a client of the VPN copies from and to the office: by SMB, NFS and secure shell.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::site::plain::{OFFICE, OFFICE6, PlainSite};
use crate::site::traffic::payload;
use crate::site::{in_ebpf_sandbox, in_sandbox};
use crate::support::run;

use super::{FILE, ICE, as_nobody, beside_calls, beside_calls_of, serve, transferred};

/// A folder at the office, which all users may write to, with a file to be copied.
struct Share {
    folder: String,
    bytes: Vec<u8>,
    copies: Cell<usize>,
}

impl Share {
    fn new(site: &PlainSite) -> Self {
        let (folder, bytes) = (site.folder.path("share"), payload(FILE));
        fs::create_dir(&folder).expect("a folder");
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&folder, all).expect("a folder of ours");
        fs::write(format!("{folder}/file"), &bytes).expect("a folder of ours");
        Self {
            folder,
            bytes,
            copies: Cell::new(0),
        }
    }

    /// Has `copy` copy the file to the path that it is given, and from there to a file of the share with the name that it is
    /// given, which no copy had before: servers remember their files. Asserts that both are the same.
    #[track_caller]
    fn copied(&self, site: &PlainSite, what: &str, copy: impl FnOnce(&str, &str)) {
        self.copies.set(self.copies.get() + 1);
        let (here, name) = (
            site.folder.path("copy"),
            format!("copy{}", self.copies.get()),
        );
        transferred(site, what, 2 * FILE, || copy(&here, &name));
        for file in [here, format!("{}/{name}", self.folder)] {
            assert!(
                fs::read(&file).expect("a copy") == self.bytes,
                "{what}: {file}"
            );
            fs::remove_file(&file).expect("a file of ours");
        }
    }
}

#[test]
fn files_are_copied_to_and_from_a_share() {
    in_sandbox(&["smbd", "smbclient"], || {
        beside_calls("share", |site| {
            let share = Share::new(site);
            for port in [445, 50_445] {
                let settings = site
                    .folder
                    .write("smb.conf", samba(site, &share.folder, port));
                let mut run = as_nobody(site, "smbd");
                run.args([
                    "--foreground",
                    "--no-process-group",
                    "--debug-stdout",
                    "-s",
                    &settings,
                ]);
                let _server = serve(site, "smbd", &mut run, port);
                for address in [OFFICE, OFFICE6] {
                    let what = format!("a share at {address}, port {port}");
                    let mut client = Command::new("smbclient");
                    client.args([
                        "-U%",
                        "-s",
                        &settings,
                        "-p",
                        &port.to_string(),
                        "-I",
                        address,
                    ]);
                    client.args(["//office/files", "-c"]);
                    share.copied(site, &what, |here, name| {
                        client.arg(format!("get file {here}; put {here} {name}"));
                        site.client.run(&mut client).success();
                    });
                }
            }
        });
    });
}

/// Settings of a file server for guests, with all its files in the test's folder.
fn samba(site: &PlainSite, share: &str, port: u16) -> String {
    let folder = site.folder.path("samba");
    fs::create_dir_all(&folder).expect("a folder");
    format!(
        "[global]\nserver role = standalone\nmap to guest = Bad User\nguest account = nobody\n\
         lock directory = {folder}\nstate directory = {folder}\ncache directory = {folder}\n\
         pid directory = {folder}\nprivate dir = {folder}\nncalrpc dir = {folder}/ncalrpc\n\
         log file = {folder}/log\nload printers = no\nprintcap name = /dev/null\ndisable spoolss = yes\n\
         disable netbios = yes\nsmb ports = {port}\n\
         [files]\npath = {share}\nguest ok = yes\nread only = no\n"
    )
}

const NFS: &[&str] = &["rpcbind", "ganesha.nfsd", "nfs-cp"];

#[test]
fn files_are_copied_to_and_from_a_network_file_system() {
    in_ebpf_sandbox(NFS, || network_file_system("nfs", ICE));
}

#[test]
fn files_are_copied_to_and_from_a_network_file_system_where_nftables_diverts() {
    // Server and port mapper have to be root of the first user namespace.
    let gateway = format!("diversion = \"nftables\"{ICE}");
    in_ebpf_sandbox(NFS, || network_file_system("nfs-nftables", &gateway));
}

/// Copies files by NFS version 3, whose mount service has a high port that clients learn from the port mapper.
fn network_file_system(name: &str, gateway: &str) {
    beside_calls_of(name, gateway, |site| {
        let share = Share::new(site);
        let mut ports = Command::new("rpcbind");
        let _ports = serve(site, "rpcbind", ports.args(["-f", "-w"]), 111);
        for port in [2049, 52_049] {
            let settings = site
                .folder
                .write("ganesha.conf", ganesha(site, &share.folder, port));
            let mut run = Command::new("ganesha.nfsd");
            run.args(["-F", "-L", "/dev/stdout", "-f", &settings]);
            run.args(["-p", &site.folder.path("ganesha.pid")]);
            let mut server = serve(site, "ganesha.nfsd", &mut run, port);
            server.wait_for_log("NFS SERVER INITIALIZED");
            for address in [OFFICE, OFFICE6] {
                let what = format!("NFS at {address}, port {port}");
                let there = |file: &str| format!("nfs://{address}{}/{file}", share.folder);
                share.copied(site, &what, |here, name| {
                    for (from, to) in [(&*there("file"), here), (here, &there(name))] {
                        let mut client = Command::new("nfs-cp");
                        site.client.run(client.args([from, to])).success();
                    }
                });
            }
            // An orderly end also removes it from the port mapper.
            assert!(server.terminate().success(), "{}", server.log());
        }
    });
}

/// Settings of an NFS server, with all its files in the test's folder.
fn ganesha(site: &PlainSite, share: &str, port: u16) -> String {
    let state = site.folder.path("ganesha");
    fs::create_dir_all(&state).expect("a folder");
    format!(
        "NFS_CORE_PARAM {{ NFS_Port = {port}; NFS_Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; }}\n\
         NFSv4 {{ RecoveryBackend = fs; RecoveryRoot = {state}; Graceless = true; }}\n\
         NFS_KRB5 {{ Active_krb5 = false; }}\n\
         EXPORT {{ Export_Id = 1; Path = {share}; Pseudo = /share; Access_Type = RW; Squash = No_Root_Squash; \
         SecType = sys; Protocols = 3; FSAL {{ Name = VFS; }} }}\n"
    )
}

#[test]
fn files_are_copied_by_secure_shell_at_a_high_port() {
    in_sandbox(&["sshd", "ssh-keygen", "sftp"], || {
        beside_calls("sftp", |site| {
            let (share, folder) = (Share::new(site), &site.folder);
            let (host_key, key) = (folder.path("host"), folder.path("key"));
            for file in [&host_key, &key] {
                let mut make = Command::new("ssh-keygen");
                run(make.args(["-q", "-t", "ed25519", "-N", "", "-f", file])).success();
            }
            for port in [22, 50_022] {
                let settings = folder.write(
                    "sshd_config",
                    format!(
                        "Port {port}\nHostKey {host_key}\nAuthorizedKeysFile {key}.pub\nStrictModes no\n\
                         PidFile none\nSubsystem sftp internal-sftp\nForceCommand internal-sftp\n"
                    ),
                );
                let mut server = as_nobody(site, "/usr/sbin/sshd");
                let _server = serve(
                    site,
                    "sshd",
                    server.args(["-D", "-e", "-f", &settings]),
                    port,
                );
                for address in [OFFICE, OFFICE6] {
                    let what = format!("secure shell at {address}, port {port}");
                    let mut client = Command::new("sftp");
                    client.args(["-q", "-F", "none", "-i", &key, "-P", &port.to_string()]);
                    client.args(["-o", "StrictHostKeyChecking=no"]);
                    client.args(["-o", "UserKnownHostsFile=/dev/null"]);
                    share.copied(site, &what, |here, name| {
                        let there = &share.folder;
                        let orders =
                            format!("get {there}/file {here}\nput {here} {there}/{name}\n");
                        client.args(["-b", &folder.write("orders", orders)]);
                        client.arg(format!("nobody@[{address}]"));
                        site.client.run(&mut client).success();
                    });
                }
            }
        });
    });
}

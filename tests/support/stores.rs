//! Programs that keep a fleet's releases: members of etcd, and nginx that serves a folder by HTTPS.

use std::process::Command;

use super::Folder;

/// A member of etcd, whose peers are on its host.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    pub name: &'a str,
    /// `http` or `https`, for clients.
    pub scheme: &'a str,
    pub address: &'a str,
    /// The port for clients; that for peers is the next.
    pub port: u16,
    /// `name=url,…` of all members; empty for one that is alone.
    pub cluster: &'a str,
}

impl<'a> Member<'a> {
    /// The only one of its cluster.
    pub const fn alone() -> Self {
        Self {
            name: "one",
            scheme: "http",
            address: "127.0.0.1",
            port: 2379,
            cluster: "",
        }
    }

    /// The members of a cluster of three on one host.
    pub fn three() -> [Self; 3] {
        [("one", 2379), ("two", 2389), ("three", 2399)].map(|(name, port)| Self {
            name,
            port,
            cluster: "one=http://127.0.0.1:2380,two=http://127.0.0.1:2390,three=http://127.0.0.1:2400",
            ..Self::alone()
        })
    }

    /// The address for clients.
    pub fn clients(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.address, self.port)
    }

    /// The program, with what it stores in `folder`.
    pub fn command(&self, folder: &Folder) -> Command {
        let clients = self.clients();
        let peers = format!("http://127.0.0.1:{}", self.port + 1);
        let alone = format!("{}={peers}", self.name);
        let cluster = match self.cluster {
            "" => &alone,
            all => all,
        };
        let data = folder.path(&format!("etcd-{}", self.name));
        let mut command = Command::new("etcd");
        command.args(["--data-dir", &data, "--name", self.name]);
        command.args(["--listen-client-urls", &clients]);
        command.args(["--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers]);
        command.args(["--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", cluster]);
        command
    }

    /// `etcdctl` for it.
    pub fn control(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        command.args(["--endpoints", &self.clients()]);
        command.args(["--dial-timeout", "2s", "--command-timeout", "5s"]);
        command.args(arguments);
        command
    }
}

/// nginx that serves the folder `store` of a test by HTTPS, at port 8443.
#[derive(Debug, Clone, Copy)]
pub struct Nginx<'a> {
    pub address: &'a str,
    /// Paths of the server's certificate and its key.
    pub server: &'a (String, String),
    /// Certificate that clients' are checked with.
    pub authority: &'a str,
    /// `ssl_verify_client`: `on` if clients have to show a certificate.
    pub verify: &'a str,
}

impl Nginx<'_> {
    pub fn socket(&self) -> String {
        format!("{}:8443", self.address)
    }

    /// The program, with its settings and its log of requests (`access.log`: path and status) in `folder`.
    pub fn command(&self, folder: &Folder) -> Command {
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};", folder.path(name)));
        let settings = format!(
            "user root;\ndaemon off;\nmaster_process off;\npid {pid};\nerror_log stderr info;\n\
             events {{\nworker_connections 2000;\n}}\n\
             http {{\n{temporary}\nlog_format asked '$uri $status';\naccess_log {access} asked;\n\
             server {{\nlisten {socket} ssl;\nroot {root};\n\
             ssl_certificate {certificate};\nssl_certificate_key {key};\n\
             ssl_client_certificate {authority};\nssl_verify_client {verify};\n}}\n}}\n",
            pid = folder.path("nginx.pid"),
            temporary = temporary.join("\n"),
            access = folder.path("access.log"),
            socket = self.socket(),
            root = folder.path("store"),
            certificate = self.server.0,
            key = self.server.1,
            authority = self.authority,
            verify = self.verify,
        );
        let file = folder.write("nginx.conf", settings);
        let mut command = Command::new("nginx");
        command.args(["-c", &file, "-p", &folder.path("")]);
        command
    }
}

//! [`Serving`]: the store that is measured, as processes of this machine.

use std::time::Duration;

use clap::ValueEnum;

use crate::meter::{process_time, resident};
use crate::support::certificates::Certificates;
use crate::support::host::Daemon;
use crate::support::stores::{Member, Nginx};
use crate::support::{Folder, run};

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Three members.
    Etcd,
    /// A folder that nginx serves by HTTPS.
    Nginx,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Nginx => "nginx",
        }
    }
}

/// The store that is measured.
pub(crate) struct Serving {
    kind: Kind,
    processes: Vec<Daemon>,
    authority: String,
    /// Paths of the server's certificate and its key.
    server: (String, String),
    folder: String,
    /// Seconds between two looks of a gateway at a web server.
    poll_seconds: u32,
}

impl Serving {
    /// Starts it; returns once it answers.
    pub(crate) fn start(kind: Kind, folder: &Folder, poll_seconds: u32) -> Self {
        let authority = Certificates::new(folder);
        let mut serving = Self {
            kind,
            processes: Vec::new(),
            server: authority.issue(folder, "127.0.0.1"),
            authority: authority.authority,
            folder: folder.path("store"),
            poll_seconds,
        };
        std::fs::create_dir(&serving.folder).expect("a folder");
        serving.start_again(folder);
        serving
    }

    /// Starts it anew, with what it has stored.
    pub(crate) fn start_again(&mut self, folder: &Folder) {
        match self.kind {
            Kind::Etcd => {
                let members = Member::three();
                self.processes = members
                    .iter()
                    .map(|member| {
                        let log = folder.path(&format!("{}.log", member.name));
                        Daemon::start_here(member.name, log, &mut member.command(folder))
                    })
                    .collect();
                for (member, process) in members.iter().zip(&mut self.processes) {
                    process.wait_until("it answers", |_| {
                        let ask = ["endpoint", "health"];
                        run(&mut member.control(&ask)).code == Some(0)
                    });
                }
            }
            Kind::Nginx => {
                let nginx = Nginx {
                    address: "127.0.0.1",
                    server: &self.server,
                    authority: &self.authority,
                    verify: "off",
                };
                let log = folder.path("nginx.log");
                let mut process = Daemon::start_here("nginx", log, &mut nginx.command(folder));
                process.wait_until("it listens", |_| {
                    std::net::TcpStream::connect(nginx.socket()).is_ok()
                });
                self.processes = vec![process];
            }
        }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.processes.clear();
    }

    /// Its address for those who publish.
    pub(crate) fn publisher(&self) -> String {
        match self.kind {
            Kind::Etcd => self.address(),
            Kind::Nginx => format!("file://{}", self.folder),
        }
    }

    fn address(&self) -> String {
        match self.kind {
            Kind::Etcd => "etcd://127.0.0.1:2379,127.0.0.1:2389,127.0.0.1:2399/contoso".to_owned(),
            Kind::Nginx => "https://127.0.0.1:8443".to_owned(),
        }
    }

    /// Lines of [fleet] for a gateway.
    pub(crate) fn lines(&self) -> String {
        let more = match self.kind {
            Kind::Etcd => String::new(),
            Kind::Nginx => format!(
                "ca = \"{}\"\npoll_seconds = {}\n",
                self.authority, self.poll_seconds
            ),
        };
        format!("source = \"{}\"\n{more}", self.address())
    }

    /// Returns `true` if gateways report in it.
    pub(crate) const fn takes_reports(&self) -> bool {
        matches!(self.kind, Kind::Etcd)
    }

    /// The processor time of all its processes.
    pub(crate) fn processor_time(&self) -> Duration {
        let processes = self.processes.iter();
        processes.map(|it| process_time(it.pid())).sum()
    }

    /// The memory of all its processes, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let processes = self.processes.iter();
        processes.map(|it| resident(it.pid())).sum()
    }
}

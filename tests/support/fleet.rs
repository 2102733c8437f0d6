//! A fleet for tests: keys, the policy of all, a site file, and a folder as its store.

use std::fs;
use std::process::Command;

use super::{Ended, Folder, offramp, program, run};

/// Keys, policies and a store in a folder of the test's own.
pub struct Fleet {
    pub folder: Folder,
    pub public_key: String,
    /// The address of the store for those who publish.
    pub store: String,
}

/// The policy of all gateways, which has no clients; `ports` are those of media.
pub fn policy(ports: &str) -> String {
    format!(
        r#"[corporate]
subnets = ["10.0.0.0/8"]
dns_servers = ["10.0.0.53"]
[media]
ports = ["{ports}"]
[[test]]
name = "a call"
from = "172.16.1.10:50000"
to = "10.2.0.20:50010"
protocol = "udp"
expect = "drop"
"#
    )
}

impl Fleet {
    pub fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let keys = folder.path("keys");
        offramp(&["fleet", "keygen", "--no-password", &keys]).success();
        let public = fs::read_to_string(folder.path("keys.pub")).expect("it was just made");
        fs::create_dir(folder.path("store")).expect("a folder");
        Self {
            public_key: public.lines().nth(1).expect("two lines").to_owned(),
            store: format!("file://{}", folder.path("store")),
            folder,
        }
    }

    /// Writes the site file of a gateway; `fleet` are lines of [fleet].
    pub fn site(&self, gateway: &str, source: &str, fleet: &str) -> String {
        let policy = self.policy_of(gateway);
        fs::create_dir_all(self.folder.path(gateway)).expect("a folder");
        let text = format!(
            "[vpn]\ninterfaces = [\"tun0\"]\nclient_subnets = [\"172.16.1.0/24\"]\n\
             [fleet]\nsource = \"{source}\"\ngateway = \"{gateway}\"\npolicy = \"{policy}\"\n\
             public_keys = [\"{}\"]\n{fleet}\n",
            self.public_key
        );
        self.folder.write(&format!("{gateway}.toml"), text)
    }

    /// The path of a gateway's policy file.
    pub fn policy_of(&self, gateway: &str) -> String {
        self.folder.path(&format!("{gateway}/policy.toml"))
    }

    /// Reads a gateway's policy file; empty if there is none.
    pub fn policy_file(&self, gateway: &str) -> String {
        fs::read_to_string(self.policy_of(gateway)).unwrap_or_default()
    }

    /// Publishes `policy` in `channel`.
    #[track_caller]
    pub fn publish(&self, policy: &str, channel: &str) -> String {
        self.publish_with(policy, channel, &[]).success()
    }

    pub fn publish_with(&self, policy: &str, channel: &str, options: &[&str]) -> Ended {
        let policy = self.folder.write("fleet.toml", policy);
        let site = self
            .folder
            .write("any.toml", "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n");
        let key = self.folder.path("keys.key");
        let mut arguments = vec!["fleet", "publish", &policy, "--channel", channel];
        arguments.extend(["--site", &site, "--key", &key, "--store", &self.store]);
        arguments.extend(options);
        offramp(&arguments)
    }

    /// Runs a command of the fleet on the store.
    pub fn command(&self, arguments: &[&str]) -> Ended {
        let mut all = vec!["fleet"];
        all.extend(arguments);
        all.extend(["--store", &self.store]);
        offramp(&all)
    }

    /// Runs a command that signs on the store.
    pub fn signed(&self, arguments: &[&str]) -> Ended {
        let key = self.folder.path("keys.key");
        self.command(&[arguments, &["--key", &key]].concat())
    }

    /// The path of a file of the store.
    pub fn stored(&self, key: &str) -> String {
        self.folder.path(&format!("store/offramp/v1/{key}"))
    }
}

/// Has the agent with this site file look once.
pub fn look(site: &str) -> Ended {
    run(&mut agent(site, &["--once"]))
}

/// The agent with this site file, to be started.
pub fn agent(site: &str, options: &[&str]) -> Command {
    let mut arguments = vec!["fleet", "agent", site];
    arguments.extend(options);
    let mut command = program(&arguments);
    // The tests' servers are on this machine.
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    command
}

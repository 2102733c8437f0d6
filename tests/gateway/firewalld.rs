//! The gateway beside firewalld itself, with a D-Bus of its own.

use std::process::Command;

use crate::firewalls::{faults, findings, site};
use crate::site::plain::{self, PlainSite};
use crate::site::{Daemon, Diversion, in_sandbox, poll};

/// Clients may go anywhere, and leave with the gateway's address; firewalld knows nothing of offramp.
const FILES: [(&str, &str); 3] = [
    (
        "zones/internal.xml",
        "<zone><service name=\"ssh\"/><interface name=\"tun0\"/><forward/></zone>",
    ),
    (
        "zones/public.xml",
        "<zone><masquerade/><interface name=\"eth1\"/><forward/></zone>",
    ),
    (
        "policies/clients.xml",
        "<policy target=\"ACCEPT\"><ingress-zone name=\"internal\"/><egress-zone name=\"public\"/></policy>",
    ),
];

/// Lets everybody own names and call methods: firewalld asks for the user itself.
const BUS: &str = r#"<busconfig><type>system</type><auth>EXTERNAL</auth>
    <listen>unix:path=/run/dbus/system_bus_socket</listen>
    <policy context="default">
      <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
    </policy></busconfig>"#;

/// firewalld on the concentrator, by files of the sandbox's own.
struct Firewalld {
    _bus: Daemon,
    _firewalld: Daemon,
}

impl Firewalld {
    fn start(site: &PlainSite) -> Self {
        let copy = "mkdir /run/dbus && cp -r /etc/firewalld \"$0\" && mount --bind \"$0/firewalld\" /etc/firewalld";
        let folder = site.folder.path("");
        let mut command = Command::new("sh");
        site.concentrator
            .run(command.args(["-c", copy, &folder]))
            .success();
        for (name, text) in FILES {
            site.folder.write(&format!("firewalld/{name}"), text);
        }
        let mut command = Command::new("dbus-daemon");
        command.args(["--nofork", "--nopidfile", "--config-file"]);
        command.arg(site.folder.write("bus.conf", BUS));
        let log = site.folder.path("bus.log");
        let bus = Daemon::start(&site.concentrator, "dbus-daemon", log, &mut command);
        poll("the bus", || {
            std::fs::exists("/run/dbus/system_bus_socket")
                .unwrap_or(false)
                .then_some(())
        });
        let mut command = Command::new("firewalld");
        command.args(["--nofork", "--nopid", "--log-target=console"]);
        let log = site.folder.path("firewalld.log");
        let firewalld = Daemon::start(&site.concentrator, "firewalld", log, &mut command);
        poll("firewalld", || {
            let mut list = Command::new("nft");
            let listed = site.concentrator.run(list.args(["list", "ruleset"]));
            listed
                .success()
                .contains("filter_FWD_policy_clients_allow")
                .then_some(())
        });
        Self {
            _bus: bus,
            _firewalld: firewalld,
        }
    }
}

#[test]
fn firewalld_stops_nothing_or_is_found() {
    in_sandbox(&["firewalld", "firewall-cmd", "dbus-daemon"], || {
        let site = site("beside_firewalld");
        let _firewalld = Firewalld::start(&site);
        let policy = plain::policy(&site.folder, crate::firewalls::POLICY);
        let policy = site.folder.write("policy.toml", policy);
        if Diversion::here() == Diversion::Nftables {
            let said = site.offramp(&["run", &policy]).failure(1);
            for part in ["what goes on from offramp0", "is a reverse path filter"] {
                assert!(said.contains(part), "{said}");
            }
            return;
        }
        let mut gateway = site.start_again("gateway.log");
        assert_eq!(faults(&site), [] as [String; 0]);
        let mut reload = Command::new("firewall-cmd");
        site.concentrator.run(reload.arg("--reload")).success();
        assert_eq!(faults(&site), [] as [String; 0], "after its reload");
        assert_eq!(findings(&site), [] as [serde_json::Value; 0]);
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

//! `offramp init`: a first policy from what a host tells.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use nix::pty::openpty;

use crate::support::{Ended, Folder, TIME_LIMIT, offramp, program, read_all, wait};

const OPENVPN: &str = "\
# the usual server
port 1194
dev tun0
server 10.8.0.0 255.255.255.0
push \"route 10.0.0.0 255.0.0.0\"
push \"dhcp-option DNS 10.0.0.53\"
push \"dhcp-option DNS 1.1.1.1\"
";

const OCSERV: &str = "\
auth = \"plain\"
tcp-port = 443
device = vpns
ipv4-network = 192.168.200.0
ipv4-netmask = 255.255.252.0
ipv6-network = fd00:200::/48
route = 10.0.0.0/255.0.0.0
route = fd00:10::/32
dns = 10.10.0.53
";

const WIREGUARD: &str = "\
[Interface]
Address = 10.99.0.1/22
ListenPort = 51820
PrivateKey = 4PYfZBnO4pIPFgmw3VbsZJYZX/EfpJnQzVXxFAU9w3Q=
[Peer]
PublicKey = 2mQYqJN4HRZyzMwXW0uq3oJ0H0H1ZC0mPBSVSQsj3kQ=
AllowedIPs = 10.99.0.2/32
";

/// The files of a host.
struct Tree {
    folder: Folder,
}

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = Folder::new(&format!("init-{name}"));
        for (path, text) in files {
            let path = folder.path(&format!("root/{path}"));
            let above = Path::new(&path).parent().expect("a folder");
            fs::create_dir_all(above).expect("a folder of the test");
            fs::write(&path, text).expect("a file of the test");
        }
        fs::create_dir_all(folder.path("root")).expect("a folder of the test");
        Self { folder }
    }

    fn root(&self) -> String {
        self.folder.path("root")
    }

    /// Runs `offramp init POLICY --yes --root ROOT` with more options; POLICY is a file of the test, in a folder that does not
    /// exist.
    fn init(&self, options: &[&str]) -> Ended {
        let (policy, root) = (self.policy(), self.root());
        let mut arguments = vec!["init", &policy, "--yes", "--root", &root];
        arguments.extend(options);
        offramp(&arguments)
    }

    fn policy(&self) -> String {
        self.folder.path("etc/offramp/policy.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.policy()).expect("a policy")
    }

    /// Checks that `check` takes the policy, and that `verify` finds nothing.
    #[track_caller]
    fn is_sound(&self) {
        let policy = self.policy();
        offramp(&["check", &policy]).success();
        offramp(&["verify", &policy]).success();
    }
}

#[test]
fn an_openvpn_server_becomes_a_policy_that_says_where_each_value_was_found() {
    let tree = Tree::new(
        "openvpn",
        &[
            ("etc/openvpn/server/office.conf", OPENVPN),
            ("etc/resolv.conf", "nameserver 10.0.0.99\n"),
        ],
    );
    let ended = tree.init(&[]);
    assert!(
        ended.stderr.contains("DNS server 1.1.1.1 is not taken"),
        "{ended:?}"
    );
    let said = ended.success();
    assert!(
        said.starts_with(&format!("wrote {}\n", tree.policy())),
        "{said}"
    );
    for step in [
        "offramp observe",
        "offramp render openvpn",
        "--against /etc/openvpn/server/office.conf",
        "--dry-run",
        "systemctl enable --now offramp",
        "offramp enforce --for 10m",
        "offramp keep",
    ] {
        assert!(said.contains(step), "{step}: {said}");
    }
    insta::assert_snapshot!("openvpn", tree.text());
    let mode = fs::metadata(tree.policy()).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o644);
    let folder = fs::read_dir(tree.folder.path("etc/offramp")).expect("a folder");
    assert_eq!(folder.count(), 1, "a temporary file was left");
    tree.is_sound();
}

#[test]
fn options_say_what_a_host_does_not_know() {
    let tree = Tree::new("options", &[("etc/wireguard/wg0.conf", WIREGUARD)]);
    let options = [
        "--corporate",
        "192.168.0.0/16",
        "--dns-server",
        "192.168.1.53",
        "--sip-domain",
        "contoso.com",
        "--server",
        "Front \"End\" pool=192.168.7.10,192.168.7.16/28,pool01.contoso.com",
        "--public",
        "Access Edge=167.55.49.32,sip.contoso.com",
        "--public",
        "A/V Edge=167.55.49.34,av.contoso.com",
        "--teams",
    ];
    let said = tree.init(&options).success();
    assert!(said.contains("offramp feed fetch"), "{said}");
    assert!(said.contains("offramp render wireguard"), "{said}");
    let text = tree.text();
    insta::assert_snapshot!("options", text);
    assert!(!text.contains("4PYfZBnO"), "a private key: {text}");
    tree.is_sound();
}

#[test]
fn ocserv_and_ipv6_are_taken() {
    let tree = Tree::new("ocserv", &[("etc/ocserv/ocserv.conf", OCSERV)]);
    tree.init(&[]).success();
    let text = tree.text();
    for line in [
        "\"vpns*\",  # ocserv, /etc/ocserv/ocserv.conf:3",
        "\"192.168.200.0/22\",  # ocserv, /etc/ocserv/ocserv.conf:4",
        "\"fd00:200::/48\",  # ocserv, /etc/ocserv/ocserv.conf:6",
        "\"fd00:10::/32\",",
        "\"10.10.0.53\",",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("ipv6 ="), "{text}");
    tree.is_sound();
}

#[test]
fn several_servers_share_one_policy() {
    let link = "dev tun7\nclient\nremote vpn.example.com\n";
    let tree = Tree::new(
        "several",
        &[
            ("etc/openvpn/a.conf", OPENVPN),
            ("etc/openvpn/link.conf", link),
            ("etc/ocserv/ocserv.conf", OCSERV),
            ("etc/wireguard/wg0.conf", WIREGUARD),
        ],
    );
    let ended = tree.init(&[]);
    assert!(
        ended
            .stderr
            .contains("/etc/openvpn/link.conf is left out: by it this host is a client"),
        "{ended:?}"
    );
    let said = ended.success();
    for target in ["openvpn", "ocserv", "wireguard"] {
        assert!(said.contains(&format!("render {target}")), "{said}");
    }
    let policy: String = tree.text();
    for value in ["\"tun0\"", "\"vpns*\"", "\"wg0\"", "\"10.99.0.0/22\""] {
        assert!(policy.contains(value), "{value}: {policy}");
    }
    assert!(!policy.contains("tun7"), "{policy}");
    tree.is_sound();
}

#[test]
fn an_interface_that_is_named_leaves_the_others_out() {
    let tree = Tree::new(
        "named",
        &[
            ("etc/openvpn/a.conf", OPENVPN),
            ("etc/wireguard/wg0.conf", WIREGUARD),
        ],
    );
    tree.init(&["--interface", "wg0", "--corporate", "10.0.0.0/8"])
        .success();
    let policy = tree.text();
    assert!(policy.contains("interfaces = [\"wg0\"]"), "{policy}");
    assert!(!policy.contains("10.8.0.0"), "{policy}");
    tree.is_sound();
}

#[test]
fn a_tunnel_that_takes_everything_is_full() {
    let full = OPENVPN.replace("route 10.0.0.0 255.0.0.0", "redirect-gateway def1");
    let tree = Tree::new("full", &[("etc/openvpn/a.conf", &full)]);
    let message = tree.init(&["--corporate", "10.0.0.0/8"]).stderr;
    assert!(message.contains("--gateway ADDRESS"), "{message}");
    let ended = tree.init(&["--force", "--corporate", "10.0.0.0/8"]);
    assert_eq!(ended.code, Some(3), "{ended:#?}");
    assert!(ended.stdout.contains("LEAK: "), "{ended:#?}");
    tree.init(&[
        "--force",
        "--corporate",
        "10.0.0.0/8",
        "--gateway",
        "203.0.113.10",
        "--public",
        "A/V Edge=167.55.49.34,av.contoso.com",
    ])
    .success();
    let policy = tree.text();
    assert!(
        policy.contains("tunnel = \"full\"  # /etc/openvpn/a.conf leads everything into it"),
        "{policy}"
    );
    assert!(policy.contains("gateways = [\"203.0.113.10\"]"), "{policy}");
    tree.is_sound();
}

#[test]
fn a_pushed_route_to_public_addresses_is_left_to_the_operator() {
    let config = format!("{OPENVPN}push \"route 203.0.113.0 255.255.255.0\"\n");
    let tree = Tree::new("public-route", &[("etc/openvpn/a.conf", &config)]);
    let ended = tree.init(&[]);
    assert!(
        ended
            .stderr
            .contains("203.0.113.0/24 is not taken for internal"),
        "{ended:?}"
    );
    assert!(
        tree.text().contains("    # \"203.0.113.0/24\",  # clients"),
        "{}",
        tree.text()
    );
    tree.is_sound();
}

#[test]
fn what_was_not_read_is_told() {
    let config = format!("{OPENVPN}client-connect /usr/local/bin/routes\nconfig missing.conf\n");
    let tree = Tree::new("unread", &[("etc/openvpn/a.conf", &config)]);
    fs::create_dir_all(tree.folder.path("root/etc/wireguard/odd.conf")).expect("a folder");
    let message = tree.init(&[]).stderr;
    for part in [
        "/etc/openvpn/a.conf:8: `client-connect /usr/local/bin/routes` is not read: a program may push options",
        "/etc/openvpn/a.conf:9: `config missing.conf` is not read",
        "/etc/wireguard/odd.conf cannot be read: it is a directory",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    tree.is_sound();
}

#[test]
fn without_a_vpn_nothing_is_written() {
    let tree = Tree::new("nothing", &[]);
    let message = tree.init(&[]).error(2);
    assert!(message.contains("no VPN was found"), "{message}");
    assert!(message.contains("--interface tun0 --clients"), "{message}");
    assert!(!Path::new(&tree.policy()).exists());
    let named = ["--interface", "tun0", "--clients", "172.16.1.0/24"];
    let message = tree.init(&named);
    assert!(
        message.stderr.contains("no internal network was found"),
        "{message:?}"
    );
    let policy = tree.text();
    assert!(
        policy.contains("client_subnets = [\"172.16.1.0/24\"]"),
        "{policy}"
    );
}

#[test]
fn a_file_is_replaced_only_if_that_is_said() {
    let tree = Tree::new("force", &[("etc/openvpn/a.conf", OPENVPN)]);
    tree.init(&[]).success();
    fs::write(tree.policy(), "# mine\n").expect("a file");
    let message = tree.init(&[]).error(2);
    assert!(message.contains("exists"), "{message}");
    assert!(message.contains("--force"), "{message}");
    assert_eq!(tree.text(), "# mine\n");
    tree.init(&["--force"]).success();
    assert!(tree.text().contains("[vpn]"));
}

#[test]
fn values_that_contradict_write_nothing() {
    let tree = Tree::new("contradict", &[("etc/openvpn/a.conf", OPENVPN)]);
    let twice = ["--server", "Pool=10.1.0.10", "--server", "Pool=10.1.0.11"];
    let message = tree.init(&twice).error(2);
    assert!(message.contains("nothing was written"), "{message}");
    assert!(!Path::new(&tree.policy()).exists());
    let message = tree.init(&["--clients", "172.16.1.0/8"]).failure(2);
    assert!(message.contains("host bits"), "{message}");
}

#[test]
fn a_dash_prints_the_policy_alone() {
    let tree = Tree::new("dash", &[("etc/openvpn/a.conf", OPENVPN)]);
    let ended = offramp(&["init", "-", "--yes", "--root", &tree.root()]);
    assert!(ended.stderr.contains("Next steps"), "{ended:?}");
    let text = ended.success();
    tree.folder.write("printed.toml", &text);
    tree.init(&[]).success();
    assert_eq!(text, tree.text());
}

#[test]
fn json_has_facts_and_the_file() {
    let tree = Tree::new("json", &[("etc/openvpn/a.conf", OPENVPN)]);
    let ended = tree.init(&["--json"]);
    let json = ended.json();
    assert_eq!(json["written"], tree.policy());
    assert_eq!(json["policy"], tree.text());
    let configuration = &json["facts"]["configurations"][0];
    assert_eq!(configuration["kind"], "OpenVPN");
    assert_eq!(configuration["pools"][0]["value"], "10.8.0.0/24");
    assert_eq!(configuration["pools"][0]["at"], "/etc/openvpn/a.conf:4");
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(0));
    assert!(json["next"][0]["command"].is_string(), "{json}");
}

const ACCESS_EDGE: &str = "Access Edge=167.55.49.32,sip.contoso.com";

const SERVER: &str = "Front End pool=10.1.0.10,pool01.contoso.com";

/// Every combination of what is there and of what is said.
#[test]
fn every_policy_is_taken_and_its_findings_are_of_what_was_not_said() {
    let hosts: [(&str, &[(&str, &str)]); 4] = [
        ("walk-openvpn", &[("etc/openvpn/a.conf", OPENVPN)]),
        ("walk-ocserv", &[("etc/ocserv/ocserv.conf", OCSERV)]),
        ("walk-wireguard", &[("etc/wireguard/wg0.conf", WIREGUARD)]),
        (
            "walk-all",
            &[
                ("etc/openvpn/a.conf", OPENVPN),
                ("etc/ocserv/ocserv.conf", OCSERV),
                ("etc/wireguard/wg0.conf", WIREGUARD),
            ],
        ),
    ];
    let options: [&[&str]; 6] = [
        &["--corporate", "10.0.0.0/8"],
        &["--sip-domain", "contoso.com"],
        &["--server", SERVER],
        &["--public", ACCESS_EDGE],
        &["--teams"],
        &["--enforce"],
    ];
    for (name, files) in hosts {
        let tree = Tree::new(name, files);
        for chosen in 0..1_u32 << options.len() {
            let flags = options.iter().enumerate();
            let flags = flags.filter(|(bit, _)| chosen & (1 << bit) != 0);
            let flags: Vec<&str> = flags.flat_map(|(_, it)| it.iter().copied()).collect();
            let mut all = vec!["--force", "--json"];
            all.extend(&flags);
            let ended = tree.init(&all);
            let found = ended.json()["findings"].clone();
            let says = |flag: &str| flags.contains(&flag);
            let (sip, edge, server) = (says("contoso.com"), says(ACCESS_EDGE), says(SERVER));
            let has_v6 = files.iter().any(|(_, text)| text.contains("ipv6-network"));
            let offices_are_v4 = has_v6 && says("--corporate");
            let expected = [
                (sip && !edge, "sip.contoso.com is not pinned"),
                (edge && !server, "no [[server]] is blocked"),
                (edge && server && !sip, "discovery names are not hidden"),
                (offices_are_v4, "no corporate prefix is IPv6"),
                (has_v6 && server && !offices_are_v4, "has no IPv6 address"),
            ];
            let expected = expected.iter().filter(|(is_expected, _)| *is_expected);
            let expected: Vec<&str> = expected.map(|(_, part)| *part).collect();
            let whats: Vec<&str> = found
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|it| it["what"].as_str())
                .collect();
            let is_found = |part: &&str| whats.iter().any(|it| it.contains(part));
            assert!(
                whats.len() == expected.len() && expected.iter().all(is_found),
                "{name} {flags:?}: {whats:#?}"
            );
            let code = if whats.is_empty() { 0 } else { 3 };
            assert_eq!(ended.code, Some(code), "{name} {flags:?}: {ended:#?}");
            assert_eq!(offramp(&["verify", &tree.policy()]).code, Some(code));
            offramp(&["check", &tree.policy()]).success();
        }
    }
}

/// Runs the command on a terminal that has these lines typed; the last one ends the input.
fn typed(arguments: &[&str], lines: &str) -> Ended {
    let terminal = openpty(None, None).expect("a pseudoterminal");
    let mut keyboard = File::from(terminal.master);
    let mut child = program(arguments)
        .stdin(Stdio::from(terminal.slave))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let stdout = read_all(child.stdout.take().expect("piped just above"));
    let stderr = read_all(child.stderr.take().expect("piped just above"));
    keyboard
        .write_all(format!("{lines}\u{4}").as_bytes())
        .expect("the terminal takes it");
    let status = wait(&mut child, TIME_LIMIT);
    let text = |reader: std::thread::JoinHandle<String>| reader.join().expect("no panic");
    Ended {
        code: status.and_then(|it| it.code()),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

#[test]
fn on_a_terminal_it_asks_and_asks_again_where_an_answer_is_wrong() {
    let tree = Tree::new("typed", &[("etc/openvpn/a.conf", OPENVPN)]);
    let (policy, root) = (tree.policy(), tree.root());
    let lines = "contoso..com\ncontoso.com fabrikam.com\nFront End\nFront End=10.1.0.10\n\n\
                 Edge=167.55.49.32,sip.contoso.com,sip.fabrikam.com\n\nmaybe\ny\n";
    let ended = typed(&["init", &policy, "--root", &root], lines);
    let dialogue = ended.stderr.clone();
    for part in [
        "10.8.0.0/24",
        "SIP domains",
        "`contoso..com`",
        "`Front End` has no `=`",
        "one more",
        "write y or n",
    ] {
        assert!(dialogue.contains(part), "{part}: {dialogue}");
    }
    assert!(!dialogue.contains("Interfaces of the VPN"), "{dialogue}");
    ended.success();
    let text = tree.text();
    for part in [
        "sip_domains = [\"contoso.com\", \"fabrikam.com\"]",
        "name = \"Front End\"",
        "name = \"Edge\"",
        "name = \"Microsoft 365\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    tree.is_sound();
}

#[test]
fn on_a_terminal_it_asks_for_the_vpn_where_none_was_found() {
    let tree = Tree::new("typed-nothing", &[]);
    let root = tree.root();
    let lines = "\ntun0\n172.16.1.0/8\n172.16.1.0/24\n10.0.0.0/8\n\n\n\n\n";
    let ended = typed(&["init", "-", "--root", &root], lines);
    assert!(
        ended.stderr.contains("a policy needs this one"),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("host bits"), "{ended:?}");
    let text = ended.success();
    assert!(text.contains("interfaces = [\"tun0\"]"), "{text}");
    assert!(text.contains("subnets = [\"10.0.0.0/8\"]"), "{text}");
}

#[test]
fn the_end_of_the_input_writes_nothing() {
    let tree = Tree::new("typed-end", &[("etc/openvpn/a.conf", OPENVPN)]);
    let (policy, root) = (tree.policy(), tree.root());
    let ended = typed(&["init", &policy, "--root", &root], "contoso.com\n");
    let message = ended.error(2);
    assert!(message.contains("nothing was written"), "{message}");
    assert!(!Path::new(&policy).exists());
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let tree = Tree::new("pipe", &[("etc/openvpn/a.conf", OPENVPN)]);
    let (policy, root) = (tree.policy(), tree.root());
    let ended = offramp(&["init", &policy, "--root", &root]);
    assert!(!ended.stderr.contains("SIP domains"), "{ended:?}");
    ended.success();
    tree.is_sound();
}

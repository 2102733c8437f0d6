//! `offramp render` and `offramp routes` as an operator uses them.

use std::fs;

use crate::support::{Folder, offramp};

const SITE: &str = r#"[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[media]
ports = ["50000-50059"]
[routes]
tunnel = "full"
gateways = ["203.0.113.10"]
[dns]
listen = ["172.16.1.1:53"]
[[public]]
name = "Edge"
addresses = ["167.55.49.32", "167.55.49.33", "167.55.49.34", "167.55.49.35", "167.55.49.36"]
[[public]]
name = "Teams media"
addresses = ["52.112.0.0/14", "52.122.0.0/15", "2603:1063::/38"]
"#;

#[test]
fn every_target_is_listed_with_its_limits() {
    let listed = offramp(&["render", "--list"]).success();
    for line in [
        "openvpn ",
        "takes 256 bytes at most",
        "cisco-asa",
        "takes 2,500 IPv4 entries at most",
        "nftables-conntrack",
        "windows-firewall-gpo",
    ] {
        assert!(listed.contains(line), "{line}: {listed}");
    }
    let json = offramp(&["render", "--list", "--json"]).json();
    let count = ::offramp::render::Target::all().count();
    assert_eq!(json["targets"].as_array().map(Vec::len), Some(count));
    let refused = offramp(&["render", "openvpm", "x.toml"]).failure(2);
    assert!(
        refused.contains("openvpn"),
        "the names are offered: {refused}"
    );
    offramp(&["render"]).failure(2);
}

#[test]
fn the_article_needs_two_routes_and_nothing_for_its_services() {
    let text = offramp(&["render", "openvpn", "config/contoso.toml"]).success();
    let pushes: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        pushes,
        [
            "push \"route 10.0.0.0 255.0.0.0\"",
            "push \"route 172.16.1.0 255.255.255.0\"",
            "push \"dhcp-option DNS 172.16.1.1\""
        ]
    );
    let shown = offramp(&["routes", "config/contoso.toml"]).success();
    insta::assert_snapshot!("routes-contoso", shown);
}

#[test]
fn routes_tells_where_every_entry_comes_from() {
    let folder = Folder::new("routes");
    let site = folder.write("site.toml", SITE);
    insta::assert_snapshot!("routes-full", offramp(&["routes", &site]).success());
    let json = offramp(&["routes", &site, "--json"]).json();
    assert_eq!(json["excludes"][2]["prefix"], "167.55.49.32/30");
    assert_eq!(
        json["excludes"][2]["sources"].as_array().map(Vec::len),
        Some(4)
    );
    assert_eq!(json["excludes"][2]["sources"][0]["line"], 14);
    assert_eq!(json["needs_no_entry"][0]["prefix"], "2603:1063::/38");
}

#[test]
fn a_file_in_place_is_compared_in_addresses() {
    let folder = Folder::new("render-check");
    let site = folder.write("site.toml", SITE);
    for target in [
        "openvpn",
        "ocserv",
        "wireguard",
        "cisco-asa",
        "windows-profilexml",
        "kea",
    ] {
        let out = folder.path(target);
        let json = offramp(&["render", target, &site, "-o", &out, "--json"]).json();
        let file = json["file"].as_str().expect("the file's name").to_owned();
        let equal = offramp(&["render", target, &site, "--check", &file]).success();
        assert!(equal.contains("sends the addresses of"), "{equal}");
        // One exclusion fewer.
        let other = folder.write("other.toml", SITE.replace(", \"52.122.0.0/15\"", ""));
        let ended = offramp(&["render", target, &other, "--check", &file]);
        assert_eq!(ended.code, Some(3), "{target}: {ended:?}");
        assert!(
            ended
                .stdout
                .contains("should enter the tunnel and does not\n    52.122.0.0/15\n"),
            "{target}: {}",
            ended.stdout
        );
        let json = offramp(&["render", target, &other, "--check", &file, "--json"]).json();
        assert_eq!(json["missing"], serde_json::json!(["52.122.0.0/15"]));
    }
    // Different lines, the same addresses.
    let edited = folder.write(
        "edited.conf",
        "push \"redirect-gateway def1\"\npush \"route 52.112.0.0 255.254.0.0 net_gateway\"\npush \"route 52.114.0.0 255.254.0.0 net_gateway\"\n\
         push \"route 52.122.0.0 255.254.0.0 net_gateway\" # Teams\npush \"route 167.55.49.32 255.255.255.252 net_gateway\"\n\
         push \"route 167.55.49.36 255.255.255.255 net_gateway\"\n",
    );
    offramp(&["render", "openvpn", &site, "--check", &edited]).success();
    let broken = folder.write(
        "broken.conf",
        "push \"route 52.112.0.0 255.0.255.0 net_gateway\"\n",
    );
    let refused = offramp(&["render", "openvpn", &site, "--check", &broken]).error(1);
    assert!(
        refused.contains("broken.conf: line 1: 255.0.255.0 is not a netmask"),
        "{refused}"
    );
}

#[test]
fn domains_of_an_asa_are_compared_one_by_one() {
    let folder = Folder::new("render-dynamic");
    let site = folder.write(
        "site.toml",
        format!("{SITE}[[profile]]\nvendor = \"zoom\"\n"),
    );
    let written = offramp(&["render", "cisco-asa-dynamic", &site]).success();
    let file = folder.write("asa.txt", written.as_str());
    let equal = offramp(&["render", "cisco-asa-dynamic", &site, "--check", &file]).success();
    assert!(equal.contains("has the settings of"), "{equal}");
    let edited = folder.write("edited.txt", written.replace("zoom.com", "contoso.com"));
    let arguments = ["render", "cisco-asa-dynamic", &site, "--check", &edited];
    let ended = offramp(&arguments);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for part in [
        "should be there and is not\n    zoom.com outside the tunnel\n",
        "is there and should not be\n    contoso.com outside the tunnel\n",
    ] {
        assert!(ended.stdout.contains(part), "{}", ended.stdout);
    }
    let json = offramp(&[&arguments[..], &["--json"]].concat()).json();
    assert_eq!(
        json["missing"],
        serde_json::json!(["zoom.com outside the tunnel"])
    );
    let routes = offramp(&["render", "cisco-asa-dynamic", &site, "--form", "include"]).failure(2);
    assert!(routes.contains("writes settings"), "{routes}");
    let none = folder.write("none.toml", SITE);
    let refused = offramp(&["render", "cisco-asa-dynamic", &none]).failure(2);
    assert!(refused.contains("write a [[profile]]"), "{refused}");
}

#[test]
fn an_export_of_the_registry_is_read_as_regedit_writes_it() {
    let folder = Folder::new("render-registry");
    let site = folder.write("site.toml", SITE);
    let written = offramp(&["render", "edge-registry", &site]).success();
    // In UTF-16 with a byte order mark.
    let units = format!("\u{feff}{written}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect::<Vec<u8>>();
    let export = folder.write("export.reg", units);
    offramp(&["render", "edge-registry", &site, "--check", &export]).success();
    let off = folder.write(
        "off.reg",
        written.replace("dword:00000001", "dword:00000000"),
    );
    let ended = offramp(&["render", "edge-registry", &site, "--check", &off]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    // A tunnel that takes everything: the interface of the default route is its own.
    let refused = offramp(&["render", "chrome-json", &site]).failure(2);
    assert!(refused.contains("render edge-registry"), "{refused}");
}

#[test]
fn widening_is_only_on_request_and_lists_every_address_it_adds() {
    let folder = Folder::new("render-widen");
    let site = folder.write("site.toml", SITE);
    let ended = offramp(&["render", "cisco-asa", &site, "--widen-to", "3"]);
    assert!(
        ended.stderr.contains("these 2 prefixes leave the tunnel beyond what the policy asks for: 167.55.49.37/32, 167.55.49.38/31"),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .success()
            .contains("extended permit ip 167.55.49.32 255.255.255.248 any4")
    );
    let json = offramp(&["render", "wireguard", &site, "--widen-to", "70", "--json"]).json();
    assert!(
        json["v4_entries"].as_u64().is_some_and(|count| count <= 70),
        "{json}"
    );
    let refused = offramp(&["render", "cisco-asa", &site, "--widen-to", "0"]).error(2);
    assert!(
        refused.contains("more would take internal addresses out of the tunnel"),
        "{refused}"
    );
    let split = folder.write("split.toml", SITE.replace("\"full\"", "\"split\""));
    let refused = offramp(&["render", "ocserv", &split, "--widen-to", "1"]).error(2);
    assert!(
        refused.contains("widening reaches 2 entries at the fewest"),
        "{refused}"
    );
}

#[test]
fn a_plan_that_would_cut_calls_off_is_not_written() {
    let folder = Folder::new("render-refused");
    let text = format!(
        "{SITE}[[server]]\nname = \"Edge, internal interface\"\naddresses = [\"167.55.49.34\"]\n"
    );
    let site = folder.write("site.toml", text);
    let refused = offramp(&["render", "ocserv", &site]).failure(2);
    assert!(
        refused.contains("error[server-outside-tunnel]"),
        "{refused}"
    );
    // The file is checked all the same, and `check` reports it.
    let checked = offramp(&["check", &site]);
    assert!(
        checked.stderr.contains("warning[server-outside-tunnel]"),
        "{}",
        checked.stderr
    );
    checked.success();
    let feed =
        format!("{SITE}[[feed]]\nname = \"Zoom\"\nformat = \"prefixes\"\nfile = \"zoom.txt\"\n");
    let site = folder.write("feed.toml", feed);
    let refused = offramp(&["render", "ocserv", &site]).error(2);
    assert!(refused.contains("feed \"Zoom\" is not loaded"), "{refused}");
    folder.write("zoom.txt", "3.7.35.0/25\n");
    let text = offramp(&["render", "ocserv", &site]).success();
    assert!(
        text.contains("# Zoom, line 1 (line 21)\nno-route = 3.7.35.0/255.255.255.128\n"),
        "{text}"
    );
}

#[test]
fn a_target_says_what_it_cannot_do() {
    let folder = Folder::new("render-forms");
    let site = folder.write("site.toml", SITE);
    let cases: [(&[&str], &str); 4] = [
        (
            &["wireguard", "--form", "exclude"],
            "wireguard has no exclude form: AllowedIPs can only include",
        ),
        (
            &["ocserv", "--form", "include"],
            "begins at 0.0.0.0 for the default route",
        ),
        (
            &["cisco-asa", "--name", "a b"],
            "`a b` cannot be a name in cisco-asa",
        ),
        (
            &["dnsmasq"],
            "dnsmasq takes 255 bytes at most (one DHCP option)",
        ),
    ];
    for (arguments, message) in cases {
        let refused = offramp(&[&["render"], arguments, &[&site]].concat()).error(2);
        assert!(refused.contains(message), "{refused}");
    }
    let no_router = folder.write(
        "no-router.toml",
        SITE.replace("listen = [\"172.16.1.1:53\"]", ""),
    );
    let refused = offramp(&["render", "kea", &no_router]).error(2);
    assert!(refused.contains("write --via ADDRESS"), "{refused}");
}

#[test]
fn a_client_connect_script_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("render-mode");
    let site = folder.write("site.toml", SITE);
    offramp(&[
        "render",
        "openvpn-client-connect",
        &site,
        "-o",
        &folder.path("out"),
    ])
    .success();
    let file = folder.path("out/openvpn-client-connect.sh");
    let mode = fs::metadata(&file).expect("written").permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
}

#[test]
fn names_are_written_for_dns_servers_and_take_no_choices_of_routes() {
    let folder = Folder::new("names");
    for target in [
        "unbound",
        "bind",
        "rpz",
        "dnsmasq-names",
        "windows-dns",
        "windows-nrpt",
    ] {
        let text = offramp(&["render", target, "config/contoso.toml"]).success();
        assert!(
            text.contains("from config/contoso.toml; changes here are lost"),
            "{text}"
        );
        let written = offramp(&[
            "render",
            target,
            "-o",
            &folder.path(""),
            "config/contoso.toml",
        ])
        .success();
        let file = fs::read_to_string(written.trim()).expect("the file that was named");
        assert_eq!(file, text, "{target}");
    }
    let json = offramp(&["render", "rpz", "config/contoso.toml", "--json"]).json();
    assert!(
        json["text"]
            .as_str()
            .is_some_and(|text| text.contains("sip.contoso.com IN A 167.55.49.32")),
        "{json:#}"
    );

    let refused = offramp(&[
        "render",
        "unbound",
        "config/contoso.toml",
        "--widen-to",
        "5",
    ])
    .failure(2);
    assert!(refused.contains("--widen-to is for routes"), "{refused}");
    let good = folder.path("unbound-offramp.conf");
    let check = ["render", "unbound", "config/contoso.toml", "--check", &good];
    offramp(&check).success();
    let text = fs::read_to_string(&good).expect("written above");
    fs::write(&good, text.replace("167.55.49.34", "10.2.0.5")).expect("a file of ours");
    let ended = offramp(&check);
    assert_eq!(ended.code, Some(3));
    let says = "av.contoso.com: A 10.2.0.5, and should be: A 167.55.49.34";
    assert!(ended.stdout.contains(says), "{ended:#?}");
    let refused = offramp(&[
        "render",
        "windows-nrpt",
        "config/contoso.toml",
        "--check",
        &good,
    ])
    .failure(2);
    assert!(refused.contains("none of windows-nrpt"), "{refused}");
    let refused = offramp(&["render", "unbound", "config/minimal.toml"]).failure(2);
    assert!(refused.contains("pins and hides no name"), "{refused}");
}

#[test]
fn rules_that_cannot_recognize_media_are_refused() {
    for target in ["nftables", "iptables", "cisco-asa-filter", "rules-csv"] {
        let refused = offramp(&["render", target, "config/minimal.toml"]).failure(2);
        let expected = format!("{target} cannot recognize media");
        assert!(refused.contains(&expected), "{refused}");
        assert!(
            refused.contains("match = \"ice\"; run `offramp run`"),
            "{refused}"
        );
    }
}

#[test]
fn rules_are_written_and_compared_with_a_file_in_place() {
    let folder = Folder::new("render-rules");
    let site = folder.write("site.toml", SITE);
    let out = folder.path("out");
    let said = offramp(&["render", "nftables", &site, "-o", &out]).success();
    assert!(said.contains("offramp-rules.nft: 4 rules"), "{said}");
    let file = folder.path("out/offramp-rules.nft");
    let same = offramp(&["render", "nftables", &site, "--check", &file]).success();
    assert!(same.contains("has the rules of"), "{same}");
    let text = fs::read_to_string(&file).expect("written just above");
    // Differences in comments and indentation do not count.
    fs::write(&file, text.replace('\t', "  ").replace("# ", "#  ")).expect("ours");
    offramp(&["render", "nftables", &site, "--check", &file]).success();
    fs::write(&file, text.replace("50000-50059", "50000-50058")).expect("ours");
    let differs = offramp(&["render", "nftables", &site, "--check", &file]);
    assert_eq!(differs.code, Some(3), "{differs:#?}");
    assert!(
        differs.stdout.contains("th dport 50000-50059"),
        "{differs:#?}"
    );
    let refused = offramp(&["render", "nftables", &site, "--widen-to", "5"]).error(2);
    assert!(
        refused.contains("--widen-to is for routes, and nftables writes rules"),
        "{refused}"
    );
    let json = offramp(&["render", "rules-csv", &site, "--json"]).json();
    assert_eq!(json["rules"], 4);
}

#[test]
fn a_rule_that_would_never_match_is_remarked_by_check_and_by_render() {
    let folder = Folder::new("render-endpoint");
    let text = format!(
        "{SITE}[[endpoint]]\nname = \"Teams\"\nprograms = ['%LOCALAPPDATA%\\Microsoft\\Teams\\current\\Teams.exe']\n"
    );
    let site = folder.write("site.toml", text);
    for arguments in [
        &["check", &site][..],
        &["render", "windows-firewall", &site],
    ] {
        let ended = offramp(arguments);
        assert!(
            ended.stderr.contains("warning[endpoint-never-matches]")
                && ended.stderr.contains("differs from user to user"),
            "{ended:#?}"
        );
        ended.success();
    }
    let nothing = folder.write("nothing.toml", SITE);
    let refused = offramp(&["render", "windows-firewall", &nothing]).error(2);
    assert!(refused.contains("has no [[endpoint]]"), "{refused}");
}

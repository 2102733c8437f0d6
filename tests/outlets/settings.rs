//! Settings of VPN clients and browsers, read by programs that are not ours: a parser of XML with a schema, and Python's reader of
//! property lists.

use std::process::Command;

use offramp::policy;
use offramp::render::{Options, Target, render, settings};

use crate::support::{Folder, is_installed, project, run};

const SITE: &str = "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"fd00:1::/64\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\", \"167.55.0.0/16\"]\n\
    [[public]]\nname = \"Edge -- <&>\"\naddresses = [\"167.55.49.32\"]\n";

fn written(target: &'static Target, name: Option<&str>) -> String {
    let (policy, _) = policy::parse("a -- <&>.toml", SITE.as_bytes()).expect("a good policy");
    let options = Options {
        name: name.map(str::to_owned),
        ..Options::default()
    };
    render(target, &policy, &options)
        .expect("a whole policy")
        .text
}

#[test]
fn a_device_tunnel_follows_the_schema() {
    if !is_installed("xmllint") {
        return;
    }
    let folder = Folder::new("device-tunnel");
    let text = written(
        &settings::windows_profilexml_device::TARGET,
        Some("vpn.contoso.com"),
    );
    let valid = |text: &str| {
        let file = folder.write("profile.xml", text);
        let schema = project("tests/outlets/routes/vpn-profile.xsd");
        let mut xmllint = Command::new("xmllint");
        xmllint.args(["--noout", "--nonet", "--schema"]).arg(schema);
        run(xmllint.arg(file))
    };
    valid(&text).success();
    let unknown = text.replace("DeviceTunnel>", "DeviceTunel>");
    assert_ne!(
        valid(&unknown).code,
        Some(0),
        "the schema knows its elements"
    );
}

#[test]
fn python_reads_a_property_list_as_one_text() {
    if !is_installed("python3") {
        return;
    }
    let folder = Folder::new("plist");
    for (target, key) in [
        (
            &settings::browser::edge_plist::TARGET,
            "WebRtcLocalhostIpHandling",
        ),
        (&settings::browser::chrome_plist::TARGET, "WebRtcIPHandling"),
    ] {
        let file = folder.write(target.file, written(target, None));
        let script =
            "import json, plistlib, sys\nprint(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
        let mut python = Command::new("python3");
        let read = run(python.args(["-c", script, &file])).json();
        let expected = serde_json::json!({ key: "default_public_and_private_interfaces" });
        assert_eq!(read, expected, "{target}");
    }
}

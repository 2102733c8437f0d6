//! Reads rendered files back with readers independent of the renderers: a script, an XML parser, a grammar.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::{is_installed, project, skip};
use ipnet::IpNet;
use offramp::address::PrefixSet;
use offramp::plan::RoutePlan;
use offramp::policy;
use offramp::render::{self, Form, Kind, Options, RenderError, Target, routes};

const FULL: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
[corporate]
subnets = ["10.0.0.0/8", "2001:db8:c0de::/48"]
dns_servers = ["10.0.0.53"]
[routes]
tunnel = "full"
gateways = ["203.0.113.10"]
[[public]]
name = "Edge's <\"&--> 'names'"
addresses = ["167.55.49.32", "167.55.49.33", "167.55.49.34", "167.55.49.35", "167.55.49.36", "203.0.113.10"]
[[public]]
name = "Teams media"
addresses = ["52.112.0.0/14", "52.122.0.0/15", "2603:1063::/38"]
"#;

/// Sites whose files differ: both modes, both families and one, exclusions and none.
fn sites() -> Vec<(String, RoutePlan)> {
    let split = FULL.replace("\"full\"", "\"split\"");
    let inside = split.replace("\"10.0.0.0/8\"", "\"10.0.0.0/8\", \"167.55.0.0/16\"");
    let only_v4 = FULL.replace(", \"fd00:1::/64\"", "");
    let nothing_public = FULL
        .replace("[[public]]", "[[server]]")
        .replace("203.0.113.10\"]\n[[", "203.0.113.11\"]\n[[");
    let only_v6_excluded = FULL.replace("\"52.112.0.0/14\", \"52.122.0.0/15\", ", "").replace(
        "\"167.55.49.32\", \"167.55.49.33\", \"167.55.49.34\", \"167.55.49.35\", \"167.55.49.36\", \"203.0.113.10\"",
        "\"2001:db8:ed9e::32\"",
    );
    let sites = [
        ("full", FULL.to_owned()),
        ("split", split),
        ("split with public addresses inside", inside),
        ("full, IPv4 alone", only_v4),
        ("full, nothing public", nothing_public),
        ("full, only IPv6 excluded", only_v6_excluded),
    ];
    sites
        .into_iter()
        .map(|(name, text)| {
            let (policy, _) =
                policy::parse(name, text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
            (name.to_owned(), RoutePlan::new(&policy))
        })
        .collect()
}

/// Calls `check` with every file of every site, target and form.
fn each_file(mut check: impl FnMut(&str, &'static Target, &RoutePlan, &str)) {
    let mut written = 0;
    for (name, plan) in sites() {
        for target in Target::of_kind(Kind::Routes) {
            for form in [None, Some(Form::Include), Some(Form::Exclude)] {
                let options = Options {
                    form,
                    via: Some("172.16.1.1".parse().expect("an address")),
                    name: Some("Contoso".to_owned()),
                };
                match render::render(target, &plan, &options) {
                    Ok(rendered) => {
                        check(&name, target, &plan, &rendered.text);
                        written += 1;
                    }
                    Err(RenderError::NoSuchForm { .. } | RenderError::OverBudget { .. }) => {}
                    Err(error) => panic!("{name}, {target}: {error}"),
                }
            }
        }
    }
    assert!(written > 150, "only {written} files");
}

fn filter(command: &mut Command, input: &str) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped just above");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer
        .join()
        .expect("it does not panic")
        .expect("it reads its input");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn another_program_reads_every_file_as_the_plan() {
    if !is_installed("python3") {
        return;
    }
    let mut files = Vec::new();
    let mut expected = Vec::new();
    each_file(|name, target, plan, text| {
        files.push(serde_json::json!({ "target": target.name, "text": text }));
        expected.push((name.to_owned(), target, plan.clone(), text.to_owned()));
    });
    let mut reader = Command::new("python3");
    reader.arg(project("tests/outlets/routes/read.py"));
    let (success, said) = filter(&mut reader, &serde_json::Value::from(files).to_string());
    assert!(success, "{said}");
    let answers: Vec<Vec<String>> = serde_json::from_str(&said).expect("a list for each file");
    assert_eq!(answers.len(), expected.len());
    for ((name, target, plan, text), tunnel) in expected.into_iter().zip(answers) {
        let difference = render::difference(
            target,
            &plan,
            &tunnel
                .iter()
                .map(|text| text.parse::<IpNet>().expect("a prefix"))
                .collect::<PrefixSet>(),
        );
        assert_eq!(difference, None, "{name}, {target}\n{text}");
    }
}

#[test]
fn an_xml_parser_accepts_every_profile() {
    if !is_installed("xmllint") {
        return;
    }
    each_file(|name, target, _, text| {
        if [
            routes::windows_profilexml::TARGET,
            routes::globalprotect_xml::TARGET,
        ]
        .contains(target)
        {
            let (success, said) = filter(
                Command::new("xmllint").args(["--noout", "--nonet", "-"]),
                text,
            );
            assert!(success, "{name}: {said}\n{text}");
        }
    });
}

#[test]
fn a_parser_of_hcl_accepts_every_resource_and_reads_its_list() {
    each_file(|name, target, _, text| {
        if *target == routes::cloudflare_warp_terraform::TARGET {
            let body = hcl::parse(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
            let resource = body.blocks().next().expect("a resource");
            let labels: Vec<&str> = resource.labels().iter().map(|it| it.as_str()).collect();
            assert_eq!(
                labels,
                ["cloudflare_zero_trust_device_default_profile", "Contoso"]
            );
            let lists = resource
                .body()
                .attributes()
                .filter_map(|it| match it.expr() {
                    hcl::Expression::Array(entries) => Some(entries.len()),
                    _ => None,
                });
            let entries = text.matches("{ address = ").count();
            assert_eq!(lists.collect::<Vec<_>>(), [entries], "{name}\n{text}");
        }
    });
}

#[test]
fn a_whole_profile_follows_its_schema_and_a_fragment_lacks_what_it_says() {
    if !is_installed("xmllint") {
        return;
    }
    let schema = crate::support::project("tests/outlets/routes/vpn-profile.xsd");
    each_file(|name, target, plan, _| {
        if *target != routes::windows_profilexml::TARGET {
            return;
        }
        let valid = |server: Option<&str>| {
            let options = render::Options {
                name: server.map(str::to_owned),
                ..render::Options::default()
            };
            let text = render::render(target, plan, &options).expect("routes").text;
            let mut xmllint = Command::new("xmllint");
            xmllint
                .args(["--noout", "--nonet", "--schema"])
                .arg(&schema);
            (filter(xmllint.arg("-"), &text), text)
        };
        let ((success, said), text) = valid(Some("vpn.contoso.com"));
        assert!(success, "{name}: {said}\n{text}");
        let ((success, _), text) = valid(None);
        assert!(
            !success && text.contains("<!-- a fragment:"),
            "{name}\n{text}"
        );
    });
}

#[test]
fn a_schema_of_netbirds_requests_takes_every_list_of_routes() {
    let has_jsonschema = std::path::Path::new("/usr/lib/python3/dist-packages/jsonschema").exists();
    if !is_installed("python3") || !has_jsonschema {
        return skip("python3-jsonschema is not installed");
    }
    let script = "import json, jsonschema, sys\n\
                  schema = json.load(open(sys.argv[1]))\n\
                  jsonschema.Draft7Validator.check_schema(schema)\n\
                  print([error.message for error in jsonschema.Draft7Validator(schema).iter_errors(json.load(sys.stdin))])\n";
    let check = |text: &str| {
        let mut python = Command::new("python3");
        python
            .args(["-c", script])
            .arg(project("tests/outlets/routes/netbird-route.schema.json"));
        filter(&mut python, text)
    };
    let fine = (true, "[]\n".to_owned());
    let mut last = String::new();
    each_file(|name, target, _, text| {
        if *target == routes::netbird::TARGET {
            assert_eq!(check(text), fine, "{name}\n{text}");
            text.clone_into(&mut last);
        }
    });
    let (_, said) = check(&last.replace("\"metric\": 9999", "\"metric\": 10000"));
    assert!(said.contains("10000"), "{said}");
    let (_, said) = check(&last.replace("\"masquerade\"", "\"masquerades\""));
    assert!(said.contains("masquerade"), "{said}");
}

#[test]
fn the_grammar_of_powershell_accepts_every_script() {
    let mut parser = tree_sitter::Parser::new();
    parser
        .set_language(&tree_sitter_powershell::LANGUAGE.into())
        .expect("a grammar of this version");
    each_file(|name, target, plan, text| {
        if *target == routes::windows_powershell::TARGET {
            let tree = parser.parse(text, None).expect("no limit was set");
            assert!(!tree.root_node().has_error(), "{name}\n{text}");
            // The commands are the intended ones, and not text inside others.
            let routes = text.matches("\nAdd-VpnConnectionRoute ").count();
            assert_eq!(
                commands(tree.root_node()),
                routes + 6,
                "{name}\n{}",
                tree.root_node()
            );
            assert!(routes >= plan.includes.len().min(1));
        }
    });
}

fn commands(node: tree_sitter::Node<'_>) -> usize {
    let mut cursor = node.walk();
    let below: usize = node.children(&mut cursor).map(commands).sum();
    below + usize::from(node.kind() == "command")
}

#[test]
fn a_shell_accepts_every_script() {
    each_file(|name, target, _, text| {
        if *target == routes::openvpn_client_connect::TARGET || *target == routes::tailscale::TARGET
        {
            let (success, said) = filter(Command::new("sh").arg("-n"), text);
            assert!(success, "{name}: {said}\n{text}");
        }
    });
}

//! Every target for people to read, what it leaves out, and what its reader sees.

use super::{TARGETS, browser, cisco_asa_dynamic, windows_profilexml_device};
use crate::policy::{self, Policy};
use crate::render::{
    CompareError, Difference, Naming, Options, RenderError, Rendered, Target, Write, compare,
    render,
};
use crate::vendor::Vendor;

fn parsed(text: &str) -> Policy {
    policy::parse("site.toml", text.as_bytes())
        .unwrap_or_else(|errors| panic!("{errors}"))
        .0
}

/// A full tunnel with a profile of each of these vendors.
fn site(vendors: &[&str]) -> Policy {
    site_of("full", vendors)
}

fn site_of(tunnel: &str, vendors: &[&str]) -> Policy {
    let profiles = vendors
        .iter()
        .map(|vendor| format!("[[profile]]\nvendor = \"{vendor}\"\n"));
    parsed(&format!(
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[routes]\ntunnel = \"{tunnel}\"\n{}",
        profiles.collect::<String>()
    ))
}

/// A policy with every vendor, of the tunnel that the target is for.
fn every_vendor(target: &Target) -> Policy {
    let words: Vec<&str> = Vendor::all().map(Vendor::word).collect();
    site_of(
        if is_for_split(target) {
            "split"
        } else {
            "full"
        },
        &words,
    )
}

/// Returns `true` for the browsers' settings that choose an interface.
fn is_for_split(target: &Target) -> bool {
    [
        &browser::chrome_json::TARGET,
        &browser::chrome_plist::TARGET,
        &browser::chrome_registry::TARGET,
        &browser::edge_plist::TARGET,
    ]
    .contains(&target)
}

fn options(target: &Target) -> Options {
    let name = match target.write {
        Write::Settings(Naming::Required { example, .. }, _) => Some(example.to_owned()),
        _ => None,
    };
    Options {
        name,
        ..Options::default()
    }
}

fn of(target: &'static Target, policy: &Policy) -> Result<Rendered, RenderError> {
    render(target, policy, &options(target))
}

#[test]
fn every_target_is_written_for_people_too() {
    for target in TARGETS {
        let rendered = of(target, &every_vendor(target)).expect("a whole policy");
        let mut shown = rendered.text.replace('\r', "");
        for warning in rendered.warnings {
            shown.push_str(&format!("--- {warning}\n"));
        }
        insta::assert_snapshot!(target.name, shown);
    }
}

#[test]
fn a_file_as_it_was_written_has_the_settings_of_the_policy() {
    for target in TARGETS {
        let policy = every_vendor(target);
        let text = of(target, &policy).expect("a whole policy").text;
        let compared = compare(target, &policy, &options(target), &text);
        assert_eq!(compared, Ok(None), "{target}");
    }
}

#[test]
fn no_line_of_a_file_ends_where_the_policy_wants_it_to() {
    for target in TARGETS {
        let mut policy = every_vendor(target);
        policy.origin = "a\nflushes\r\n\u{85}b--".to_owned();
        let text = of(target, &policy).expect("a whole policy").text;
        assert!(
            !text.lines().any(|line| line.starts_with("flushes")),
            "{target}"
        );
    }
}

/// The domains of the list in a file for an ASA.
fn domains(policy: &Policy) -> String {
    let rendered = of(&cisco_asa_dynamic::TARGET, policy).expect("there are domains");
    let lines = rendered
        .text
        .lines()
        .filter_map(|line| line.split_once("OFFRAMP-DOMAINS "));
    lines.map(|(_, value)| value).collect()
}

#[test]
fn a_domain_stands_for_every_name_below_it() {
    assert_eq!(domains(&site(&["zoom"])), "zoom.us,zoom.com");
    let twice = site(&["webex", "zoom"]);
    assert_eq!(
        domains(&twice),
        "webex.com,cisco.com,wbx2.com,ciscospark.com,webexapis.com,zoom.us,zoom.com"
    );
}

#[test]
fn teams_goes_by_address_and_the_file_says_so() {
    let target = &cisco_asa_dynamic::TARGET;
    let rendered = of(target, &site(&["teams", "zoom"])).expect("Zoom has domains");
    assert!(
        rendered.text.contains("! Teams is left out"),
        "{}",
        rendered.text
    );
    assert!(
        !rendered.text.contains("teams.microsoft.com"),
        "{}",
        rendered.text
    );
    assert!(
        rendered.warnings.concat().contains("cisco-asa"),
        "{:?}",
        rendered.warnings
    );
    for vendors in [&["teams"][..], &[]] {
        let refused = of(target, &site(vendors)).expect_err("no domain");
        assert!(
            matches!(refused, RenderError::NoSetting { .. }),
            "{refused}"
        );
    }
}

#[test]
fn a_list_that_would_take_own_names_out_of_the_tunnel_is_told() {
    let warnings = |sip: &str| {
        let policy = parsed(&format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[routes]\ntunnel = \"full\"\n[dns]\nlisten = [\"172.16.1.1:53\"]\n\
             sip_domains = [\"{sip}\"]\n[[profile]]\nvendor = \"webex\"\n"
        ));
        of(&cisco_asa_dynamic::TARGET, &policy)
            .expect("Webex has domains")
            .warnings
    };
    assert!(
        warnings("corp.cisco.com")
            .concat()
            .contains("has corp.cisco.com")
    );
    assert_eq!(warnings("sanfrancisco.com"), [] as [&str; 0]);
}

#[test]
fn no_command_for_an_asa_is_longer_than_it_takes() {
    let target = &cisco_asa_dynamic::TARGET;
    let text = of(target, &every_vendor(target))
        .expect("there are domains")
        .text;
    let commands = text
        .lines()
        .filter(|line| line.starts_with("anyconnect-custom-data"));
    let lengths: Vec<usize> = commands.map(str::len).collect();
    assert!(
        lengths.iter().all(|length| *length <= 420) && !lengths.is_empty(),
        "{lengths:?}"
    );
}

/// A running configuration with several group policies, whose list is written in three lines.
const RUNNING: &str = "\
webvpn
 enable outside
 anyconnect-custom-attr dynamic-split-exclude-domains description x
 anyconnect-custom-attr dynamic-split-include-domains description y
anyconnect-custom-data dynamic-split-exclude-domains CALLS zoom.us
anyconnect-custom-data dynamic-split-exclude-domains CALLS ,zoom
anyconnect-custom-data dynamic-split-exclude-domains CALLS .com, Example.net,
anyconnect-custom-data dynamic-split-include-domains INSIDE corp.contoso.com,
group-policy STAFF internal
group-policy STAFF attributes
 vpn-filter value STAFF-FILTER
 anyconnect-custom dynamic-split-exclude-domains value CALLS
 anyconnect-custom dynamic-split-include-domains value INSIDE
group-policy LIKE-STAFF internal from STAFF
group-policy OTHERS internal
group-policy OTHERS attributes
 anyconnect-custom dynamic-split-exclude-domains none
group-policy LOST internal
group-policy LOST attributes
 anyconnect-custom dynamic-split-exclude-domains value GONE
";

fn compared(name: Option<&str>, text: &str) -> Result<Option<Difference>, CompareError> {
    let options = Options {
        name: name.map(str::to_owned),
        ..Options::default()
    };
    compare(
        &cisco_asa_dynamic::TARGET,
        &site(&["zoom", "slack"]),
        &options,
        text,
    )
}

fn refusal(name: Option<&str>) -> String {
    match compared(name, RUNNING) {
        Err(CompareError::Read(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_running_configuration_is_compared_by_the_domains_of_its_group_policy() {
    for name in ["STAFF", "LIKE-STAFF"] {
        let Ok(Some(Difference::Settings { missing, surplus })) = compared(Some(name), RUNNING)
        else {
            panic!("{name}");
        };
        assert_eq!(missing, ["chime.aws outside the tunnel"], "{name}");
        assert_eq!(
            surplus,
            [
                "corp.contoso.com inside the tunnel",
                "example.net outside the tunnel"
            ],
            "{name}"
        );
    }
    let Ok(Some(Difference::Settings { missing, surplus })) = compared(Some("OTHERS"), RUNNING)
    else {
        panic!("none is a list without domains");
    };
    assert_eq!((missing.len(), surplus.len()), (3, 0));
}

#[test]
fn a_list_that_is_not_in_the_file_and_a_policy_that_is_not_named_are_told() {
    assert!(refusal(Some("LOST")).contains("no anyconnect-custom-data"));
    assert!(refusal(None).contains("name it with --name"));
    assert!(refusal(Some("NOBODY")).contains("there is no group policy `NOBODY`"));
}

/// A site whose public service lies inside a corporate prefix.
const INSIDE: &str = "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"fd00:1::/64\"]\n[corporate]\n\
    subnets = [\"10.0.0.0/8\", \"167.55.0.0/16\", \"fd00:2::/48\"]\n[routes]\ntunnel = \"full\"\n\
    [[public]]\nname = \"Edge\"\naddresses = [\"167.55.49.32\"]\n";

fn device_tunnel(text: &str) -> Rendered {
    of(&windows_profilexml_device::TARGET, &parsed(text)).expect("something enters")
}

fn difference(text: &str) -> (Vec<String>, Vec<String>) {
    let target = &windows_profilexml_device::TARGET;
    match compare(target, &parsed(INSIDE), &options(target), text) {
        Ok(None) => (Vec::new(), Vec::new()),
        Ok(Some(Difference::Settings { missing, surplus })) => (missing, surplus),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_tunnel_is_split_whatever_the_policy_says_and_excludes_nothing() {
    let full = device_tunnel(INSIDE).text;
    let split = device_tunnel(&INSIDE.replace("\"full\"", "\"split\"")).text;
    assert_eq!(full, split);
    assert!(
        !full.contains("ForceTunnel") && !full.contains("<ExclusionRoute>"),
        "{full}"
    );
    assert!(!full.contains("<TrafficFilter>"), "{full}");
    for part in [
        "<DeviceTunnel>true</DeviceTunnel>",
        "<MachineMethod>Certificate</MachineMethod>",
        "<Address>10.0.0.0</Address>\n    <PrefixSize>8</PrefixSize>",
        "The user tunnel (windows-profilexml) carries the exclusions.",
    ] {
        assert!(full.contains(part), "{part}: {full}");
    }
    // The public address is left out of the routes around it.
    assert!(full.contains("<Address>167.55.49.33</Address>\n    <PrefixSize>32</PrefixSize>"));
    assert!(!full.contains("<Address>167.55.49.32</Address>"), "{full}");
}

#[test]
fn a_device_tunnel_in_place_is_compared_by_what_makes_it_one_and_by_its_addresses() {
    let text = device_tunnel(INSIDE).text;
    let halves = text.replace(
        "<Address>10.0.0.0</Address>\n    <PrefixSize>8</PrefixSize>\n  </Route>",
        "<Address>10.0.0.0</Address>\n    <PrefixSize>9</PrefixSize>\n  </Route>\n  <Route>\n    \
         <Address>10.128.0.0</Address>\n    <PrefixSize>9</PrefixSize>\n  </Route>",
    );
    assert_ne!(text, halves);
    assert_eq!(difference(&halves), (Vec::new(), Vec::new()));
    let user = text.replace("  <DeviceTunnel>true</DeviceTunnel>\n", "");
    assert_eq!(difference(&user).0, ["DeviceTunnel true"]);
    let forced = text.replace("SplitTunnel", "ForceTunnel");
    let (missing, surplus) = difference(&forced);
    assert!(
        missing.contains(&"RoutingPolicyType SplitTunnel".to_owned()),
        "{missing:?}"
    );
    assert!(
        surplus.contains(&"0.0.0.0/0 enters the device tunnel".to_owned()),
        "{surplus:?}"
    );
    let filtered = text.replace(
        "</VPNProfile>",
        "<TrafficFilter><RemoteAddressRanges>10.0.0.1</RemoteAddressRanges></TrafficFilter></VPNProfile>",
    );
    assert_eq!(
        difference(&filtered).1,
        ["TrafficFilter, which denies what comes in"]
    );
}

#[test]
fn a_device_tunnel_needs_its_server() {
    let target = &windows_profilexml_device::TARGET;
    let policy = parsed(INSIDE);
    let none = render(target, &policy, &Options::default());
    assert!(matches!(none, Err(RenderError::NoName { .. })));
    let bad = Options {
        name: Some("a b".to_owned()),
        ..Options::default()
    };
    assert!(matches!(
        render(target, &policy, &bad),
        Err(RenderError::BadName { .. })
    ));
}

//! Files of browsers as people and programs leave them.

use super::{chrome_json, chrome_plist, chrome_registry, edge_plist, edge_registry};
use crate::policy;
use crate::render::{CompareError, Difference, Options, RenderError, Target, compare, render};

fn site(tunnel: &str) -> policy::Policy {
    let text =
        format!("[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[routes]\ntunnel = \"{tunnel}\"\n");
    policy::parse("site.toml", text.as_bytes())
        .expect("a good policy")
        .0
}

/// Settings that the file lacks, and those that it has beside those of the policy.
fn difference(target: &'static Target, text: &str) -> Result<[Vec<String>; 2], String> {
    match compare(target, &site("split"), &Options::default(), text) {
        Ok(None) => Ok([Vec::new(), Vec::new()]),
        Ok(Some(Difference::Settings { missing, surplus })) => Ok([missing, surplus]),
        Err(CompareError::Read(error)) => Err(error.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_setting_that_chooses_interfaces_is_not_written_for_a_tunnel_that_takes_everything() {
    for target in [
        &chrome_json::TARGET,
        &chrome_plist::TARGET,
        &chrome_registry::TARGET,
        &edge_plist::TARGET,
    ] {
        let refused = render(target, &site("full"), &Options::default());
        assert!(
            matches!(refused, Err(RenderError::NoSetting { .. })),
            "{target}"
        );
    }
    let edge = render(&edge_registry::TARGET, &site("full"), &Options::default());
    assert!(edge.is_ok(), "Edge on Windows follows routes");
}

#[test]
fn an_export_of_the_registry_is_compared_by_the_values_that_decide() {
    let export = "\u{feff}Windows Registry Editor Version 5.00\r\n\r\n[HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\Microsoft\\Edge]\r\n\
        \"HomepageLocation\"=\"https://contoso.com\"\r\n\"Blob\"=hex:01,02\r\n\
        \"WebRtcRespectOsRoutingTableEnabled\"=dword:00000001\r\n\r\n\
        [HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\Microsoft\\Edge\\WebRtcLocalIpsAllowedUrls]\r\n\"1\"=\"*\"\r\n";
    let edge = |text: &str| difference(&edge_registry::TARGET, text);
    assert_eq!(edge(export), Ok([Vec::new(), Vec::new()]));
    let off = export.replace("dword:00000001", "dword:00000000");
    assert_eq!(
        edge(&off),
        Ok([
            vec!["WebRtcRespectOsRoutingTableEnabled 1".to_owned()],
            vec!["WebRtcRespectOsRoutingTableEnabled 0".to_owned()]
        ])
    );
    let forced = export.replace(
        "\"Blob\"=hex:01,02",
        "\"WebRtcLocalhostIpHandling\"=\"disable_non_proxied_udp\"",
    );
    assert_eq!(
        edge(&forced).map(|it| it[1].clone()),
        Ok(vec![
            "WebRtcLocalhostIpHandling disable_non_proxied_udp".to_owned()
        ])
    );
    // Of another browser, of a key that is removed, or itself removed.
    for other in [
        export.replace("\\Edge]", "\\EdgeUpdate]"),
        export.replace("[HKEY", "[-HKEY"),
        export.replace("dword:00000001", "-"),
    ] {
        assert_eq!(edge(&other).map(|it| it[0].len()), Ok(1), "{other}");
    }
    let binary = export.replace("dword:00000001", "hex(b):01");
    assert!(edge(&binary).is_err_and(|error| error.contains("line 6")));
    assert!(edge("nothing").is_err_and(|error| error.contains("begins with")));
}

#[test]
fn a_property_list_is_read_with_its_document_type_and_wherever_a_profile_has_the_key() {
    let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
        \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\"><dict><key>PayloadContent</key><array><dict>\
        <key>ShowHomeButton</key><true/><key>WebRtcIPHandling</key><string>default</string></dict></array></dict></plist>";
    let [missing, surplus] = difference(&chrome_plist::TARGET, text).expect("a property list");
    assert_eq!(
        missing,
        ["WebRtcIPHandling default_public_and_private_interfaces"]
    );
    assert_eq!(surplus, ["WebRtcIPHandling default"]);
    let refused = difference(&edge_plist::TARGET, "bplist00");
    assert!(refused.is_err_and(|error| error.contains("plutil")));
}

#[test]
fn json_of_other_policies_is_left_alone() {
    let text = "{\"HomepageLocation\": \"x\", \"WebRtcIPHandling\": \"default_public_and_private_interfaces\"}";
    let json = |text: &str| difference(&chrome_json::TARGET, text);
    assert_eq!(json(text), Ok([Vec::new(), Vec::new()]));
    let by_url = "{\"WebRtcIPHandlingUrl\": [{\"url\": \"*\", \"handling\": \"default\"}]}";
    let [missing, surplus] = json(by_url).expect("an object");
    assert_eq!((missing.len(), surplus.len()), (1, 1));
    assert!(json("[]").is_err_and(|error| error.contains("one object")));
    assert!(json("{").is_err());
}

//! Configurations of an ASA as they are shown, with several group policies.

use super::TARGET;
use crate::render::{Read, ReadError};

/// The addresses that enter the tunnel for clients of the group policy `name`, IPv4 alone.
fn tunnel(text: &str, name: Option<&str>) -> Result<String, ReadError> {
    let Read::NamedRoutes(read) = TARGET.read else {
        panic!("group policies have names");
    };
    read(text, name).map(|pushed| pushed.tunnel().only_v4().to_string())
}

fn refusal(text: &str, name: Option<&str>) -> String {
    tunnel(text, name).expect_err("it is refused").to_string()
}

const LISTS: &str = "\
: Saved
hostname vpn
object network EDGE
 host 192.0.2.7
object network SALES
 range 10.7.0.0 10.7.1.255
object-group network INSIDE
 description what clients need
 network-object 10.1.0.0 255.255.0.0
 network-object host 10.2.0.5
 group-object MORE
object-group network MORE
 network-object object SALES
access-list INSIDE-ONLY extended permit ip object-group INSIDE any4
access-list MEDIA remark what calls take
access-list MEDIA line 2 extended permit ip 52.112.0.0 255.252.0.0 any4
access-list MEDIA extended permit ip object EDGE any
access-list MEDIA extended permit ip host 192.0.2.9 any4 inactive
access-list OLD permit ip 10.0.0.0 255.0.0.0 any
access-list STD standard permit 10.0.0.0 255.0.0.0
";
const POLICIES: &str = "\
group-policy DfltGrpPolicy attributes
 split-tunnel-policy excludespecified
 split-tunnel-network-list value MEDIA
group-policy STAFF internal
group-policy STAFF attributes
 vpn-filter value STAFF-FILTER
 split-tunnel-policy tunnelspecified
 split-tunnel-network-list value INSIDE-ONLY
group-policy GUESTS internal
group-policy GUESTS attributes
 vpn-idle-timeout 30
group-policy LIKE-STAFF internal from STAFF
group-policy WHOLE attributes
 split-tunnel-policy tunnelall
";
const INSIDE: &str = "10.1.0.0/16, 10.2.0.5/32, 10.7.0.0/23";

#[test]
fn the_group_policy_that_is_named_is_read_with_what_it_inherits() {
    let text = LISTS.to_owned() + POLICIES;
    let of = |name| tunnel(&text, Some(name)).expect("it is read");
    assert_eq!(of("STAFF"), INSIDE);
    assert_eq!(of("LIKE-STAFF"), INSIDE);
    assert_eq!(of("WHOLE"), "0.0.0.0/0");
    let but_media = of("GUESTS");
    assert!(but_media.contains("52.116.0.0/14"), "{but_media}");
    assert!(!but_media.contains("52.112.0.0/14"), "{but_media}");
    assert!(but_media.contains("192.0.2.6/32") && !but_media.contains("192.0.2.7"));
    assert!(
        !but_media.contains("192.0.2.9/32"),
        "one that is inactive splits nothing"
    );
    assert_eq!(of("DfltGrpPolicy"), but_media);
}

#[test]
fn several_group_policies_are_refused_until_one_is_named() {
    let text = LISTS.to_owned() + POLICIES;
    let several = refusal(&text, None);
    assert!(several.contains("there are 4 group policies"), "{several}");
    assert!(
        several.contains("GUESTS, LIKE-STAFF, STAFF, WHOLE"),
        "{several}"
    );
    let unknown = refusal(&text, Some("STAF"));
    assert!(
        unknown.contains("no group policy `STAF`, but: DfltGrpPolicy"),
        "{unknown}"
    );
    let one =
        "group-policy A internal\ngroup-policy A attributes\n split-tunnel-policy tunnelall\n";
    assert_eq!(tunnel(one, None).expect("one is meant"), "0.0.0.0/0");
    let none = refusal("access-list X standard permit 10.0.0.0 255.0.0.0\n", None);
    assert!(
        none.contains("there is no `group-policy NAME attributes`"),
        "{none}"
    );
}

#[test]
fn every_way_to_write_an_entry_is_read_or_refused_with_its_line() {
    let by = |list: &str| {
        format!(
            "{LISTS}group-policy A attributes\nsplit-tunnel-policy tunnelspecified\n split-tunnel-network-list value {list}\n"
        )
    };
    for list in ["OLD", "STD"] {
        assert_eq!(tunnel(&by(list), None).expect(list), "10.0.0.0/8");
    }
    let missing = refusal(&by("NOWHERE"), None);
    assert!(
        missing.contains("there is no access list `NOWHERE` in this file"),
        "{missing}"
    );
    for (entry, why) in [
        (
            "extended permit tcp 10.0.0.0 255.0.0.0 any",
            "only `permit ip`",
        ),
        (
            "extended deny ip 10.0.0.0 255.0.0.0 any",
            "only `permit ip`",
        ),
        (
            "extended permit ip any 10.0.0.0 255.0.0.0",
            "its destination is any",
        ),
        (
            "extended permit ip object-group NONE any",
            "there is no object `NONE`",
        ),
        ("extended permit ip object LOOP any", "contains itself"),
        (
            "extended permit ip object NAMED any",
            "has no addresses that could be compared",
        ),
        ("extended permit ip object TURNED any", "above its last"),
        (
            "standard permit host 13.107.64.0 255.255.192.0",
            "has one network",
        ),
        ("standard permit 10.0.0.1 255.0.0.0", "host bits"),
        ("standard permit 10.0.0.0", "without a network"),
        ("standard permit 10.0.0.0 8", "`8` is not a netmask"),
    ] {
        let text = format!(
            "object network NAMED\n fqdn v4 contoso.com\nobject network TURNED\n range 10.0.0.9 10.0.0.1\n\
             object-group network LOOP\n group-object LOOP\naccess-list X {entry}\n{}",
            by("X")
        );
        let refused = refusal(&text, None);
        assert!(refused.contains(why), "{entry}: {refused}");
    }
}

#[test]
fn names_that_split_the_tunnel_are_said_to_be_left_out() {
    let Read::NamedRoutes(read) = TARGET.read else {
        panic!("group policies have names");
    };
    let text = "group-policy A attributes\n split-tunnel-policy tunnelall\n \
                anyconnect-custom dynamic-split-exclude-domains value zoom\n";
    let left_out = read(text, None).expect("it is read").left_out;
    assert_eq!(left_out.len(), 1);
    assert_eq!(left_out[0].0, 3);
}

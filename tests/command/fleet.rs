//! `offramp fleet` with a folder as the store: what is published arrives, and what is wrong stays out.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::fleet::{Fleet, look, policy};
use crate::support::{Folder, offramp};

/// Returns what the agent's state says of its policy file.
fn state(fleet: &Fleet, gateway: &str) -> serde_json::Value {
    let path = fleet
        .folder
        .path(&format!("{gateway}/policy.toml.fleet/state.json"));
    let text = fs::read(path).expect("an agent has run");
    serde_json::from_slice(&text).expect("it is JSON")
}

/// A fleet whose gateway `vpn1` has the first release; its site file, and its policy file.
fn following(name: &str) -> (Fleet, String, String) {
    let fleet = Fleet::new(name);
    let site = fleet.site("vpn1", &fleet.store, "");
    fleet.publish(&policy("1024-65535"), "stable");
    look(&site).success();
    let before = fleet.policy_file("vpn1");
    (fleet, site, before)
}

#[test]
fn a_policy_that_is_published_arrives_with_what_the_site_adds() {
    let fleet = Fleet::new("fleet_arrives");
    let site = fleet.site("vpn1", &fleet.store, "");
    let published = fleet.publish(&policy("1024-65535"), "stable");
    assert_eq!(
        published,
        "release 1 is published, and the channel stable is at it\n"
    );

    assert_eq!(look(&site).success(), "the policy file has release 1\n");
    let file = fleet.policy_file("vpn1");
    assert!(
        file.starts_with("# Written by `offramp fleet agent`: release 1 of the channel stable")
    );
    assert!(
        file.contains("[vpn]\n") && file.contains("ports = [\"1024-65535\"]"),
        "{file}"
    );
    offramp(&["check", &fleet.policy_of("vpn1")]).success();
    assert_eq!(state(&fleet, "vpn1")["serial"], 1);

    // Another look changes nothing; another release is taken.
    assert_eq!(look(&site).success(), "the policy file has release 1\n");
    fleet.publish(&policy("50000-50059"), "stable");
    assert_eq!(look(&site).success(), "the policy file has release 2\n");
    assert!(fleet.policy_file("vpn1").contains("50000-50059"));
}

#[test]
fn a_credential_that_the_store_does_not_take_is_a_mistake() {
    let key = Folder::new("fleet_credential").write("token", "word");
    for (store, option, remedy) in [
        ("etcd://127.0.0.1:1", "--token-file", "etcd takes `user`"),
        (
            "consul://127.0.0.1:1",
            "--user",
            "Consul takes `token_file`",
        ),
    ] {
        let mut arguments = vec!["fleet", "status", "--store", store, option, &key];
        if option == "--user" {
            arguments.extend(["--user-password-file", &key]);
        }
        let why = offramp(&arguments).error(2);
        assert!(
            why.contains(&format!("{option} has no effect on this store")),
            "{why}"
        );
        assert!(why.contains(remedy), "{why}");
    }
}

#[test]
fn a_policy_that_does_not_hold_with_a_site_file_is_not_published() {
    let fleet = Fleet::new("fleet_not_published");
    let refused = fleet.publish_with(&policy("1-1023"), "stable", &[]);
    assert!(refused.failure(2).contains("test \"a call\" expects drop"));
    let refused = fleet.publish_with("[media]\nport = []\n", "stable", &[]);
    assert!(refused.failure(2).contains("did you mean `ports`?"));
    let both = format!(
        "{}[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n",
        policy("1024-65535")
    );
    let refused = fleet.publish_with(&both, "stable", &[]).failure(2);
    assert!(
        refused.contains("[vpn] stands here, and in line 12 of"),
        "{refused}"
    );
    let alone = fleet.folder.write("alone.toml", policy("1024-65535"));
    let refused = fleet
        .signed(&["publish", &alone, "--channel", "stable"])
        .error(2);
    assert!(
        refused.contains("has no [vpn]") && refused.contains("--site"),
        "{refused}"
    );
    assert!(!fs::exists(fleet.stored("channel")).expect("it can be looked for"));
}

#[test]
fn what_is_not_signed_by_a_trusted_key_stays_out() {
    let (fleet, site, before) = following("fleet_unsigned");

    // Somebody else's release in the same store.
    let other = Fleet::new("fleet_unsigned_other");
    other.publish(&policy("1024-65535"), "stable");
    other.publish(&policy("50000-50059"), "stable");
    let release = fleet.stored("release/2");
    fs::create_dir(&release).expect("a folder");
    for part in ["policy.toml.gz", "manifest", "manifest.minisig"] {
        fs::copy(
            other.stored(&format!("release/2/{part}")),
            format!("{release}/{part}"),
        )
        .expect("both are there");
    }
    fs::write(fleet.stored("channel/stable"), "2\n").expect("a file");
    let refused = look(&site).error(3);
    assert!(
        refused.contains("its signature is not of this manifest"),
        "{refused}"
    );
    assert_eq!(fleet.policy_file("vpn1"), before);
}

#[test]
fn a_policy_that_is_not_the_one_that_was_signed_stays_out() {
    let fleet = Fleet::new("fleet_digest");
    let site = fleet.site("vpn1", &fleet.store, "");
    fleet.publish(&policy("1024-65535"), "stable");
    fleet.publish(&policy("50000-50059"), "stable");
    let (first, second) = (
        fleet.stored("release/1/policy.toml.gz"),
        fleet.stored("release/2/policy.toml.gz"),
    );
    fs::copy(first, second).expect("both are there");
    let refused = look(&site).error(3);
    assert!(refused.contains("its policy has the digest"), "{refused}");
    assert_eq!(fleet.policy_file("vpn1"), "");

    // A whole release in the place of another.
    for part in ["policy.toml.gz", "manifest", "manifest.minisig"] {
        let from = fleet.stored(&format!("release/1/{part}"));
        fs::copy(from, fleet.stored(&format!("release/2/{part}"))).expect("both are there");
    }
    let refused = look(&site).error(3);
    assert!(
        refused.contains("its manifest is that of release 1"),
        "{refused}"
    );
}

#[test]
fn an_earlier_serial_is_no_way_back_and_a_rollback_is() {
    let fleet = Fleet::new("fleet_back");
    let site = fleet.site("vpn1", &fleet.store, "");
    fleet.publish(&policy("1024-65535"), "stable");
    fleet.publish(&policy("50000-50059"), "stable");
    look(&site).success();
    let before = fleet.policy_file("vpn1");
    fs::write(fleet.stored("channel/stable"), "1\n").expect("a file");
    let refused = look(&site).error(3);
    assert!(
        refused.contains("release 1 is earlier than 2, which this gateway has"),
        "{refused}"
    );
    assert_eq!(fleet.policy_file("vpn1"), before);

    fs::write(fleet.stored("channel/stable"), "2\n").expect("a file");
    let back = fleet.signed(&["rollback", "stable", "--to", "1"]).success();
    assert_eq!(
        back,
        "release 3 has the policy of 1, and the channel stable is at it\n"
    );
    look(&site).success();
    assert!(fleet.policy_file("vpn1").contains("1024-65535"));
}

#[test]
fn a_release_that_fails_here_stays_out_and_is_kept_to_be_looked_at() {
    // This site has other clients than those that the policy's test is about.
    let (fleet, site, before) = following("fleet_fails_here");
    let text = fs::read_to_string(&site).expect("it is there");
    fs::write(&site, text.replace("172.16.1.0/24", "172.16.2.0/24")).expect("a file");
    fleet.publish(&policy("50000-50059"), "stable");
    let refused = look(&site).failure(3);
    assert!(
        refused.contains("release 2 does not pass the check"),
        "{refused}"
    );
    assert!(
        refused.contains("test \"a call\" expects drop"),
        "{refused}"
    );
    assert_eq!(fleet.policy_file("vpn1"), before);
    let kept = fleet.folder.path("vpn1/policy.toml.fleet/refused.toml");
    assert!(
        fs::read_to_string(kept)
            .expect("it is kept")
            .contains("172.16.2.0/24")
    );
}

#[test]
fn a_site_file_that_changes_takes_effect_without_a_release() {
    let (fleet, site, _) = following("fleet_site_changes");
    let text = fs::read_to_string(&site).expect("it is there");
    let wider = text.replace("\"172.16.1.0/24\"", "\"172.16.1.0/24\", \"172.16.9.0/24\"");
    fs::write(&site, wider).expect("a file");
    // The store need not have the release any more: it was kept.
    fs::remove_dir_all(fleet.stored("release")).expect("it is there");
    look(&site).success();
    assert!(fleet.policy_file("vpn1").contains("172.16.9.0/24"));

    // Nor does a mistake in it change the policy.
    let before = fleet.policy_file("vpn1");
    fs::write(&site, text.replace("172.16.1.0/24", "172.16.1.0/8")).expect("a file");
    let refused = look(&site).failure(2);
    assert!(refused.contains("host bits"), "{refused}");
    assert_eq!(fleet.policy_file("vpn1"), before);
}

#[test]
fn a_policy_file_that_somebody_has_changed_is_written_again() {
    let (fleet, site, before) = following("fleet_changed_by_hand");
    fs::write(fleet.policy_of("vpn1"), "by hand").expect("a file");
    let said = look(&site);
    assert!(
        said.stderr.contains("is not as it was written"),
        "{}",
        said.stderr
    );
    said.success();
    assert_eq!(fleet.policy_file("vpn1"), before);
}

#[test]
fn a_release_for_a_later_program_or_an_expired_one_is_told() {
    let fleet = Fleet::new("fleet_version");
    let site = fleet.site("vpn1", &fleet.store, "");
    let options = ["--min-version", "99.0.0"];
    fleet
        .publish_with(&policy("1024-65535"), "stable", &options)
        .success();
    let refused = look(&site).error(3);
    assert!(
        refused.contains("it takes offramp 99.0.0 or later"),
        "{refused}"
    );

    // Expired: it is taken, and told.
    fleet
        .publish_with(&policy("1024-65535"), "stable", &["--expires", "0s"])
        .success();
    let said = look(&site);
    assert!(
        said.stderr.contains("release 2 has expired"),
        "{}",
        said.stderr
    );
    said.success();

    let wrong = fleet.publish_with(&policy("1024-65535"), "stable", &["--min-version", "soon"]);
    assert!(wrong.error(2).contains("is no version"));
}

#[test]
fn a_store_that_is_away_or_has_half_a_release_changes_nothing() {
    let fleet = Fleet::new("fleet_away");
    let site = fleet.site("vpn1", &fleet.store, "");
    let missing = look(&site).error(3);
    assert!(missing.contains("the channel has no release"), "{missing}");
    fleet.publish(&policy("1024-65535"), "stable");
    look(&site).success();
    let before = fleet.policy_file("vpn1");

    fleet.publish(&policy("50000-50059"), "stable");
    fs::remove_file(fleet.stored("release/2/manifest.minisig")).expect("it is there");
    let half = look(&site).error(3);
    assert!(
        half.contains("has no offramp/v1/release/2/manifest.minisig"),
        "{half}"
    );
    fs::write(fleet.stored("channel/stable"), "latest").expect("a file");
    let odd = look(&site).error(3);
    assert!(odd.contains("holds no serial of a release"), "{odd}");

    // Not mounted.
    fs::rename(fleet.folder.path("store"), fleet.folder.path("gone")).expect("it is there");
    look(&site).failure(1);
    assert_eq!(fleet.policy_file("vpn1"), before);
}

#[test]
fn a_folder_is_switched_by_a_link_as_kubernetes_does() {
    let fleet = Fleet::new("fleet_config_map");
    fleet.publish(&policy("1024-65535"), "stable");
    let mount = fleet.folder.path("mount");
    fs::create_dir(&mount).expect("a folder");
    // offramp → ..data/offramp, ..data → the folder of a version.
    fs::rename(fleet.folder.path("store"), format!("{mount}/..1")).expect("it is there");
    symlink("..1", format!("{mount}/..data")).expect("a link");
    symlink("..data/offramp", format!("{mount}/offramp")).expect("a link");
    let site = fleet.site("vpn1", &format!("file://{mount}"), "");
    look(&site).success();

    let next = Fleet {
        store: format!("file://{mount}/..2"),
        ..fleet
    };
    let copied = Command::new("cp")
        .args(["-r", &format!("{mount}/..1"), &format!("{mount}/..2")])
        .status();
    assert!(copied.expect("cp is there").success());
    next.publish(&policy("50000-50059"), "stable");
    symlink("..2", format!("{mount}/..new")).expect("a link");
    fs::rename(format!("{mount}/..new"), format!("{mount}/..data")).expect("both are there");
    look(&site).success();
    assert!(next.policy_file("vpn1").contains("50000-50059"));
}

#[test]
fn a_damaged_state_does_not_make_the_agent_forget_its_serial() {
    let (fleet, site, _) = following("fleet_damaged");
    let path = fleet.folder.path("vpn1/policy.toml.fleet/state.json");
    fs::write(path, "{").expect("a file");
    let refused = look(&site).error(1);
    assert!(refused.contains("state.json is damaged"), "{refused}");
}

#[test]
fn promote_asks_gateways_and_a_folder_has_none() {
    let fleet = Fleet::new("fleet_promote");
    fleet.publish(&policy("1024-65535"), "canary");
    let refused = fleet.command(&["promote", "canary", "stable"]);
    assert!(
        refused
            .failure(3)
            .contains("no gateway of the channel canary has reported")
    );
    let moved = fleet
        .command(&["promote", "canary", "stable", "--force"])
        .success();
    assert_eq!(moved, "the channel stable is at release 1, as canary is\n");
    let again = fleet
        .command(&["promote", "canary", "stable", "--force"])
        .error(2);
    assert!(again.contains("is at release 1 already"), "{again}");
    let status = fleet.command(&["status"]).success();
    assert!(status.contains("channel canary: release 1"), "{status}");
    assert!(status.contains("no gateway has reported"), "{status}");

    // Serials rise.
    fleet.publish(&policy("50000-50059"), "stable");
    let refused = fleet
        .command(&["promote", "canary", "stable", "--force"])
        .error(2);
    assert!(refused.contains("rollback canary --to 1"), "{refused}");
}

#[test]
fn keys_are_those_of_minisign_and_are_not_overwritten() {
    let folder = Folder::new("fleet_keys");
    let name = folder.path("contoso");
    let said = offramp(&["fleet", "keygen", "--no-password", &name]).success();
    let public = fs::read_to_string(format!("{name}.pub")).expect("it was made");
    let line = public.lines().nth(1).expect("two lines");
    assert!(line.starts_with("RW") && said.contains(line), "{said}");
    let refused = offramp(&["fleet", "keygen", "--no-password", &name]).error(2);
    assert!(refused.contains("is there already"), "{refused}");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(format!("{name}.key"))
        .expect("it was made")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

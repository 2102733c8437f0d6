//! Enforcement for a limited time, and the difference that a reload makes.

use crate::site::plain::{MEDIA, OFFICE, PlainSite, policy};
use crate::site::{Daemon, in_sandbox, poll};

/// Runs a command that asks the gateway.
fn ask(site: &PlainSite, arguments: &[&str]) -> crate::support::Ended {
    let socket = site.folder.path("control.sock");
    site.offramp(&[arguments, &["--control", &socket]].concat())
}

fn state(site: &PlainSite) -> String {
    let state = &site.status()["enforcement"]["trial"]["state"];
    state.as_str().unwrap_or("none").to_owned()
}

#[test]
fn a_policy_is_enforced_for_a_while_and_then_no_longer_unless_it_is_kept() {
    in_sandbox(&[], || {
        let site = PlainSite::new("trial");
        site.echo(OFFICE, MEDIA);
        let off = "enforce = false\nmetrics = \"127.0.0.1:9464\"";
        let mut gateway = site.start(off);
        assert!(site.is_answered(OFFICE, MEDIA, 100));
        let nothing = ask(&site, &["keep"]).error(1);
        assert!(nothing.contains("nothing is to be kept"), "{nothing}");
        let nothing = ask(&site, &["enforce", "--off"]).error(1);
        assert!(nothing.contains("write `enforce = false`"), "{nothing}");

        let told = ask(&site, &["enforce", "--for", "1h"]).success();
        assert!(
            told.contains("is enforced for 1h; then it is enforced for nobody"),
            "{told}"
        );
        assert!(!site.is_answered(OFFICE, MEDIA, 100), "media is dropped");
        let (code, ready) = site.get("/readyz");
        assert_eq!((code, ready.as_str()), (200, "traffic is judged\n"));
        let (_, metrics) = site.get("/metrics");
        assert!(
            metrics.contains("offramp_trial_left_seconds 3"),
            "{metrics}"
        );
        let status = ask(&site, &["status"]).success();
        assert!(status.contains("ENFORCED FOR A LIMITED TIME: "), "{status}");

        // A reload changes nothing about it, whatever the file says.
        site.folder
            .write("policy.toml", policy(&site.folder, off) + "# the same\n");
        poll("the reload", || {
            (site.status()["generation"] == 2).then_some(())
        });
        assert!(!site.is_answered(OFFICE, MEDIA, 100));

        // Time passes.
        ask(&site, &["enforce", "--for", "1s"]).success();
        poll("the end", || (state(&site) == "over").then_some(()));
        gateway.wait_for_log("the trial has ended, and nobody said `offramp keep`");
        assert!(site.is_answered(OFFICE, MEDIA, 100), "media passes again");
        let (_, ready) = site.get("/readyz");
        assert!(
            ready.contains("the policy is not enforced (its trial has ended)"),
            "{ready}"
        );

        // Also where the file asks for it by now: nobody has said that the trial went well.
        site.folder.write(
            "policy.toml",
            policy(&site.folder, "metrics = \"127.0.0.1:9464\""),
        );
        poll("the reload", || {
            (site.status()["generation"] == 3).then_some(())
        });
        assert!(site.is_answered(OFFICE, MEDIA, 100));
        let told = ask(&site, &["keep"]).success();
        assert!(
            told.ends_with("stays enforced until offramp ends\n"),
            "{told}"
        );
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        assert_eq!(state(&site), "kept");
        let told = ask(&site, &["enforce", "--off"]).success();
        assert!(told.contains("is enforced no longer"), "{told}");
        assert!(site.is_answered(OFFICE, MEDIA, 100));
        assert_eq!(gateway.terminate().code(), Some(0));

        // After a restart the file alone counts.
        let mut gateway = site.start_again("second.log");
        assert_eq!(state(&site), "none");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        let refused = ask(&site, &["enforce", "--for", "10m"]).error(1);
        assert!(
            refused.contains("is enforced already, without an end"),
            "{refused}"
        );
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn a_start_may_be_for_a_while_and_keep_says_what_the_file_says() {
    in_sandbox(&[], || {
        let site = PlainSite::new("run_for");
        site.echo(OFFICE, MEDIA);
        site.folder
            .write("policy.toml", policy(&site.folder, "enforce = false"));
        let file = site.folder.path("policy.toml");
        let mut gateway = Daemon::start(
            &site.concentrator,
            "offramp run",
            site.folder.path("gateway.log"),
            &mut crate::support::program(&["run", &file, "--for", "1h"]),
        );
        gateway.wait_for_log(" ready: ");
        gateway.wait_for_log(
            "the policy is enforced for 1h, and then no longer, unless `offramp keep` is said",
        );
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        let told = ask(&site, &["keep"]).success();
        assert!(
            told.contains("The file says `enforce = false`, and that counts at the next start"),
            "{told}"
        );
        gateway.wait_for_log("says `enforce = false`, and that counts at the next start");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        let status = ask(&site, &["status"]).success();
        assert!(
            status.contains("`offramp keep` was said; the file says `enforce = false`"),
            "{status}"
        );
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

/// The policy of the site, where media is recognized, a service is allowed, and a name is pinned.
fn changed(site: &PlainSite) -> String {
    policy(&site.folder, "metrics = \"127.0.0.1:9464\"")
        + "[media]\nmatch = \"ice\"\n\
           [[server]]\nname = \"pool\"\naddresses = [\"10.1.0.10\"]\n\
           [[public]]\nname = \"Access Edge\"\naddresses = [\"192.0.2.7\"]\nhosts = [\"sip.contoso.com\"]\n\
           [dns]\nlisten = [\"127.0.0.1:5353\"]\nupstreams = [\"10.0.0.53\"]\n"
}

#[test]
fn a_reload_tells_what_it_would_change_and_what_it_has_changed() {
    in_sandbox(&[], || {
        let site = PlainSite::new("difference");
        let mut gateway = site.start("");
        let same = ask(&site, &["reload", "--dry-run"]);
        assert_eq!(same.code, Some(0));
        assert!(
            same.stdout.contains("a reload would change nothing"),
            "{same:?}"
        );

        // The file of another name does not trigger a reload: it is renamed below.
        let file = site.folder.path("policy.toml");
        std::fs::copy(&file, site.folder.path("before.toml")).expect("a file");
        let bad = site.folder.write("policy.toml", "[vpn]\n");
        let refused = ask(&site, &["reload", "--dry-run"]).failure(2);
        assert!(refused.contains("client_subnets"), "{refused}");
        poll("the refusal", || {
            (site.status()["reloads"]["refused"] == 1).then_some(())
        });
        let refused = ask(&site, &["reload"]).failure(2);
        assert!(refused.contains("generation 1 stays in force"), "{refused}");
        assert!(std::path::Path::new(&bad).exists());

        site.folder.write("policy.toml", changed(&site));
        let told = ask(&site, &["reload"]).success();
        let lines = [
            "[media] match: \"ports\" becomes \"ice\"",
            "[[server]] \"pool\" is new: addresses = [\"10.1.0.10/32\"]",
            "verdict: 0-1023 forward default, 1024-65535 drop media becomes drop servers\n  10.1.0.10/32",
            "name sip.contoso.com: forwarded becomes pinned to 192.0.2.7",
            "gateway.metrics takes effect at the next start of offramp",
            "dns.listen takes effect at the next start of offramp",
        ];
        // Whichever came first, the file watch or the request: one of the two tells it.
        let log = || std::fs::read_to_string(site.folder.path("gateway.log")).expect("a log");
        if !told.contains("says the same as before") {
            for line in lines {
                assert!(told.contains(line), "{line} is missing in\n{told}");
            }
        }
        let wanted = "changed: name sip.contoso.com: forwarded becomes pinned to 192.0.2.7";
        poll("the log", || log().contains(wanted).then_some(()));
        let again = ask(&site, &["reload", "--dry-run", "--json"]).json();
        assert_eq!(again["difference"]["names"], serde_json::json!([]));

        std::fs::rename(site.folder.path("before.toml"), &file).expect("a file");
        let generation = || site.status()["generation"].as_u64().expect("a number");
        let before = generation();
        poll("the way back", || (generation() > before).then_some(()));
        let wanted = "changed: name sip.contoso.com: pinned to 192.0.2.7 becomes forwarded";
        poll("the log", || log().contains(wanted).then_some(()));
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn many_requests_for_a_reload_are_all_answered() {
    in_sandbox(&[], || {
        let site = PlainSite::new("many_reloads");
        let mut gateway = site.start("");
        std::thread::scope(|scope| {
            let asks: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| ask(&site, &["reload"])))
                .collect();
            for asked in asks {
                let told = asked.join().expect("no panic").success();
                assert!(told.contains("says the same as before"), "{told}");
            }
        });
        // The loads that were asked for while another ran were taken together.
        let taken = site.status()["reloads"]["taken"]
            .as_u64()
            .expect("a number");
        assert!((1..=8).contains(&taken), "{taken}");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

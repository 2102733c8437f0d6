//! The status page in a real browser: what it shows, that it changes by itself, and that everybody can use it.

mod browser;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::site::plain::{self, CLIENT, DNS, ELSEWHERE, MEDIA, OFFICE, PlainSite};
use crate::site::{in_sandbox, poll};
use crate::support::{project, skip};
use browser::Browser;

/// `[gateway]` with a page, and the rest of a policy that has something in every part of it.
const PAGE: &str = "page = \"127.0.0.1:9465\"
[[server]]
name = \"Front End\"
addresses = [\"10.1.0.10\"]
[[allow]]
name = \"Remote Desktop to the jump hosts\"
to = [\"10.9.0.0/24\"]
ports = [\"3389\"]
[[public]]
name = \"A/V Edge\"
addresses = [\"192.0.2.7\"]
";

const URL: &str = "http://127.0.0.1:9465/";

/// Has a packet of RDP dropped, and one for each of the other parts.
fn send_some(site: &PlainSite) {
    site.client.ip("route add 172.16.1.99/32 via 172.16.1.1");
    site.send(OFFICE, MEDIA, 40, 200);
    site.send(OFFICE, 3_389, 3, 20);
    site.send("172.16.1.99", 3_389, 2, 20);
    site.send("10.1.0.10", 5_061, 5, 20);
    site.send(ELSEWHERE, 3_478, 4, 20);
    site.send(OFFICE, DNS, 1, 20);
}

/// Asks the page without a browser; returns the answer.
fn get(site: &PlainSite, path: &str, host: &str) -> String {
    let mut answer = String::new();
    site.concentrator.enter(|| {
        let mut stream = TcpStream::connect("127.0.0.1:9465").expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        stream.read_to_string(&mut answer).expect("it answers");
    });
    answer
}

/// The script of axe-core, which `tests/run` fetches; `None` if it is not there.
#[track_caller]
fn axe() -> Option<String> {
    let path = project("target/axe-core/axe.min.js");
    let read = fs::read_to_string(&path).ok();
    if read.is_none() {
        skip(&format!(
            "there is no {}: tests/run fetches it",
            path.display()
        ));
    }
    read
}

/// The rules of axe-core that the page breaks, each with the elements.
const RUN_AXE: &str = "axe.run().then((it) => it.violations.map(
    (broken) => broken.id + ': ' + broken.nodes.map((node) => node.html + ' ' + node.failureSummary).join(' | ')))";

#[test]
fn a_browser_shows_the_state_and_follows_it_without_a_reload() {
    in_sandbox(&["chromium"], || {
        let site = PlainSite::new("page_live");
        let mut gateway = site.start(PAGE);
        let mut browser = Browser::start(&site.concentrator, &site.folder);
        browser.open(URL);
        browser.wait_for("document.querySelector('.standing').textContent.startsWith('Working')");
        browser.wait_for("document.getElementById('freshness').textContent.startsWith('Updated')");
        // Gone if the page were loaded again.
        browser.evaluate("window.isStillHere = true");
        let text = browser.evaluate("document.getElementById('effect').innerText");
        assert!(!text.to_string().contains("Media to offices"), "{text}");

        send_some(&site);
        let row = |words: &str, cell: &str| {
            format!(
                "[...document.querySelectorAll('#effect tr')].some((row) => \
                 row.innerText.includes('{words}') && [...row.cells].some((it) => it.innerText === '{cell}'))"
            )
        };
        browser.wait_for(&row("Media to offices", "43"));
        browser.wait_for(&row("Media between clients", "2"));
        browser.wait_for(&row("To the Lync servers", "5"));
        browser.wait_for(&row("A/V Edge", "4"));
        let entries =
            "[...document.querySelectorAll('#losses pre')].map((it) => it.innerText).join()";
        browser.wait_for(&format!("{entries}.includes('to = [\"10.20.0.7\"]')"));
        browser.wait_for(&format!("{entries}.includes('to = [\"clients\"]')"));
        site.send(OFFICE, MEDIA, 7, 200);
        browser.wait_for(&row("Media to offices", "50"));
        browser.wait_for("window.isStillHere === true");
        browser.wait_for("document.getElementById('agreement').innerText.includes('gree')");

        // The form has an example of its own.
        let page = "[...document.querySelectorAll('section:not(#explain), footer')].map((it) => it.outerHTML).join()";
        let page = browser.evaluate(page);
        let page = page.as_str().expect("HTML");
        assert!(
            !page.contains(CLIENT) && !page.contains("172.16.1.99"),
            "{page}"
        );
        assert_eq!(browser.complaints(), [] as [String; 0]);
        let requests = browser.requests();
        let is_own = |it: &String| it.starts_with(URL) || it.starts_with("data:");
        assert!(requests.iter().all(is_own), "{requests:?}");

        // A change of the policy is followed, too.
        let changed = PAGE.replace("page = ", "enforce = false\npage = ");
        site.folder
            .write("policy.toml", plain::policy(&site.folder, &changed));
        gateway.signal("HUP");
        browser
            .wait_for("document.querySelector('.standing').textContent.startsWith('Not enforced')");
        assert_eq!(
            site.offramp(&[
                "bypass",
                "on",
                "--control",
                &site.folder.path("control.sock")
            ])
            .code,
            Some(0)
        );
        browser.wait_for("document.querySelector('.standing').textContent.startsWith('Bypassed')");

        // A page without its gateway says so.
        gateway.terminate();
        browser.wait_for("document.getElementById('freshness').classList.contains('stale')");
    });
}

#[test]
fn everybody_can_use_it_in_any_color_at_any_width_and_by_the_keyboard() {
    in_sandbox(&["chromium"], || {
        let Some(axe) = axe() else { return };
        let site = PlainSite::new("page_access");
        let _gateway = site.start(PAGE);
        send_some(&site);
        let mut browser = Browser::start(&site.concentrator, &site.folder);
        let asked = format!("{URL}?from=172.16.1.10&to=10.20.0.7");
        for url in [URL, &asked] {
            browser.open(url);
            browser.wait_for("document.querySelectorAll('#losses pre').length > 1");
            browser.evaluate(&axe);
            for scheme in ["light", "dark"] {
                for width in [360, 1_440] {
                    browser.look(width, scheme);
                    browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
                    let broken = browser.evaluate(RUN_AXE);
                    assert_eq!(broken, json!([]), "{url}, {scheme}, {width}");
                    let is_wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
                    assert_eq!(browser.evaluate(is_wider), false, "{url}, {width}");
                    let name = if url == URL { "page" } else { "explain" };
                    browser.picture(&format!("{name}-{scheme}-{width}"));
                }
            }
        }

        // Tab reaches everything, in the order of the page, and what it reaches is outlined.
        browser.open(URL);
        browser.look(1_440, "light");
        let wanted = "document.querySelectorAll('a, input, select, button, pre[tabindex]').length";
        let wanted = browser.evaluate(wanted).as_u64().expect("a number");
        assert!(wanted > 10, "{wanted}");
        let mut reached = 0;
        let mut last = -1;
        loop {
            browser.press("Tab", 9);
            let at = browser.evaluate(
                "(() => { const all = [...document.querySelectorAll('a, input, select, button, pre[tabindex]')]; \
                 const it = document.activeElement; if (it === document.body) return -1; \
                 return getComputedStyle(it).outlineStyle === 'none' ? -2 : all.indexOf(it); })()",
            );
            let at = at.as_i64().expect("a number");
            assert_ne!(at, -2, "no outline behind {last}");
            if at <= last {
                break;
            }
            last = at;
            reached += 1;
        }
        assert_eq!(reached, wanted);
    });
}

#[test]
fn without_scripts_the_page_and_its_explanations_are_whole() {
    in_sandbox(&["chromium"], || {
        let site = PlainSite::new("page_plain");
        let _gateway = site.start(PAGE);
        let mut browser = Browser::start(&site.concentrator, &site.folder);
        browser.call(
            "Emulation.setScriptExecutionDisabled",
            json!({ "value": true }),
        );
        browser.open(&format!(
            "{URL}?from=172.16.1.10&to=10.1.0.10%3A5061&protocol=tcp"
        ));
        let root = browser.call("DOM.getDocument", json!({}));
        let page = browser.call(
            "DOM.getOuterHTML",
            json!({ "nodeId": root["root"]["nodeId"] }),
        );
        let page = page["outerHTML"].as_str().expect("HTML");
        for part in [
            "Working: traffic is judged",
            "drop servers",
            "policy.toml:",
            "[[server]] \"Front End\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("class=\"scripted\""), "{page}");
    });
}

#[test]
fn a_website_that_rebinds_its_name_gets_nothing() {
    in_sandbox(&[], || {
        let site = PlainSite::new("page_hosts");
        let _gateway = site.start(PAGE);
        assert!(get(&site, "/", "localhost").starts_with("HTTP/1.1 200"));
        for path in ["/", "/events", "/?from=172.16.1.10&to=10.1.0.10"] {
            let answer = get(&site, path, "rebound.example:9465");
            assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
            assert!(!answer.contains("Front End"), "{answer}");
        }
    });
}

#[test]
fn a_reload_leaves_the_page_where_it_is_and_says_so() {
    in_sandbox(&[], || {
        let site = PlainSite::new("page_reload");
        let mut gateway = site.start(PAGE);
        let moved = PAGE.replace("9465", "9466");
        site.folder
            .write("policy.toml", plain::policy(&site.folder, &moved));
        gateway.signal("HUP");
        gateway.wait_for_log("gateway.page takes effect at the next start of offramp");
        poll("the next generation", || {
            get(&site, "/", "localhost")
                .contains("generation 2")
                .then_some(())
        });
    });
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_the_key_to_change() {
    in_sandbox(&[], || {
        let site = PlainSite::new("page_taken");
        let _taken = site
            .concentrator
            .enter(|| TcpListener::bind("127.0.0.1:9465").expect("a free port"));
        site.folder
            .write("policy.toml", plain::policy(&site.folder, PAGE));
        let mut gateway = site.start_quietly("gateway.log");
        assert!(!gateway.wait().success());
        let log = gateway.log();
        assert!(
            log.contains("cannot serve the status page at 127.0.0.1:9465"),
            "{log}"
        );
        assert!(log.contains("[gateway] page = "), "{log}");
    });
}

//! Tests of zone files: how they are read, and what servers answer from them.

use super::*;
use crate::verify::against::files::{Files, Loader};

struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            "zones/more.db" => Ok(b"more A 10.0.0.2\n".to_vec()),
            "zones/circle.db" => Ok(b"$INCLUDE circle.db\n".to_vec()),
            _ => Err("there is no such file".to_owned()),
        }
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Err("there is no such folder".to_owned())
    }
}

const HEAD: &str = "@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 10.0.0.1\n";

fn name(text: &str) -> DnsName {
    text.parse().expect("a name")
}

/// Reads a zone `x.test`; returns it, and the words that were noted.
fn zone(text: &str) -> (Option<Zone>, Vec<String>) {
    let loader = Loader::new(&Disk, "");
    let source = Source {
        text,
        file: "x.db",
        folder: "zones",
    };
    let zone = read(&source, name("x.test"), &loader);
    let noted = loader.unread().into_iter().map(|it| it.word);
    (zone, noted.collect())
}

/// Returns what a zone answers for addresses, in a word.
fn answer(text: &str, asked: &str) -> String {
    let (zone, noted) = zone(&format!("{HEAD}{text}"));
    assert_eq!(noted, [""; 0], "{text}");
    let zone = zone.expect("it has a start of authority");
    match zone.lookup(&name(asked), Asked::A, Wildcards::OfEncloser) {
        Found::Reply(Reply::Addresses(list)) => list[0].to_string(),
        Found::Reply(Reply::NoData) => "no data".to_owned(),
        Found::Reply(Reply::NxDomain) => "no name".to_owned(),
        Found::Alias(target) => format!("-> {target}"),
        Found::Delegated => "delegated".to_owned(),
        Found::Reply(reply) => format!("{reply:?}"),
    }
}

#[test]
fn records_are_read_in_every_form() {
    for text in [
        "a A 10.0.0.9\n",
        "a 60 IN A 10.0.0.9\n",
        "a in 1h30m a 10.0.0.9\n",
        "a.x.test. A ( 10.0.0.9 ) ; comment\n",
        "$ORIGIN test.\na.x 1W A 10.0.0.9\n",
        "b TXT ( \"; (\"\n \"x\" )\n$TTL 1d\na A (\n10.0.0.9\n)\n",
        "\\097 A 10.0.0.9\n",
        "a TXT x\n\tA 10.0.0.9\n",
        "$GENERATE 9-9 a A 10.0.0.$\n",
    ] {
        assert_eq!(answer(text, "a.x.test"), "10.0.0.9", "{text}");
    }
    assert_eq!(answer("$INCLUDE more.db\n", "more.x.test"), "10.0.0.2");
    assert_eq!(
        answer(
            "$INCLUDE \"more.db\" sub\na A 10.0.0.9\n",
            "more.sub.x.test"
        ),
        "10.0.0.2"
    );
}

#[test]
fn names_are_found_as_by_an_authoritative_server() {
    let text = "a.b TXT x\n*.b A 10.0.0.9\nc CNAME a.b\nd NS elsewhere.\ne DNAME f.example.\n* A 10.0.0.8\nother.test. A 10.0.0.7\n";
    for (asked, wanted) in [
        ("a.b.x.test", "no data"),
        ("b.x.test", "no data"),
        ("q.b.x.test", "10.0.0.9"),
        ("q.a.b.x.test", "no name"),
        ("c.x.test", "-> a.b.x.test"),
        ("d.x.test", "delegated"),
        ("q.d.x.test", "delegated"),
        ("q.e.x.test", "-> q.f.example"),
        ("e.x.test", "no data"),
        ("z.x.test", "10.0.0.8"),
        ("x.test", "no data"),
    ] {
        assert_eq!(answer(text, asked), wanted, "{asked}");
    }
}

#[test]
fn wildcards_of_unbound_reach_across_empty_names() {
    let (zone, _) = zone(&format!("{HEAD}a.b TXT x\n* A 10.0.0.8\n"));
    let zone = zone.expect("it has a start of authority");
    let asked = name("q.b.x.test");
    let address = Found::Reply(Reply::Addresses(vec![
        "10.0.0.8".parse().expect("an address"),
    ]));
    assert_eq!(
        zone.lookup(&asked, Asked::A, Wildcards::AcrossEmpty),
        address
    );
    assert_eq!(
        zone.lookup(&asked, Asked::A, Wildcards::OfEncloser),
        Found::Reply(Reply::NxDomain)
    );
}

#[test]
fn lines_that_cannot_be_read_are_noted() {
    for (text, word) in [
        ("a A 10.0.0.300\n", "10.0.0.300"),
        ("a WHAT x\n", "WHAT"),
        ("a TYPE1 \\# 4 0a000001\n", "TYPE1"),
        ("$INCLUDE none.db\n", "$INCLUDE"),
        ("$INCLUDE circle.db\n", "$INCLUDE"),
        ("$GENERATE 1-2/0 a$ A 10.0.0.$\n", "$GENERATE"),
        ("$WHAT x\n", "$WHAT"),
        ("a TXT \"x\n", "a"),
        ("a TXT ( x\n", "a"),
        ("a..b A 10.0.0.1\n", "a..b"),
    ] {
        let (_, noted) = zone(&format!("{HEAD}{text}"));
        assert_eq!(noted, [word], "{text}");
    }
    assert_eq!(zone("a A 10.0.0.1\n").0, None);
}

#[test]
fn zones_that_bind_does_not_load_have_a_defect() {
    for (text, has_defect) in [
        ("@ SOA ns h 1 2 3 4 5\nns A 10.0.0.1\n", true),
        ("@ SOA ns h 1 2 3 4 5\n@ NS ns\n", true),
        (HEAD, false),
        (&format!("{HEAD}a CNAME b\na A 10.0.0.1\n"), true),
        (&format!("{HEAD}a CNAME b\na CNAME c\n"), true),
        (&format!("{HEAD}_a A 10.0.0.1\n"), true),
        (&format!("{HEAD}gc._msdcs A 10.0.0.1\n_a TXT x\n"), false),
    ] {
        let zone = zone(text).0.expect("it has a start of authority");
        let defect = zone.defect(Checks::ZoneAndNames);
        assert_eq!(defect.is_some(), has_defect, "{text}: {defect:?}");
        assert_eq!(zone.defect(Checks::None), None);
    }
}

//! Policies that are refused: each file in `tests/refused/` with its expected report in `tests/snapshots/`.
//!
//! To add a case, add a file and accept its snapshot.

use offramp::policy::{self, Code, Diagnostics, Severity, Style};

fn refusal(text: &[u8]) -> Diagnostics {
    match policy::parse("policy.toml", text) {
        Ok((policy, _)) => panic!("accepted:\n{policy}"),
        Err(errors) => errors,
    }
}

fn messages(diagnostics: &Diagnostics) -> Vec<(Code, &str)> {
    let errors = diagnostics
        .iter()
        .filter(|item| item.severity() == Severity::Error);
    errors.map(|item| (item.code(), item.message())).collect()
}

#[test]
fn every_mistake_of_a_file_is_drawn_where_it_stands() {
    let cases = crate::cases("refused");
    assert!(cases.len() >= 25, "only {} cases found", cases.len());
    for (name, text) in cases {
        insta::assert_snapshot!(name, refusal(&text).render(Style::Plain));
    }
}

#[test]
fn the_misprint_of_the_article_gets_both_readings() {
    let errors = refusal(include_bytes!("../refused/host_bits_of_the_article.toml"));
    let expected =
        "prefix 172.16.1.0/8 has host bits set; did you mean 172.16.1.0/24 or 172.0.0.0/8?";
    assert_eq!(messages(&errors), [(Code::HostBits, expected)]);
    let item = errors.iter().next().expect("asserted just above");
    assert_eq!((item.line(), item.column()), (2, 19));
    assert_eq!(
        &errors.source()[item.labels()[0].span()],
        "\"172.16.1.0/8\""
    );
}

#[test]
fn a_feed_over_a_server_is_refused_and_names_both() {
    let read = |feed: &str| {
        let text = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[[server]]\nname = \"Pool\"\naddresses = [\"20.40.7.10\"]\n\
             [[feed]]\nname = \"Vendor\"\nformat = \"prefixes\"\nfile = \"list.txt\"\n{feed}"
        );
        let (mut policy, _) = policy::parse("policy.toml", text.as_bytes()).expect("a policy");
        let taken = policy.take_feed(0, b"20.41.0.0/16\n20.40.7.0/24\n");
        taken.map(|_| policy).map_err(|error| error.to_string())
    };
    let expected = "line 2: 20.40.7.0/24 overlaps 20.40.7.10/32 of [[server]] \"Pool\", and public services come first: \
                    packets to the server would be forwarded; take the address out of the [[server]] if it is public, or accept \
                    that with server_prefixes = \"accept\"";
    assert_eq!(read("").map(|_| ()), Err(expected.to_owned()));
    let accepted = read("server_prefixes = \"accept\"").expect("it is accepted");
    let taken = accepted.feeds[0].prefixes.as_ref();
    assert_eq!(taken.map(Vec::len), Some(2));
}

#[test]
fn bytes_that_are_not_utf8_are_named_with_offset_and_line() {
    let errors = refusal(b"[vpn]\n# B\xfcro\nclient_subnets = [\"172.16.1.0/8\"]\n");
    let codes: Vec<_> = messages(&errors);
    assert_eq!(
        codes[0],
        (Code::NotUtf8, "byte 0xfc at offset 9 (line 2) is not UTF-8")
    );
    assert_eq!(
        codes[1].0,
        Code::HostBits,
        "the rest of the file is read all the same"
    );
    assert_eq!(codes.len(), 2);
}

#[test]
fn a_file_in_another_encoding_gets_one_message() {
    let utf16: Vec<u8> = "\u{feff}[vpn]\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(
        messages(&refusal(&utf16)),
        [(Code::NotUtf8, "the file is UTF-16, not UTF-8")]
    );
    let noise = [0xff_u8; 4096].map(|byte| byte - 1);
    let errors = refusal(&noise);
    let wrong = messages(&errors)
        .iter()
        .filter(|(code, _)| *code == Code::NotUtf8)
        .count();
    assert_eq!(wrong, 1, "{errors}");
}

#[test]
fn nul_bytes_are_a_damaged_file() {
    let errors = refusal(b"[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n\0\0\0\0");
    let expected = "NUL byte at offset 41 (line 3), 4 in all: the file is damaged or not text";
    assert_eq!(messages(&errors), [(Code::NulByte, expected)]);
}

#[test]
fn a_file_beyond_the_cap_is_not_read() {
    let large = vec![b'#'; policy::MAX_FILE_SIZE + 1];
    let errors = refusal(&large);
    assert_eq!(messages(&errors).len(), 1);
    assert_eq!(messages(&errors)[0].0, Code::FileTooLarge);
}

#[test]
fn a_million_mistakes_are_counted_not_kept() {
    let mut text = String::from("[vpn]\nclient_subnets = [\n");
    (0..policy::MAX_DIAGNOSTICS + 5).for_each(|_| text.push_str("\"10.0.0.1/8\",\n"));
    text.push_str("]\n");
    let errors = refusal(text.as_bytes());
    assert_eq!(
        (errors.len(), errors.omitted()),
        (policy::MAX_DIAGNOSTICS, 5)
    );
    assert!(errors.to_string().ends_with("policy.toml: and 5 more"));
}

#[test]
fn a_mistake_on_a_line_of_a_megabyte_is_drawn_with_its_surroundings() {
    let good = "\"10.0.0.0/8\", ".repeat(100_000);
    let text = format!("[vpn]\nclient_subnets = [{good}\"10.0.0.1/8\", {good}]\n");
    let report = refusal(text.as_bytes()).render(Style::Plain);
    assert!(report.contains("10.0.0.1/8"));
    assert!(report.contains("(column 1400019 of the line)"), "{report}");
    assert!(report.len() < 64 << 10, "{} bytes", report.len());
}

#[test]
fn a_report_in_color_says_the_same() {
    let errors = refusal(b"[vpn]\nclient_subnets = [\"172.16.1.0/8\"]\n");
    let colored = errors.render(Style::Colored);
    assert!(colored.contains("\u{1b}["));
    assert!(!errors.render(Style::Plain).contains('\u{1b}'));
}

#[test]
fn the_display_of_a_refusal_is_one_line_for_each_mistake() {
    let errors = refusal(b"[vpn]\nclient_subnets = [\"172.16.1.0/8\", \"x\"]\n");
    let expected = "policy.toml:2:19: error: prefix 172.16.1.0/8 has host bits set; did you mean 172.16.1.0/24 or 172.0.0.0/8?\n\
                    policy.toml:2:35: error: `x` is not an address";
    assert_eq!(errors.to_string(), expected);
}

//! Feeds arbitrary bytes to the reader: no panic, spans inside the text, and accepted policies survive printing.

use offramp::policy::reference::fuzz_text;
use proptest::prelude::*;

/// Fragments of policies, valid and invalid.
const PIECES: &[&str] = &[
    "[vpn]\n",
    "[corporate]\n",
    "[media]\n",
    "[filter]\n",
    "[routes]\n",
    "[dns]\n",
    "[gateway]\n",
    "[[server]]\n",
    "[[allow]]\n",
    "[[public]]\n",
    "[[feed]]\n",
    "[[endpoint]]\n",
    "[[test]]\n",
    "lookup = \"sip.contoso.com\"\n",
    "expect = \"resolves\"\n",
    "[vpn",
    "[[",
    "]]",
    "vpn.",
    "= ",
    "\n",
    "\r\n",
    "\u{feff}",
    "#",
    "'''",
    "\"\"\"",
    "\\",
    "\0",
    "é",
    "{",
    "}",
    ",",
    "[",
    "]",
    "\"",
    "'",
    "client_subnets = [\"172.16.1.0/24\", \"fd00::/8\"]\n",
    "client_subnets = [\"10.0.0.1/8\"]\n",
    "client_subnets = [\n\"0.0.0.0/0\",\n",
    "interfaces = [\"tun0\", \"vpns*\"]\n",
    "subnets = [\"10.0.0.0/8\"]\n",
    "subnets = []\n",
    "dns_servers = [\"10.0.0.53\"]\n",
    "ports = [\"1024-65535\", \"53\"]\n",
    "ports = [3389]\n",
    "match = \"ports\"\n",
    "match = \"ice\"\n",
    "name = \"a \\\"b\\\" \\\\ é\"\n",
    "name = 'x'\n",
    "addresses = [\"10.1.0.0/28\"]\n",
    "addresses = [\"167.55.49.32\"]\n",
    "hosts = [\"sip.contoso.com\"]\n",
    "to = [\"10.9.0.0/24\"]\n",
    "to = [\"10.0.0.0/8\", \"clients\"]\n",
    "protocols = [\"udp\"]\n",
    "from_ports = [\"1-1023\"]\n",
    "lifts = [\"media\", \"servers\"]\n",
    "srv = [{ name = \"_sip._tls.a.b\", target = \"a.b\", port = 443 }]\n",
    "format = \"microsoft-365\"\n",
    "format = \"prefixes\"\n",
    "file = \"m.json\"\n",
    "service_areas = [\"Skype\"]\n",
    "categories = [\"Optimize\"]\n",
    "tunnel = \"full\"\n",
    "listen = [\"172.16.1.1:53\"]\n",
    "sip_domains = [\"contoso.com\"]\n",
    "upstreams = [\"10.0.0.53\", \"[::1]:5353\"]\n",
    "clients = [\"172.16.1.0/24\"]\n",
    "ttl_seconds = 5\n",
    "queries_per_second = 10\n",
    "cache_entries = 0\n",
    "query_log = \"-\"\n",
    "canaries = [\"private-relay\"]\n",
    "divert = \"all\"\n",
    "workers = 0x10\n",
    "realtime = 50\n",
    "cpus = [0, 3]\n",
    "on_failure = \"closed\"\n",
    "metrics = \"[::1]:9464\"\n",
    "drop_log = \"/x.jsonl\"\n",
    "drop_log_rate = 100\n",
    "require_interfaces = 30\n",
    "without_interfaces = \"exit\"\n",
    "programs = ['C:\\x.exe']\n",
    "profile = \"domain\"\n",
    "interface_type = \"wired\"\n",
    "from = \"172.16.1.10:50000\"\n",
    "to = \"10.1.0.10:443\"\n",
    "to = \"[2001:db8::1]:443\"\n",
    "protocol = \"udp\"\n",
    "protocol = \"icmp\"\n",
    "expect = \"drop media\"\n",
];

/// Bytes inserted in the wrong place.
const DAMAGE: &[&[u8]] = &[
    b"\"",
    b"]",
    b"[",
    b"\n",
    b"\xff",
    b"\0",
    b"=",
    b"0",
    b"\\",
    b"\xef\xbb\xbf",
    b"\r",
];

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(PIECES);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Returns a policy that is mostly valid, so that reading, checking and printing are all reached.
fn nearly_right() -> impl Strategy<Value = String> {
    let head = "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"fd00::/8\"]\n";
    let sections: &[&str] = &[
        "[corporate]\nsubnets = [\"10.0.0.0/8\", \"fd00::/16\"]\ndns_servers = [\"10.0.0.53\"]\n",
        "[media]\nports = [\"1024-65535\"]\n",
        "[filter]\nunknown_source = \"drop\"\nleaked_public = \"drop\"\n",
        "[[server]]\nname = \"s\"\naddresses = [\"10.1.0.0/28\", \"167.55.49.33\"]\nhosts = [\"a.b\"]\n",
        "[[server]]\nname = \"t \\\" \\\\ é\"\naddresses = [\"0.0.0.0/0\"]\n",
        "[[allow]]\nname = \"a\"\nto = [\"10.9.0.0/24\"]\nports = [\"3389\"]\nfrom_ports = [\"1-1023\"]\n",
        "[[allow]]\nname = \"b\"\nto = [\"10.1.0.0/28\"]\nlifts = [\"servers\"]\nprotocols = [\"tcp\"]\n",
        "[[public]]\nname = \"p\"\naddresses = [\"167.55.49.32/30\"]\nsrv = [{ name = \"_sip._tls.a.b\", target = \"a.b\", port = 443 }]\n",
        "[[feed]]\nname = \"f\"\nformat = \"microsoft-365\"\nfile = \"m.json\"\ncategories = [\"Allow\"]\n",
        "[[feed]]\nname = \"g\"\nformat = \"prefixes\"\nfile = \"z.txt\"\n",
        "[routes]\ntunnel = \"full\"\n",
        "[dns]\nlisten = [\"172.16.1.1:53\"]\nsip_domains = [\"contoso.com\"]\nttl_seconds = 5\ncanaries = []\n\
         upstreams = [\"10.0.0.53:5353\"]\nclients = [\"172.16.1.0/25\"]\ncache_entries = 0\nqueries_per_second = 7\nquery_log = \"/x.jsonl\"\nquery_log_rate = 7\n",
        "[[public]]\nname = \"q\"\naddresses = [\"167.55.49.32\"]\nhosts = [\"sip.a.b\", \"autodiscover.a.b\"]\n",
        "[gateway]\nworkers = 4\nrealtime = 10\ncpus = [2, 3]\nmetrics = \"[::1]:9464\"\ndivert = \"all\"\non_failure = \"closed\"\ndrop_log = \"-\"\ndrop_log_rate = 7\nrequire_interfaces = 30\nwithout_interfaces = \"exit\"\n",
        "[[endpoint]]\nname = \"e\"\nprograms = ['C:\\x.exe']\nprofile = \"domain\"\ninterface_type = \"wired\"\n",
        "[[test]]\nname = \"t\"\nfrom = \"172.16.1.10\"\nto = \"10.1.0.10:443\"\nprotocol = \"tcp\"\nexpect = \"drop\"\n",
        "[[test]]\nname = \"n\"\nlookup = \"_sip._tls.contoso.com\"\ntype = \"SRV\"\nexpect = \"hidden\"\n",
        "[[test]]\nname = \"o\"\nlookup = \"sip.contoso.com\"\nexpect = \"resolves 192.0.2.1, 192.0.2.2\"\n",
        "[[test]]\nname = \"r\"\nto = \"192.0.2.1\"\nexpect = \"outside\"\n",
        "[[test]]\nname = \"u\"\nfrom = \"fd00::1\"\nto = \"fd00::2\"\nprotocol = \"icmp\"\nexpect = \"forward default\"\n",
    ];
    let chosen = prop::sample::subsequence(sections.to_vec(), 0..=sections.len());
    chosen.prop_map(move |sections| format!("{head}{}", sections.concat()))
}

proptest! {
    #[test]
    fn bytes_of_any_kind_keep_the_promises(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_text(&data);
    }

    #[test]
    fn pieces_of_policies_in_any_order_keep_the_promises(text in pieces()) {
        fuzz_text(text.as_bytes());
    }

    #[test]
    fn policies_keep_the_promises(text in nearly_right()) {
        fuzz_text(text.as_bytes());
    }

    #[test]
    fn policies_with_a_damaged_place_keep_the_promises(
        text in nearly_right(),
        at in any::<prop::sample::Index>(),
        damage in prop::sample::select(DAMAGE),
        removed in 0_usize..4,
    ) {
        let mut bytes = text.into_bytes();
        let from = at.index(bytes.len());
        let to = (from + removed).min(bytes.len());
        bytes.splice(from..to, damage.iter().copied());
        fuzz_text(&bytes);
    }
}

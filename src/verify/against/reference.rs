//! Configurations of no sense, for tests and fuzzing: whatever the bytes, reading ends, and without a panic.

use super::{Existing, Files, Named, Subject, audit, text_of};
use crate::plan::{RoutePlan, Zones};
use crate::policy;

/// Audits a configuration made of `data`: its first byte chooses the kind, the rest its lines and the files that it names.
///
/// # Panics
/// If a reader does.
pub fn fuzz_against(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let (head, words) = KINDS[usize::from(*first & 0x7f) % KINDS.len()];
    // Bytes as they are, or words of the kind, which come further.
    let text = |bytes: &[u8]| match *first & 0x80 {
        0 => assembled(words, bytes),
        _ => text_of(bytes),
    };
    let mut parts = rest.split(|byte| *byte == 0xff);
    let main = head.to_owned() + &text(parts.next().unwrap_or_default());
    let files = Made(
        parts
            .take(NAMES.len())
            .map(|bytes| text(bytes).into_bytes())
            .collect(),
    );
    let named = [Named {
        path: "main".to_owned(),
        text: main,
    }];
    let Ok((policy, _)) = policy::parse("site.toml", POLICY.as_bytes()) else {
        unreachable!("a good policy");
    };
    let (plan, zones) = (RoutePlan::new(&policy), Zones::of(&policy));
    let subject = Subject {
        policy: &policy,
        plan: &plan,
        zones: &zones,
    };
    // A configuration that its program would refuse is an error, and that is an answer.
    _ = audit(&subject, &named, &files, "");
}

/// Returns the kind that each of the heads is taken for.
pub fn kinds() -> impl Iterator<Item = Option<Existing>> {
    KINDS.iter().map(|(head, _)| Existing::detect(head))
}

/// Files in memory, named as [`NAMES`].
struct Made(Vec<Vec<u8>>);

impl Files for Made {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let end = path.rsplit('/').next().unwrap_or(path);
        let at = NAMES.iter().position(|name| *name == end);
        let file = at.and_then(|at| self.0.get(at)).cloned();
        file.ok_or_else(|| format!("there is no {path}"))
    }

    fn list(&self, _folder: &str) -> Result<Vec<String>, String> {
        Ok(NAMES.map(str::to_owned).to_vec())
    }
}

/// A text of words, one for each byte.
fn assembled(words: &str, bytes: &[u8]) -> String {
    let words: Vec<&str> = words
        .split_whitespace()
        .chain(COMMON.split_whitespace())
        .collect();
    let mut text = String::new();
    for byte in bytes {
        match *byte {
            0..=31 => text.push('\n'),
            32..=39 => text.push_str(" { "),
            40..=47 => text.push_str(" } "),
            48..=51 => text.push(';'),
            52..=55 => text.push('"'),
            56..=59 => text.push('='),
            60..=61 => text.push('#'),
            62..=63 => text.push('\\'),
            other => {
                text.push(' ');
                text.push_str(words[usize::from(other - 64) % words.len()]);
            }
        }
    }
    text
}

/// The names of the files that a configuration can refer to.
const NAMES: [&str; 3] = ["a", "b", "DEFAULT"];

/// Words of all kinds.
const COMMON: &str = "contoso.com sip.contoso.com. pool01.contoso.com *.contoso.com 10.0.0.0/8 172.16.1.0/24 0.0.0.0/0 ::/0 \
     fd00::/8 10.1.0.10 167.55.49.32 255.0.0.0 a b DEFAULT . .. * ! any none 99999999999 -1 65536 \u{e9} \t";

/// For each kind, the lines that it is known by, and words of its own.
const KINDS: [(&str, &str); 7] = [
    (
        "server 172.16.1.0 255.255.255.0\npush \"route 10.0.0.0 255.0.0.0\"\n",
        "push route route-ipv6 redirect-gateway def1 ipv6 !ipv4 net_gateway vpn_gateway push-remove push-reset config \
         client-config-dir ccd dhcp-option DNS dns server 0 address topology subnet client-to-client <connection> </connection> --push",
    ),
    (
        "tcp-port = 443\nipv4-network = 172.16.1.0/24\nroute = 10.0.0.0/8\n",
        "route no-route default config-per-group config-per-user default-group-config [vhost:x] ipv6-network ipv4-netmask dns \
         select-group tunnel-all-dns true false include",
    ),
    (
        "[Interface]\nPrivateKey = x\n[Peer]\nAllowedIPs = 10.0.0.0/8\n",
        "[Interface] [Peer] AllowedIPs Endpoint DNS Address Table PostUp off auto",
    ),
    (
        "server:\n  local-zone: \"contoso.com.\" transparent\n",
        "server: view: auth-zone: rpz: local-zone: local-data: include: include-toplevel: access-control: access-control-view: \
         view-first: yes no static redirect always_nxdomain name: zonefile: IN A AAAA SRV CNAME tags define-tag",
    ),
    (
        "options { directory \".\"; };\nzone \"contoso.com\" { type primary; file \"a\"; };\n",
        "options zone view acl include match-clients match-destinations type primary hint file response-policy policy passthru \
         nxdomain directory in-view recursion yes /* */ //",
    ),
    (
        "$TTL 60\n@ IN SOA localhost. nobody.invalid. 1 60 60 60 60\n@ IN NS localhost.\n",
        "$ORIGIN $INCLUDE $GENERATE $TTL @ IN CNAME A AAAA TXT SRV DNAME ( ) 1-9 1-2147483647/1 rpz-passthru. rpz-drop. \
         rpz-tcp-only. 32.10.1.0.10.rpz-ip 24.0.1.16.172.rpz-client-ip ${0,3,d} \\000 \\.",
    ),
    (
        "local=/contoso.com/\nserver=10.0.0.53\n",
        "server local address host-record cname srv-host conf-file conf-dir addn-hosts no-hosts no-resolv dhcp-option filterwin2k \
         /contoso.com/ /contoso.com/# // ,*.conf option:dns-server rebind-domain-ok",
    ),
];

const POLICY: &str = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
     [[server]]\nname = \"pool\"\naddresses = [\"10.1.0.10\"]\nhosts = [\"pool01.contoso.com\"]\n\
     [[public]]\nname = \"Edge\"\naddresses = [\"167.55.49.32\"]\nhosts = [\"sip.contoso.com\"]\n\
     [dns]\nlisten = [\"172.16.1.1:53\"]\nupstreams = [\"10.0.0.53\"]\nsip_domains = [\"contoso.com\"]\n";

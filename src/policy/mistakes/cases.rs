//! The mistakes, by kind: lines as they are written, and lines that were meant.

use super::{Group, beside, whole};

/// All of them.
pub(super) const GROUPS: &[Group] = &[
    Group {
        title: "The file",
        mistakes: &[
            whole(
                "{ \"vpn\": { \"client_subnets\": [\"172.16.1.0/24\"] } }",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "vpn:\n  client_subnets:\n    - 172.16.1.0/24",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets: [\"172.16.1.0/24\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = 172.16.1.0/24",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [172.16.1.0/24]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [\u{201c}172.16.1.0/24\u{201d}]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\" \"172.16.2.0/24\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"172.16.2.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]  // home",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]  # home",
            ),
            whole(
                "; clients\n[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
                "# clients\n[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "client_subnets = [\"172.16.1.0/24\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n[corporate]\ndns_servers = [\"10.0.0.53\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\ndns_servers = [\"10.0.0.53\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\nclient_subnets = [\"172.16.2.0/24\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"172.16.2.0/24\"]",
            ),
        ],
    },
    Group {
        title: "Sections and keys",
        mistakes: &[
            whole(
                "[corporate]\nsubnets = [\"10.0.0.0/8\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]",
            ),
            whole(
                "[vpn]\nclient_subnet = [\"172.16.1.0/24\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient-subnets = [\"172.16.1.0/24\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\ninterface = \"tun0\"\nclient_subnets = [\"172.16.1.0/24\"]",
                "[vpn]\ninterfaces = [\"tun0\"]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpns]\nclient_subnets = [\"172.16.1.0/24\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[VPN]\nclient_subnets = [\"172.16.1.0/24\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            beside(
                "[[servers]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10\"]",
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10\"]",
            ),
            beside(
                "[server]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10\"]",
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10\"]",
            ),
            beside(
                "[[corporate]]\nsubnets = [\"10.0.0.0/8\"]",
                "[corporate]\nsubnets = [\"10.0.0.0/8\"]",
            ),
            beside(
                "[[server]]\nname = \"Front End pool\"\naddress = \"10.1.0.10\"",
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10\"]",
            ),
            beside(
                "[[server]]\naddresses = [\"10.1.0.10\"]",
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10\"]",
            ),
            beside(
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10\"]\n[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.11\"]",
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10\", \"10.1.0.11\"]",
            ),
            beside(
                "[gateway]\ninterfaces = [\"tun0\"]",
                "[vpn]\ninterfaces = [\"tun0\"]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            beside(
                "[gateway]\nlisten = [\"172.16.1.1:53\"]",
                "[dns]\nlisten = [\"172.16.1.1:53\"]",
            ),
            beside("[gateway]\nreject = \"tcp\"", "[filter]\nreject = \"tcp\""),
            beside("[filter]\nenforce = false", "[gateway]\nenforce = false"),
        ],
    },
    Group {
        title: "Types and words",
        mistakes: &[
            whole(
                "[vpn]\ninterfaces = \"tun0\"\nclient_subnets = [\"172.16.1.0/24\"]",
                "[vpn]\ninterfaces = [\"tun0\"]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            beside(
                "[gateway]\nmark = \"0x30000000\"",
                "[gateway]\nmark = 0x30000000",
            ),
            beside("[gateway]\nworkers = \"2\"", "[gateway]\nworkers = 2"),
            beside(
                "[gateway]\nenforce = \"false\"",
                "[gateway]\nenforce = false",
            ),
            beside("[gateway]\nenforce = no", "[gateway]\nenforce = false"),
            beside("[gateway]\nenforce = False", "[gateway]\nenforce = false"),
            beside(
                "[gateway]\non_failure = \"close\"",
                "[gateway]\non_failure = \"closed\"",
            ),
            beside(
                "[gateway]\ndiversion = \"iptables\"",
                "[gateway]\ndiversion = \"nftables\"",
            ),
            beside(
                "[gateway]\ndrop_log = \"drops.jsonl\"",
                "[gateway]\ndrop_log = \"/var/log/offramp/drops.jsonl\"",
            ),
            beside("[media]\nmatch = ice", "[media]\nmatch = \"ice\""),
            beside("[media]\nmatch = \"ICE\"", "[media]\nmatch = \"ice\""),
            beside("[media]\nmatch = \"stun\"", "[media]\nmatch = \"ice\""),
            beside(
                "[media]\nprotocols = \"udp\"",
                "[media]\nprotocols = [\"udp\"]",
            ),
            beside(
                "[media]\nprotocols = [\"tcp/udp\"]",
                "[media]\nprotocols = [\"tcp\", \"udp\"]",
            ),
            beside("[filter]\nreject = true", "[filter]\nreject = \"tcp\""),
            beside(
                "[filter]\nunknown_source = \"deny\"",
                "[filter]\nunknown_source = \"drop\"",
            ),
            beside(
                "[routes]\ntunnel = \"force\"",
                "[routes]\ntunnel = \"full\"",
            ),
            beside(
                "[[feed]]\nname = \"Microsoft 365\"\nformat = \"m365\"\nfile = \"m365.json\"",
                "[[feed]]\nname = \"Microsoft 365\"\nformat = \"microsoft-365\"\nfile = \"m365.json\"",
            ),
            beside(
                "[[feed]]\nname = \"Zoom\"\nformat = \"prefixes\"\nfile = \"zoom.txt\"\nurl = \"http://assets.zoom.us/docs/ipranges/Zoom.txt\"",
                "[[feed]]\nname = \"Zoom\"\nformat = \"prefixes\"\nfile = \"zoom.txt\"\nurl = \"https://assets.zoom.us/docs/ipranges/Zoom.txt\"",
            ),
        ],
    },
    Group {
        title: "Addresses and prefixes",
        mistakes: &[
            whole(
                "[vpn]\nclient_subnets = [\"172.16.1.0/8\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [\"172.16.1.0/255.255.255.0\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [\"172.16.1.0 255.255.255.0\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [\"172.16.1.*\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\nclient_subnets = [\"172.16.1.0/24, 172.16.2.0/24\"]",
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"172.16.2.0/24\"]",
            ),
            beside(
                "[corporate]\nsubnets = [\"10/8\"]",
                "[corporate]\nsubnets = [\"10.0.0.0/8\"]",
            ),
            beside(
                "[corporate]\nsubnets = [\"010.0.0.0/8\"]",
                "[corporate]\nsubnets = [\"10.0.0.0/8\"]",
            ),
            beside(
                "[corporate]\nsubnets = [\"[2001:db8::]/32\"]",
                "[corporate]\nsubnets = [\"2001:db8::/32\"]",
            ),
            beside(
                "[corporate]\ndns_servers = [\"10.0.0.53:53\"]",
                "[corporate]\ndns_servers = [\"10.0.0.53\"]",
            ),
            beside(
                "[corporate]\ndns_servers = [\"10.0.0.0/24\"]",
                "[corporate]\ndns_servers = [\"10.0.0.53\"]",
            ),
            beside(
                "[corporate]\ndns_servers = [\"dns.contoso.com\"]",
                "[corporate]\ndns_servers = [\"10.0.0.53\"]",
            ),
            beside(
                "[corporate]\ndns_servers = [\"fe80::1%eth0\"]",
                "[corporate]\ndns_servers = [\"fd00::53\"]",
            ),
            beside(
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10-10.1.0.13\"]",
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10/31\", \"10.1.0.12/31\"]",
            ),
            beside(
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10:5061\"]",
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10\"]",
            ),
            beside(
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"pool01.contoso.com\"]",
                "[[server]]\nname = \"Front End pool\"\naddresses = [\"10.1.0.10\"]\nhosts = [\"pool01.contoso.com\"]",
            ),
            beside(
                "[[allow]]\nname = \"anywhere\"\nto = [\"any\"]\nports = [\"3389\"]",
                "[[allow]]\nname = \"anywhere\"\nto = [\"10.0.0.0/8\"]\nports = [\"3389\"]",
            ),
            beside(
                "[dns]\nlisten = [\"172.16.1.1\"]",
                "[dns]\nlisten = [\"172.16.1.1:53\"]",
            ),
            beside(
                "[dns]\nlisten = [\"2001:db8::1:53\"]",
                "[dns]\nlisten = [\"[2001:db8::1]:53\"]",
            ),
            beside(
                "[gateway]\nmetrics = 9464",
                "[gateway]\nmetrics = \"127.0.0.1:9464\"",
            ),
            beside(
                "[gateway]\nmetrics = \":9464\"",
                "[gateway]\nmetrics = \"127.0.0.1:9464\"",
            ),
            beside(
                "[gateway]\nmetrics = \"localhost:9464\"",
                "[gateway]\nmetrics = \"127.0.0.1:9464\"",
            ),
            beside(
                "[gateway]\nmetrics = \"*:9464\"",
                "[gateway]\nmetrics = \"0.0.0.0:9464\"",
            ),
        ],
    },
    Group {
        title: "Ports",
        mistakes: &[
            beside(
                "[media]\nports = \"1024-65535\"",
                "[media]\nports = [\"1024-65535\"]",
            ),
            beside("[media]\nports = [1024]", "[media]\nports = [\"1024\"]"),
            beside(
                "[media]\nports = [\"1024:65535\"]",
                "[media]\nports = [\"1024-65535\"]",
            ),
            beside(
                "[media]\nports = [\"1024 - 65535\"]",
                "[media]\nports = [\"1024-65535\"]",
            ),
            beside(
                "[media]\nports = [\"65535-1024\"]",
                "[media]\nports = [\"1024-65535\"]",
            ),
            beside(
                "[media]\nports = [\"1024-\"]",
                "[media]\nports = [\"1024-65535\"]",
            ),
            beside(
                "[media]\nports = [\">1023\"]",
                "[media]\nports = [\"1024-65535\"]",
            ),
            beside(
                "[media]\nports = [\"any\"]",
                "[media]\nports = [\"1-65535\"]",
            ),
            beside(
                "[[allow]]\nname = \"Remote Desktop\"\nto = [\"10.9.0.0/24\"]\nports = [\"rdp\"]",
                "[[allow]]\nname = \"Remote Desktop\"\nto = [\"10.9.0.0/24\"]\nports = [\"3389\"]",
            ),
            beside(
                "[[allow]]\nname = \"Remote Desktop\"\nto = [\"10.9.0.0/24\"]\nports = [\"3389/tcp\"]",
                "[[allow]]\nname = \"Remote Desktop\"\nto = [\"10.9.0.0/24\"]\nprotocols = [\"tcp\"]\nports = [\"3389\"]",
            ),
            beside(
                "[[allow]]\nname = \"databases\"\nto = [\"10.9.0.0/24\"]\nports = [\"1433,1521\"]",
                "[[allow]]\nname = \"databases\"\nto = [\"10.9.0.0/24\"]\nports = [\"1433\", \"1521\"]",
            ),
        ],
    },
    Group {
        title: "Names and tests",
        mistakes: &[
            whole(
                "[vpn]\ninterfaces = [\"tun+\"]\nclient_subnets = [\"172.16.1.0/24\"]",
                "[vpn]\ninterfaces = [\"tun*\"]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            whole(
                "[vpn]\ninterfaces = [\"tun0,tun1\"]\nclient_subnets = [\"172.16.1.0/24\"]",
                "[vpn]\ninterfaces = [\"tun0\", \"tun1\"]\nclient_subnets = [\"172.16.1.0/24\"]",
            ),
            beside(
                "[dns]\nsip_domains = [\"@contoso.com\"]",
                "[dns]\nsip_domains = [\"contoso.com\"]",
            ),
            beside(
                "[[public]]\nname = \"Access Edge\"\naddresses = [\"167.55.49.32\"]\nhosts = [\"*.contoso.com\"]",
                "[[public]]\nname = \"Access Edge\"\naddresses = [\"167.55.49.32\"]\nhosts = [\"sip.contoso.com\"]",
            ),
            beside(
                "[[public]]\nname = \"web services\"\naddresses = [\"167.55.49.35\"]\nhosts = [\"https://meet.contoso.com/\"]",
                "[[public]]\nname = \"web services\"\naddresses = [\"167.55.49.35\"]\nhosts = [\"meet.contoso.com\"]",
            ),
            beside(
                "[[public]]\nname = \"web services\"\naddresses = [\"167.55.49.35\"]\nhosts = [\"meet.contoso.com:443\"]",
                "[[public]]\nname = \"web services\"\naddresses = [\"167.55.49.35\"]\nhosts = [\"meet.contoso.com\"]",
            ),
            beside(
                "[[public]]\nname = \"Access Edge\"\naddresses = [\"167.55.49.32\"]\nsrv = [{ name = \"sip.contoso.com\", target = \"sip.contoso.com\", port = 443 }]",
                "[[public]]\nname = \"Access Edge\"\naddresses = [\"167.55.49.32\"]\nsrv = [{ name = \"_sip._tls.contoso.com\", target = \"sip.contoso.com\", port = 443 }]",
            ),
            beside(
                "[[endpoint]]\nname = \"Skype for Business\"\nprograms = [\"C:\\Program Files\\lync.exe\"]",
                "[[endpoint]]\nname = \"Skype for Business\"\nprograms = ['C:\\Program Files\\lync.exe']",
            ),
            beside(
                "[[test]]\nname = \"a call between clients\"\nfrom = \"172.16.1.10:50000\"\nto = \"172.16.1.20:50020\"\nprotocol = \"udp\"\nexpect = \"block\"",
                "[[test]]\nname = \"a call between clients\"\nfrom = \"172.16.1.10:50000\"\nto = \"172.16.1.20:50020\"\nprotocol = \"udp\"\nexpect = \"drop\"",
            ),
            beside(
                "[[test]]\nname = \"a call between clients\"\nfrom = \"172.16.1.10:50000\"\nto = \"172.16.1.20:50020\"\nprotocol = \"udp\"\nexpect = \"drop hairpn\"",
                "[[test]]\nname = \"a call between clients\"\nfrom = \"172.16.1.10:50000\"\nto = \"172.16.1.20:50020\"\nprotocol = \"udp\"\nexpect = \"drop hairpin\"",
            ),
        ],
    },
];

//! The directives of each program: those that are read or have no effect on routes and names, and those that have one and are
//! not read.
//!
//! The lists in `words/` are those of the programs' manuals. A word that is in none is not known, and so is its effect.

/// Bearing of a directive on routes and names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearing {
    /// It is read, or has no effect.
    Known,
    /// It has or may have an effect, and is not read.
    Unread(&'static str),
}

/// The directives of a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    known: &'static str,
    unread: &'static [(&'static str, &'static str)],
}

/// Returns what a directive means.
pub(super) fn bearing(words: Words, word: &str) -> Bearing {
    if let Some((_, why)) = words.unread.iter().find(|(it, _)| *it == word) {
        return Bearing::Unread(why);
    }
    if is_known(words, word) || word.is_empty() {
        Bearing::Known
    } else {
        Bearing::Unread("no such directive is known")
    }
}

/// Returns `true` for a directive of the program.
pub(super) fn is_known(words: Words, word: &str) -> bool {
    words.known.split_whitespace().any(|it| it == word)
}

/// Statements of `named.conf` (BIND 9.20), of `options`, `view` and `zone`, too.
pub(super) const BIND: Words = Words {
    known: include_str!("words/bind.txt"),
    unread: &[
        ("dlz", "its names come from a database"),
        ("dyndb", "its names come from a database"),
        ("catalog-zones", "its zones are named by another zone"),
        (
            "allow-new-zones",
            "zones may have been added by `rndc addzone`",
        ),
        (
            "nxdomain-redirect",
            "answers for names that do not exist are not read",
        ),
        ("dns64", "addresses that are made of others are not read"),
        ("plugin", "a plug-in may change answers"),
        ("dnsrps-enable", "policies come from another program"),
        ("dnsrps-options", "policies come from another program"),
        (
            "deny-answer-addresses",
            "answers with some addresses are refused",
        ),
        (
            "deny-answer-aliases",
            "answers with some aliases are refused",
        ),
    ],
};

/// Attributes of `unbound.conf` (1.22).
pub(super) const UNBOUND: Words = Words {
    known: include_str!("words/unbound.txt"),
    unread: &[
        ("access-control-tag", "tags of clients are not read"),
        ("access-control-tag-action", "tags of clients are not read"),
        ("access-control-tag-data", "tags of clients are not read"),
        ("interface-tag", "tags of clients are not read"),
        ("interface-tag-action", "tags of clients are not read"),
        ("interface-tag-data", "tags of clients are not read"),
        ("local-zone-tag", "tags of clients are not read"),
        ("interface-view", "views of interfaces are not read"),
        (
            "response-ip",
            "changes of answers by their addresses are not read",
        ),
        (
            "response-ip-data",
            "changes of answers by their addresses are not read",
        ),
        (
            "response-ip-tag",
            "changes of answers by their addresses are not read",
        ),
        ("python-script", "a script may answer for names"),
        ("dynlib-file", "a library may answer for names"),
    ],
};

/// Options of dnsmasq (2.91).
pub(super) const DNSMASQ: Words = Words {
    known: include_str!("words/dnsmasq.txt"),
    unread: &[
        ("conf-script", "the output of a program is not read"),
        ("auth-server", "answers for the Internet are not read"),
        ("auth-zone", "answers for the Internet are not read"),
        (
            "synth-domain",
            "names that are made of addresses are not read",
        ),
        ("interface-name", "it depends on the interfaces of the host"),
        ("dynamic-host", "it depends on the interfaces of the host"),
        (
            "alias",
            "changes of answers by their addresses are not read",
        ),
        (
            "bogus-nxdomain",
            "changes of answers by their addresses are not read",
        ),
        (
            "ignore-address",
            "changes of answers by their addresses are not read",
        ),
    ],
};

/// Options of OpenVPN (2.6).
pub(super) const OPENVPN: Words = Words {
    known: include_str!("words/openvpn.txt"),
    unread: &[
        ("client-connect", "a program may push options"),
        ("client-connect-deferred", "a program may push options"),
        ("management-client-auth", "a program may push options"),
        ("client", "what the server of a client pushes is not known"),
        ("pull", "what the server of a client pushes is not known"),
    ],
};

/// Options that OpenVPN pushes, beside routes and DNS servers.
pub(super) const OPENVPN_PUSHED: Words = Words {
    known: "route-gateway route-metric route-delay topology tun-ipv6 ifconfig ifconfig-ipv6 dhcp-option dns ping ping-restart \
            ping-exit keepalive comp-lzo compress sndbuf rcvbuf persist-key persist-tun explicit-exit-notify \
            block-outside-dns block-ipv6 register-dns dhcp-renew dhcp-release ip-win32 auth-token auth-token-user peer-id \
            cipher key-derivation protocol-flags inactive reneg-sec socket-flags setenv setenv-safe tun-mtu mssfix fragment \
            echo session-timeout verb mute tcp-nodelay push-continuation redirect-private route-ipv6-gateway auth-nocache \
            auth-retry remap-usr1 tran-window hand-window bcast-buffers allow-compression allow-recursive-routing \
            client-disconnect route-method dhcp-pre-release dhcp-release script-security up down mtu-disc nice float",
    unread: &[("client-nat", "addresses are translated on clients")],
};

/// Keys of ocserv (1.3), of groups and users, too.
pub(super) const OCSERV: Words = Words {
    known: include_str!("words/ocserv.txt"),
    unread: &[],
};

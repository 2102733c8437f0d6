//! [`Key`]: all that there is to say about one key of a policy, and [`SectionTable`]: about one section.
//!
//! A section's file declares its keys as constants. The reader takes name, bounds and example from them, the printer the
//! name, messages the list of keys, and `docs/policy.md` all of it:
//!
//! ```ignore
//! const TTL_SECONDS: Key = Key::new("ttl_seconds", Kind::Integer(1, 300))
//!     .default("60")
//!     .example("30")
//!     .means("TTL, in seconds, of the records that the policy itself answers with")
//!     .since("0.1");
//! ```

use std::ops::RangeInclusive;

use crate::policy::value::{Word, words};

/// One key of a section.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Key {
    /// Its name, as the file has it.
    pub(in crate::policy) name: &'static str,
    /// The values that it takes.
    pub(in crate::policy) kind: Kind,
    /// Requirement on its presence.
    pub(in crate::policy) need: Need,
    /// The effect of its absence.
    pub(in crate::policy) absent: Absent,
    /// A value, as TOML.
    pub(in crate::policy) example: &'static str,
    /// Its meaning, in one line.
    pub(in crate::policy) meaning: &'static str,
    /// The version that took it first.
    pub(in crate::policy) since: &'static str,
}

/// Requirement on the presence of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Need {
    /// The key may be absent, and a list empty.
    Optional,
    /// The key may be absent; a list that is given has something in it.
    NonEmpty,
    /// The key must be there, a list with something in it.
    Required,
}

/// The effect of a key's absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Absent {
    /// The policy is refused.
    Refused,
    /// This value, as TOML.
    Value(&'static str),
    /// Something that no value says, in prose.
    Otherwise(&'static str),
}

impl Key {
    /// A key that may be absent; [`Self::default`], [`Self::otherwise`] or [`Self::required`] says what holds then.
    pub(in crate::policy) const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            need: Need::Optional,
            absent: Absent::Refused,
            example: "",
            meaning: "",
            since: "",
        }
    }

    /// The same key, which must be there.
    pub(in crate::policy) const fn required(self) -> Self {
        Self {
            need: Need::Required,
            absent: Absent::Refused,
            ..self
        }
    }

    /// The same key, a list that has something in it where it is given.
    pub(in crate::policy) const fn non_empty(self) -> Self {
        Self {
            need: Need::NonEmpty,
            ..self
        }
    }

    /// The same key, with the value that its absence stands for.
    pub(in crate::policy) const fn default(self, value: &'static str) -> Self {
        Self {
            absent: Absent::Value(value),
            ..self
        }
    }

    /// The same key, with what holds where it is absent and no value says so.
    pub(in crate::policy) const fn otherwise(self, prose: &'static str) -> Self {
        Self {
            absent: Absent::Otherwise(prose),
            ..self
        }
    }

    /// The same key, with a value for messages and the manual.
    pub(in crate::policy) const fn example(self, value: &'static str) -> Self {
        Self {
            example: value,
            ..self
        }
    }

    /// The same key, with its meaning in one line.
    pub(in crate::policy) const fn means(self, meaning: &'static str) -> Self {
        Self { meaning, ..self }
    }

    /// The same key, with the version that took it first.
    pub(in crate::policy) const fn since(self, version: &'static str) -> Self {
        Self {
            since: version,
            ..self
        }
    }

    /// The numbers that it takes.
    pub(in crate::policy) const fn bounds(&self) -> RangeInclusive<i64> {
        match self.kind {
            Kind::Integer(first, last) | Kind::Integers(first, last) => first..=last,
            Kind::Text(_)
            | Kind::Texts(_)
            | Kind::Word(_)
            | Kind::Words(_)
            | Kind::Boolean
            | Kind::Tables(_) => i64::MIN..=i64::MAX,
        }
    }
}

/// The values that a key takes.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) enum Kind {
    /// A string of a form.
    Text(Form),
    /// A list of strings of a form.
    Texts(Form),
    /// One of a few words.
    Word(fn() -> Vec<&'static str>),
    /// A list of them.
    Words(fn() -> Vec<&'static str>),
    /// A whole number, from the first to the second.
    Integer(i64, i64),
    /// A list of them.
    Integers(i64, i64),
    /// `true` or `false`.
    Boolean,
    /// A list of inline tables.
    Tables(&'static SectionTable),
}

impl Kind {
    /// One word of a choice.
    pub(in crate::policy) const fn word<T: Word>() -> Self {
        Self::Word(words::<T>)
    }

    /// A list of words of a choice.
    pub(in crate::policy) const fn words<T: Word>() -> Self {
        Self::Words(words::<T>)
    }
}

macro_rules! forms {
    ($($(#[$doc:meta])* $form:ident = $one:literal, $many:literal, $rule:literal;)*) => {
        /// The form of a string.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::policy) enum Form {
            $($(#[$doc])* $form,)*
        }

        impl Form {
            /// Every form.
            pub(in crate::policy) const ALL: &'static [Self] = &[$(Self::$form,)*];

            /// Its name: of one, and of several.
            pub(in crate::policy) const fn names(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$form => ($one, $many),)*
                }
            }

            /// How it is written.
            pub(in crate::policy) const fn rule(self) -> &'static str {
                match self {
                    $(Self::$form => $rule,)*
                }
            }
        }
    };
}

forms! {
    /// [`parse_prefix`](crate::policy::value::parse_prefix).
    Prefix = "prefix", "prefixes",
        "an address and a length without host bits, `\"10.0.0.0/8\"` or `\"2001:db8::/32\"`; an address alone is the prefix that holds only it";
    /// [`parse_address`](crate::policy::value::parse_address).
    Address = "address", "addresses",
        "IPv4 or IPv6, `\"10.0.0.53\"` or `\"2001:db8::53\"`; without leading zeros, zone or port";
    /// [`parse_socket`](crate::policy::value::parse_socket).
    Socket = "address and port", "addresses and ports",
        "`\"172.16.1.1:53\"` or `\"[2001:db8::1]:53\"`";
    /// [`parse_endpoint`](crate::policy::value::parse_endpoint).
    Endpoint = "address, with or without a port", "addresses, with or without ports",
        "`\"10.0.0.1\"`, `\"10.0.0.1:5061\"`, `\"2001:db8::1\"` or `\"[2001:db8::1]:5061\"`";
    /// A prefix, or all clients.
    Destination = "prefix or `\"clients\"`", "prefixes or `\"clients\"`",
        "a prefix, or the word `\"clients\"` for every prefix of `vpn.client_subnets`";
    /// [`parse_ports`](crate::policy::value::parse_ports).
    Ports = "port range", "port ranges",
        "one port, `\"3389\"`, or the first and the last, `\"1024-65535\"`; 1 to 65535";
    /// [`parse_name`](crate::policy::value::parse_name).
    Name = "name", "names",
        "one line of text, at most 200 bytes";
    /// The name of a kind of diagnostics.
    Code = "kind of warning", "kinds of warnings",
        "the word that `offramp check` shows in brackets behind `warning`";
    /// [`parse_host`](crate::policy::value::parse_host).
    Host = "host name", "host names",
        "a full DNS name without wildcard, `\"sip.contoso.com\"`; case and a final dot do not matter, and names beyond ASCII take their `xn--` form";
    /// [`parse_service`](crate::policy::value::parse_service).
    Service = "service name", "service names",
        "owner name of an SRV record, `\"_sip._tls.contoso.com\"`";
    /// A host or a service.
    Lookup = "host or service name", "host or service names",
        "a host name or a service name";
    /// [`parse_interface`](crate::policy::value::parse_interface).
    Interface = "interface name", "interface names",
        "as `ip link` shows it, at most 15 bytes; a `*` at the end stands for any rest, `\"vpns*\"`";
    /// [`parse_device`](crate::policy::value::parse_device).
    Device = "device name", "device names",
        "the name of one interface, without `*`";
    /// [`parse_path`](crate::policy::value::parse_path).
    Path = "path", "paths",
        "of a file; Windows paths in single quotes, `'C:\\Program Files\\x.exe'`";
    /// [`parse_log`](crate::policy::value::parse_log).
    Log = "log", "logs",
        "an absolute path, or `\"-\"` for standard output";
    /// A [`PushTarget`](crate::policy::PushTarget).
    Push = "target of pushes", "targets of pushes",
        "a kind and an absolute path: `\"openvpn:SOCKET\"`, `\"openvpn-ccd:FILE\"`, `\"ocserv:FILE\"` or `\"wireguard:FOLDER\"`";
    /// An address on the web.
    Url = "URL", "URLs",
        "`https://…`, or a file, `file:///…`; `http://…` at a loopback address, or with a `public_key`";
    /// A public key of minisign.
    PublicKey = "public key", "public keys",
        "the second line of `minisign.pub`: 56 characters that begin with `RW`";
    /// The outcome that a `[[test]]` expects.
    Outcome = "outcome", "outcomes",
        "of a packet: `\"forward\"` or `\"drop\"`, and a reason of [verdicts.md](verdicts.md) where it matters; of a name: `\"resolves\"`, with data separated by commas where it matters, `\"hidden\"`, `\"no data\"` or `\"forwarded\"`; of a route: `\"inside the tunnel\"` or `\"outside the tunnel\"`";
}

/// How often a section may stand, and how its header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Header {
    /// Once: `[vpn]`.
    Single,
    /// Several times: `[[server]]`.
    Repeated,
    /// As a value: `{ … }`.
    Inline,
}

/// One section of a policy.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct SectionTable {
    /// Its name, as the file has it.
    pub(in crate::policy) name: &'static str,
    /// How often it may stand.
    pub(in crate::policy) header: Header,
    /// Its meaning, in a sentence or two.
    pub(in crate::policy) meaning: &'static str,
    /// Its keys, in the order of the manual.
    pub(in crate::policy) keys: &'static [Key],
    /// Whole sections, without header, where the required keys alone do not make one.
    pub(in crate::policy) examples: &'static [&'static str],
}

impl SectionTable {
    /// Its header as the operator writes it.
    pub(in crate::policy) fn title(&self) -> String {
        match self.header {
            Header::Single => format!("[{}]", self.name),
            Header::Repeated => format!("[[{}]]", self.name),
            Header::Inline => self.name.to_owned(),
        }
    }

    /// The names of its keys.
    pub(in crate::policy) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

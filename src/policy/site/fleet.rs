//! `[fleet]` of a site file: where a gateway's policy comes from, and whose signatures it trusts.

use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{Problem, Sourced, parse_name, parse_path};

/// `[fleet]`: where a gateway's policy comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetOptions {
    /// The store with releases.
    pub source: FleetSource,
    /// The channel that this gateway follows.
    pub channel: String,
    /// Name of this gateway; that of the host where there is none.
    pub gateway: Option<String>,
    /// Name of its site, for people.
    pub site: String,
    /// Public keys of minisign; a release is signed by one of them.
    pub public_keys: Vec<String>,
    /// The policy file that is written.
    pub policy: String,
    /// The fleet's policy until a release has come.
    pub fallback: Option<String>,
    /// Seconds between two looks at a store that does not tell of changes.
    pub poll_seconds: u32,
    /// Access to the store.
    pub access: FleetAccess,
}

/// Access to a store over the network; paths are of files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetAccess {
    /// Certificates of the authorities that the store's certificate is checked with; those of the system where there are none.
    pub ca: Option<String>,
    /// Certificate that this gateway shows.
    pub client_certificate: Option<String>,
    /// Private key of it.
    pub client_key: Option<String>,
    /// Proxy, instead of that of the environment.
    pub proxy: Option<String>,
    /// Name to log in with.
    pub user: Option<String>,
    /// File with the password.
    pub password_file: Option<String>,
    /// File with the ACL token of Consul.
    pub token_file: Option<String>,
}

/// The store with a fleet's releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetSource {
    /// A web server: everything before `/offramp/v1/`.
    Web(String),
    /// A folder, by its full path.
    Folder(String),
    /// etcd, version 3, by its JSON gateway.
    Etcd {
        /// `http://host:port` or `https://host:port`, one for each member.
        endpoints: Vec<String>,
        /// Prefix of all keys, without a slash at its ends; may be empty.
        prefix: String,
    },
    /// The key-value store of Consul, by the HTTP API of an agent or a server.
    Consul {
        /// `http://host:port` or `https://host:port`.
        endpoint: String,
        /// Prefix of all keys, without a slash at its ends; may be empty.
        prefix: String,
    },
}

const SOURCE: Key = Key::new("source", Kind::Text(Form::Url))
    .required()
    .example("\"https://policies.contoso.com\"")
    .means("Store with the releases: `https://…`, a folder `file:///…`, `etcd://host:port,host:port/prefix` or `consul://host:port/prefix` (`etcds://` and `consuls://` with TLS)")
    .since("0.1");
const CHANNEL: Key = Key::new("channel", Kind::Text(Form::Name))
    .default("\"stable\"")
    .example("\"canary\"")
    .means("Channel that this gateway follows")
    .since("0.1");
const GATEWAY: Key = Key::new("gateway", Kind::Text(Form::Name))
    .otherwise("the name of the host")
    .example("\"vpn1.berlin\"")
    .means("Name of this gateway, which no other of the fleet has")
    .since("0.1");
const SITE: Key = Key::new("site", Kind::Text(Form::Name))
    .default("\"\"")
    .example("\"Berlin\"")
    .means("Name of its site, for `offramp fleet status`")
    .since("0.1");
const PUBLIC_KEYS: Key = Key::new("public_keys", Kind::Texts(Form::PublicKey))
    .required()
    .example("[\"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\"]")
    .means("Public keys: a release is taken if one of them has signed it")
    .since("0.1");
const POLICY: Key = Key::new("policy", Kind::Text(Form::Path))
    .default("\"/var/lib/offramp-fleet/policy.toml\"")
    .example("\"/var/lib/offramp-fleet/policy.toml\"")
    .means("Policy file that is written, and that `offramp run` reads")
    .since("0.1");
const FALLBACK: Key = Key::new("fallback", Kind::Text(Form::Path))
    .otherwise("none: the gateway has no policy until a release has come")
    .example("\"/etc/offramp/fallback.toml\"")
    .means("Fleet's policy that is taken where there is none yet and the store does not answer")
    .since("0.1");
const POLL_SECONDS: Key = Key::new("poll_seconds", Kind::Integer(MIN_POLL, MAX_POLL))
    .default("60")
    .example("300")
    .means("Seconds between two looks at a web server, a quarter more or less at random; a folder is looked at each second, and etcd and Consul tell of changes")
    .since("0.1");
const CA: Key = Key::new("ca", Kind::Text(Form::Path))
    .otherwise("the authorities of the system")
    .example("\"/etc/offramp/fleet-ca.pem\"")
    .means("Certificates of the authorities, as PEM, that the store's certificate is checked with")
    .since("0.1");
const CLIENT_CERTIFICATE: Key = Key::new("client_certificate", Kind::Text(Form::Path))
    .otherwise("none")
    .example("\"/etc/offramp/gateway.pem\"")
    .means("Certificate, as PEM, that this gateway shows to the store")
    .since("0.1");
const CLIENT_KEY: Key = Key::new("client_key", Kind::Text(Form::Path))
    .otherwise("none")
    .example("\"/etc/offramp/gateway.key\"")
    .means("Private key, as PEM, of `client_certificate`")
    .since("0.1");
const PROXY: Key = Key::new("proxy", Kind::Text(Form::Name))
    .otherwise("that of the environment, HTTPS_PROXY")
    .example("\"http://proxy.contoso.com:3128\"")
    .means("Proxy that leads to the store")
    .since("0.1");
const USER: Key = Key::new("user", Kind::Text(Form::Name))
    .otherwise("none")
    .example("\"gateways\"")
    .means("Name to log in to etcd with")
    .since("0.1");
const PASSWORD_FILE: Key = Key::new("password_file", Kind::Text(Form::Path))
    .otherwise("none")
    .example("\"/etc/offramp/fleet-password\"")
    .means("File with the password of `user`")
    .since("0.1");
const TOKEN_FILE: Key = Key::new("token_file", Kind::Text(Form::Path))
    .otherwise("none: the rights of Consul's anonymous token")
    .example("\"/etc/offramp/fleet-token\"")
    .means("File with the ACL token that Consul is shown")
    .since("0.1");

/// The section; it is no part of a policy, so it is not among the sections of one.
pub(super) const SECTION: SectionTable = SectionTable {
    name: "fleet",
    header: Header::Single,
    meaning: "Where the policy of this gateway comes from, and whose signatures are trusted.",
    keys: &[
        SOURCE,
        CHANNEL,
        GATEWAY,
        SITE,
        PUBLIC_KEYS,
        POLICY,
        FALLBACK,
        POLL_SECONDS,
        CA,
        CLIENT_CERTIFICATE,
        CLIENT_KEY,
        PROXY,
        USER,
        PASSWORD_FILE,
        TOKEN_FILE,
    ],
    examples: &[],
};

/// Below it a fleet would be a load for the web server.
const MIN_POLL: i64 = 1;
/// A day: beyond it nobody could tell a gateway that waits from one that is gone.
const MAX_POLL: i64 = 86_400;

/// Reads the section; `None` where there is none, or where `out` says why.
pub(super) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Option<FleetOptions> {
    let section = Section::single(file, &SECTION, out)?;
    let source = section.string(&SOURCE, parse_source, out);
    let channel = section.string(&CHANNEL, parse_word, out);
    let gateway = section.string(&GATEWAY, parse_word, out);
    let site = section.string(&SITE, parse_site_name, out);
    let public_keys = section.list(&PUBLIC_KEYS, parse_public_key, out);
    let policy = section.string(&POLICY, parse_full_path, out);
    let fallback = section.string(&FALLBACK, parse_full_path, out);
    let poll_seconds = section.integer(&POLL_SECONDS, out);
    let mut path = |key| Some(section.string(key, parse_full_path, out)?.value);
    let (ca, client_certificate, client_key, password_file, token_file) = (
        path(&CA),
        path(&CLIENT_CERTIFICATE),
        path(&CLIENT_KEY),
        path(&PASSWORD_FILE),
        path(&TOKEN_FILE),
    );
    let proxy = section.string(&PROXY, parse_name, out);
    let user = section.string(&USER, parse_name, out);
    for (one, other) in [
        (CLIENT_CERTIFICATE, CLIENT_KEY),
        (CLIENT_KEY, CLIENT_CERTIFICATE),
        (USER, PASSWORD_FILE),
        (PASSWORD_FILE, USER),
    ] {
        if section.has(&one) && !section.has(&other) {
            let message = format!("[fleet] has `{}` without `{}`", one.name, other.name);
            let label = out.text.label(section.span_of(&one), "");
            let problem = Diagnostic::error(Code::MissingKey, message).with_label(label);
            out.add(problem.with_help(format!("add `{} = {}`", other.name, other.example)));
        }
    }
    if let Some(source) = &source {
        for (key, is_given) in [
            (USER, section.has(&USER)),
            (TOKEN_FILE, section.has(&TOKEN_FILE)),
        ] {
            if let Some(remedy) = source.value.refusal_of(key.name).filter(|_| is_given) {
                let message = format!("`{}` has no effect on this `source`", key.name);
                let label = out.text.label(section.span_of(&key), "");
                let problem = Diagnostic::error(Code::UnknownKey, message).with_label(label);
                out.add(problem.with_help(remedy));
            }
        }
    }
    let word = |it: Option<Sourced<String>>, default: &str| {
        it.map_or_else(|| default.to_owned(), |it| it.value)
    };
    Some(FleetOptions {
        source: source?.value,
        channel: word(channel, "stable"),
        gateway: gateway.map(|it| it.value),
        site: word(site, ""),
        public_keys: public_keys.into_iter().map(|it| it.value).collect(),
        policy: word(policy, "/var/lib/offramp-fleet/policy.toml"),
        fallback: fallback.map(|it| it.value),
        poll_seconds: poll_seconds.map_or(60, |it| it.value),
        access: FleetAccess {
            ca,
            client_certificate,
            client_key,
            proxy: proxy.map(|it| it.value),
            user: user.map(|it| it.value),
            password_file,
            token_file,
        },
    })
}

/// Reads the address of a store.
fn parse_source(text: &str) -> Result<FleetSource, Problem> {
    FleetSource::parse(text).map_err(|why| {
        Problem::new(Code::BadUrl, format!("source `{}` {why}", shorten(text))).help(
            "write e.g. \"https://policies.contoso.com\", \"file:///srv/policies\", \"etcd://10.0.0.5:2379/contoso\" or \"consul://127.0.0.1:8500/contoso\"",
        )
    })
}

impl FleetSource {
    /// Reads the address of a store: `https://…`, `file:///…`, `etcd://…`, `etcds://…`, `consul://…` or `consuls://…`.
    ///
    /// # Errors
    /// The mistake, as the rest of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains(|char: char| char.is_control() || char.is_whitespace()) {
            return Err("has spaces or control characters");
        }
        let (scheme, rest) = text.split_once("://").ok_or("has no scheme")?;
        let rest = rest.trim_end_matches('/');
        match scheme {
            // What is signed needs no TLS against changes; others may read it then.
            "https" | "http" if !rest.is_empty() && !rest.starts_with('/') => {
                Ok(Self::Web(format!("{scheme}://{rest}")))
            }
            "https" | "http" => Err("names no server"),
            "file" if rest.starts_with('/') => Ok(Self::Folder(rest.to_owned())),
            "file" => Err("is not a folder by its full path"),
            "etcd" | "etcds" => {
                let (members, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let web = if scheme == "etcd" { "http" } else { "https" };
                let endpoint = |member: &str| {
                    endpoint(web, member).ok_or("has a member that is not host:port")
                };
                let endpoints: Result<Vec<String>, _> = members.split(',').map(endpoint).collect();
                Ok(Self::Etcd {
                    endpoints: endpoints?,
                    prefix: prefix.trim_matches('/').to_owned(),
                })
            }
            "consul" | "consuls" => {
                let (server, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let web = if scheme == "consul" { "http" } else { "https" };
                let prefix = prefix.trim_matches('/');
                if server.contains(',') {
                    return Err(
                        "has several servers: name one, e.g. the agent of Consul on this host",
                    );
                }
                if !is_path(prefix) {
                    return Err(
                        "has a prefix with more than letters, digits, dots, hyphens, underscores and single slashes",
                    );
                }
                Ok(Self::Consul {
                    endpoint: endpoint(web, server).ok_or("is not host:port and a prefix")?,
                    prefix: prefix.to_owned(),
                })
            }
            _ => Err("has a scheme that no store has"),
        }
    }

    /// Remedy where the store does not take the credential `key` (`user` or `token_file`); `None` where it takes it.
    pub fn refusal_of(&self, key: &str) -> Option<&'static str> {
        match (self, key) {
            (Self::Etcd { .. }, "user") | (Self::Consul { .. }, "token_file") => None,
            (Self::Etcd { .. }, _) => Some("etcd takes `user` and `password_file`"),
            (Self::Consul { .. }, _) => Some("Consul takes `token_file`"),
            (Self::Web(_), _) => Some("a web server takes `client_certificate` and `client_key`"),
            (Self::Folder(_), _) => Some("a folder takes no login: leave it out"),
        }
    }
}

/// The address of a server that is named by host and port.
fn endpoint(scheme: &str, server: &str) -> Option<String> {
    let (host, port) = server.rsplit_once(':')?;
    let is_right = !host.is_empty() && port.parse::<u16>().is_ok();
    is_right.then(|| format!("{scheme}://{server}"))
}

/// Returns `true` for a prefix that stands in the path of a URL as it is; Consul redirects paths with `//` and `..`.
fn is_path(prefix: &str) -> bool {
    prefix.is_empty() || prefix.split('/').all(is_word)
}

/// Reads the name of a channel or a gateway, which is a part of a key and of a path.
fn parse_word(text: &str) -> Result<String, Problem> {
    if is_word(text) {
        return Ok(text.to_owned());
    }
    let message = format!("`{}` is no name of a channel or a gateway", shorten(text));
    Err(Problem::new(Code::BadName, message)
        .help("write 1 to 64 letters, digits, dots, hyphens and underscores; the first is a letter or a digit"))
}

/// Returns `true` for a name that a channel or a gateway may have: it is a part of a key and of a path.
pub fn is_word(text: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let first = text.bytes().next();
    text.len() <= MAX_WORD
        && first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(is_known)
}

/// Reads the name of a site, which stands in a status of a bounded size.
fn parse_site_name(text: &str) -> Result<String, Problem> {
    let name = parse_name(text)?;
    if name.len() > MAX_WORD {
        let message = format!("the name has {} bytes; {MAX_WORD} is the most", name.len());
        return Err(Problem::new(Code::BadName, message));
    }
    Ok(name)
}

/// Bytes of the name of a channel, a gateway or a site.
const MAX_WORD: usize = 64;

fn parse_full_path(text: &str) -> Result<String, Problem> {
    let path = parse_path(text)?;
    if path.starts_with('/') {
        return Ok(path);
    }
    let message = format!("path `{}` does not begin with /", shorten(text));
    Err(Problem::new(Code::BadPath, message)
        .help("a daemon has no folder of its own: write the full path"))
}

fn parse_public_key(text: &str) -> Result<String, Problem> {
    crate::policy::section::feed::parse_public_key(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_web_server_a_folder_the_members_of_etcd_or_consul() {
        let web = FleetSource::parse("https://policies.contoso.com/vpn/");
        assert_eq!(
            web,
            Ok(FleetSource::Web(
                "https://policies.contoso.com/vpn".to_owned()
            ))
        );
        let folder = FleetSource::parse("file:///srv/policies");
        assert_eq!(folder, Ok(FleetSource::Folder("/srv/policies".to_owned())));
        let etcd = FleetSource::parse("etcds://10.0.0.5:2379,[2001:db8::5]:2379/contoso/vpn");
        let expected = FleetSource::Etcd {
            endpoints: vec![
                "https://10.0.0.5:2379".to_owned(),
                "https://[2001:db8::5]:2379".to_owned(),
            ],
            prefix: "contoso/vpn".to_owned(),
        };
        assert_eq!(etcd, Ok(expected));
        let consul = FleetSource::parse("consuls://127.0.0.1:8501/contoso/vpn/");
        let expected = FleetSource::Consul {
            endpoint: "https://127.0.0.1:8501".to_owned(),
            prefix: "contoso/vpn".to_owned(),
        };
        assert_eq!(consul, Ok(expected));
        for wrong in [
            "contoso",
            "ftp://x",
            "https://",
            "file://here",
            "etcd://host",
            "etcd://a:1,/x",
            "consul://host",
            "consul://a:1,b:1/x",
            "consul://a:1/x//y",
            "consul://a:1/../y",
            "consul://a:1/x?dc=y",
        ] {
            assert!(FleetSource::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_cannot_lead_to_another_key_or_path() {
        assert!(is_word("vpn1.berlin"));
        for wrong in ["", ".", "..", "a/b", "-x", "ä", "a b", &"a".repeat(65)] {
            assert!(!is_word(wrong), "{wrong}");
        }
    }
}

//! [`OwnHosts`]: the values of Host by which the page may be asked for.

use std::net::{IpAddr, SocketAddr};

use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri};

/// The names of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnHosts(pub(super) SocketAddr);

impl OwnHosts {
    /// Returns `true` if a request with these headers for `uri` names this listener, and nothing else. Its port may be another:
    /// that of the near end of a forwarding.
    pub(super) fn are_asked(self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut values = headers.get_all(HOST).iter();
        let (Some(host), None) = (values.next(), values.next()) else {
            return false;
        };
        // A request may name its host in its first line, too (RFC 9112 §3.2.2).
        let is_own_target = uri.authority().is_none_or(|it| self.has(it));
        let host = host.to_str().ok().and_then(|it| it.parse().ok());
        is_own_target && host.is_some_and(|it| self.has(&it))
    }

    fn has(self, authority: &Authority) -> bool {
        let Self(listener) = self;
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        match bare.unwrap_or(host).parse::<IpAddr>() {
            // An address is no name that somebody else could have resolved to this host.
            Ok(_) if listener.ip().is_unspecified() => true,
            Ok(address) => address == listener.ip(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_asked(listener: &str, hosts: &[&str], uri: &str) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, host.parse().expect("a value of a header"));
        }
        let listener = OwnHosts(listener.parse().expect("a socket address"));
        listener.are_asked(&headers, &uri.parse().expect("a target"))
    }

    #[test]
    fn the_address_and_localhost_are_own_hosts_at_any_port_and_names_are_not() {
        #[rustfmt::skip]
        let table = [
            // listener          Host                   own
            ("127.0.0.1:9465",   "127.0.0.1:9465",      true),
            ("127.0.0.1:9465",   "127.0.0.1",           true),
            ("127.0.0.1:9465",   "localhost:9465",      true),
            ("127.0.0.1:9465",   "LocalHost",           true),
            ("127.0.0.1:9465",   "localhost:8080",      true),
            ("127.0.0.1:9465",   "127.0.0.2:9465",      false),
            ("127.0.0.1:9465",   "rebound.example",     false),
            ("127.0.0.1:9465",   "localhost.example",   false),
            ("127.0.0.1:9465",   "a@localhost",         false),
            ("127.0.0.1:9465",   "[::1]:9465",          false),
            ("127.0.0.1:9465",   "",                    false),
            ("[::1]:9465",       "[::1]:9465",          true),
            ("[::1]:9465",       "[0:0:0:0:0:0:0:1]",   true),
            ("[::1]:9465",       "localhost",           true),
            ("172.16.1.1:9465",  "172.16.1.1:9465",     true),
            ("172.16.1.1:9465",  "127.0.0.1:9465",      false),
            ("0.0.0.0:9465",     "192.0.2.7:9465",      true),
            ("0.0.0.0:9465",     "gateway.example",     false),
        ];
        for (listener, host, is_own) in table {
            assert_eq!(
                are_asked(listener, &[host], "/"),
                is_own,
                "{host:?} at {listener}"
            );
        }
    }

    #[test]
    fn a_request_without_a_host_or_with_two_is_nobodys() {
        assert!(!are_asked("127.0.0.1:9465", &[], "/"));
        assert!(!are_asked(
            "127.0.0.1:9465",
            &["localhost", "localhost"],
            "/"
        ));
        assert!(!are_asked(
            "127.0.0.1:9465",
            &["localhost", "rebound.example"],
            "/"
        ));
    }

    #[test]
    fn the_host_of_a_whole_uri_counts_too() {
        assert!(are_asked(
            "127.0.0.1:9465",
            &["localhost"],
            "http://127.0.0.1:9465/"
        ));
        assert!(!are_asked(
            "127.0.0.1:9465",
            &["localhost"],
            "http://rebound.example/"
        ));
    }
}

//! [`Transport`]: HTTP with the certificates, the proxy and the time limits of a fleet's stores.

use std::fs;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use ureq::http::Response;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use crate::message::shorten;
use crate::policy::site::FleetAccess;

/// HTTP to a store.
#[derive(Debug)]
pub(super) struct Transport {
    agent: Agent,
}

/// The method of a request with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// PUT, of bytes that the server does not look into.
    Put,
    /// POST, of JSON.
    PostJson,
}

/// The reason why a request had no answer that can be used.
#[derive(Debug, Error)]
pub enum HttpError {
    /// A certificate, key or password cannot be used.
    #[error("{path}: {why}")]
    Credential {
        /// The file.
        path: String,
        /// The cause.
        why: String,
    },
    /// The proxy cannot be used.
    #[error(
        "proxy `{proxy}` is no address of a proxy: write e.g. \"http://proxy.contoso.com:3128\""
    )]
    Proxy {
        /// The address.
        proxy: String,
    },
    /// No answer came.
    #[error("{url}: {why}")]
    NoAnswer {
        /// The address.
        url: String,
        /// The cause.
        why: String,
    },
    /// The answer is an error.
    #[error("{url} answered {status}{}{message}", if .message.is_empty() { "" } else { ": " })]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The words of the server, cut short.
        message: String,
    },
    /// The answer is too long.
    #[error("{url} answered with more than {most} bytes")]
    TooLong {
        /// The address.
        url: String,
        /// The bound.
        most: usize,
    },
    /// The answer has an unknown form.
    #[error("{url} answered with something that is not of such a store: {why}")]
    Unknown {
        /// The address.
        url: String,
        /// The cause.
        why: String,
    },
}

impl Transport {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// [`HttpError`].
    pub(super) fn new(access: &FleetAccess) -> Result<Self, HttpError> {
        let roots = match &access.ca {
            Some(path) => RootCerts::Specific(Arc::new(certificates(path)?)),
            None => RootCerts::PlatformVerifier,
        };
        let client = match (&access.client_certificate, &access.client_key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                Some(ClientCert::new_with_certs(&chain, private_key(key)?))
            }
            _ => None,
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .client_cert(client)
            .build();
        let mut config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // Signatures protect what is read, but a password is for this server alone.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A connection that was kept could lead to a member that is gone.
            .max_idle_connections(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("offramp/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &access.proxy {
            let parsed = Proxy::new(proxy).map_err(|_| HttpError::Proxy {
                proxy: proxy.clone(),
            })?;
            config = config.proxy(Some(parsed));
        }
        Ok(Self {
            agent: config.build().into(),
        })
    }

    /// Sends a GET request with these headers; the whole answer may take `timeout`.
    pub(super) fn get(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Response<Body>, HttpError> {
        let mut request = self.agent.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        request.call().map_err(|error| no_answer(url, &error))
    }

    /// Sends `body`, and returns the answer, which may take `timeout`.
    pub(super) fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Response<Body>, HttpError> {
        let mut request = match method {
            Method::Put => self.agent.put(url),
            Method::PostJson => {
                let request = self.agent.post(url);
                request.header("Content-Type", "application/json")
            }
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        request.send(body).map_err(|error| no_answer(url, &error))
    }
}

fn no_answer(url: &str, error: &ureq::Error) -> HttpError {
    HttpError::NoAnswer {
        url: url.to_owned(),
        why: error.to_string(),
    }
}

/// Reads the body of an answer, of at most `most` bytes.
pub(super) fn body(
    url: &str,
    response: &mut Response<Body>,
    most: usize,
) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    let reader = response.body_mut().as_reader();
    let read = reader.take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| HttpError::NoAnswer {
        url: url.to_owned(),
        why: error.to_string(),
    })?;
    if bytes.len() > most {
        return Err(HttpError::TooLong {
            url: url.to_owned(),
            most,
        });
    }
    Ok(bytes)
}

/// The error that an answer with this status is.
pub(super) fn status_error(url: &str, response: &mut Response<Body>) -> HttpError {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type");
    let is_plain = kind.is_some_and(|it| it.as_bytes().starts_with(b"text/plain"));
    let text = body(url, response, MAX_ERROR).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let message = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|it| Some(it.get("message")?.as_str()?.to_owned()));
    let first_line = text.lines().next().filter(|_| is_plain);
    // Servers for people answer with a page: "400 No required SSL certificate was sent".
    let shown = first_line.or_else(|| title(&text)).map(|it| {
        let it = it.strip_prefix(&status.to_string()).unwrap_or(it);
        shorten(it.trim())
    });
    let message = message.or(shown);
    HttpError::Status {
        url: url.to_owned(),
        status,
        message: message.unwrap_or_default(),
    }
}

/// The title of a page.
fn title(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("<title>")?;
    Some(rest.split_once("</title>")?.0)
}

fn certificates(path: &str) -> Result<Vec<Certificate<'static>>, HttpError> {
    let pem = read(path)?;
    let items: Result<Vec<PemItem<'static>>, _> = parse_pem(&pem).collect();
    let items = items.map_err(|error| credential(path, &error.to_string()))?;
    let certificates = items.into_iter().filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() {
        return Err(credential(path, "it has no certificate in PEM"));
    }
    Ok(certificates)
}

fn private_key(path: &str) -> Result<PrivateKey<'static>, HttpError> {
    PrivateKey::from_pem(&read(path)?).map_err(|_| credential(path, "it has no private key in PEM"))
}

/// Reads a file with a password or a token, which has one line.
pub(super) fn secret(path: &str) -> Result<String, HttpError> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads a small file of secrets or certificates.
fn read(path: &str) -> Result<Vec<u8>, HttpError> {
    let read = fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MAX_CREDENTIAL).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    read.map_err(|error: io::Error| credential(path, &error.to_string()))
}

fn credential(path: &str, why: &str) -> HttpError {
    HttpError::Credential {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

/// A member that is away is told apart from a slow one in that time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for one whole answer: the largest policy over a slow line.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// More than any bundle of certificates has.
const MAX_CREDENTIAL: u64 = 4 << 20;
/// Bytes of an error that are read.
const MAX_ERROR: usize = 4096;

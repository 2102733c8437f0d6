//! [`fetch`]: gets a feed from its publisher, by the publisher's rules.
//!
//! Microsoft asks its clients to identify themselves with one permanent id, to ask for the version first, at most once
//! an hour, and to back off for an hour after a 429. The same rules are kept with every publisher. The proxy comes from
//! the environment (`HTTPS_PROXY`, `NO_PROXY`), the certificates from the system (and `SSL_CERT_FILE`). A mirror may be a
//! file, and may be signed (`mirror`).
//!
//! ```text
//!  too soon? ──▶ version ──▶ the same? ──▶ the file is as of today
//!                   └──▶ endpoints ──▶ read, select, guard ──▶ old file beside, new file in its place
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use ureq::tls::{RootCerts, TlsConfig};

use super::feeds::{self, previous};
use super::mirror;
use crate::feed::{Document, FeedError, MAX_FEED_SIZE};
use crate::files::{atomic, place};
use crate::policy::{Feed, FeedFormat, Server};

/// The result of fetching a feed.
#[derive(Debug)]
pub enum Fetched {
    /// The publisher was asked less than an hour ago, or requested a backoff: no request was sent.
    TooSoon {
        /// The time left until the publisher may be asked again.
        wait: Duration,
    },
    /// The file in use is the publisher's latest.
    Unchanged {
        /// Its version, if the publisher has versions.
        version: Option<String>,
    },
    /// The file was replaced by a new one.
    Updated {
        /// Its version, if the publisher has versions.
        version: Option<String>,
        /// The file in use before, if it was valid.
        before: Option<Document>,
        /// The file in use now.
        after: Document,
    },
}

/// The reason why a feed was not fetched; the file in use is unchanged.
#[derive(Debug, Error)]
pub enum FetchError {
    /// A list has no address of its own.
    #[error("it has no `url` to be fetched from")]
    NoUrl,
    /// The file of the mirror is not signed by the policy's key.
    #[error("{url} is refused: {why}")]
    Unsigned {
        /// The address of the file.
        url: String,
        /// The mistake.
        why: String,
    },
    /// The server did not answer.
    #[error("{url}: {message}")]
    NoAnswer {
        /// The address.
        url: String,
        /// The cause.
        message: String,
    },
    /// The answer is not the document.
    #[error("{url} answered {status}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The publisher refused because of too many requests.
    #[error("{url} answered 429 (too many requests): try again in {} minutes", .wait.as_secs().div_ceil(60))]
    TooMany {
        /// The address.
        url: String,
        /// The backoff.
        wait: Duration,
    },
    /// The version document has an unknown format.
    #[error("{url} did not answer with a version of the instance {instance}")]
    NoVersion {
        /// The address.
        url: String,
        /// The instance that was asked for.
        instance: String,
    },
    /// The document has a mistake.
    #[error("the answer of {url} is refused: {error}")]
    Refused {
        /// The address.
        url: String,
        /// The mistake.
        error: FeedError,
    },
    /// A file cannot be written.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
}

/// The state kept between fetches, beside the policy.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FetchState {
    /// The permanent id of this machine.
    #[serde(default)]
    client_request_id: String,
    /// By the feed's file.
    #[serde(default)]
    feeds: BTreeMap<String, FeedState>,
}

/// The state kept for one feed; times are seconds since 1970.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct FeedState {
    version: Option<String>,
    url: Option<String>,
    asked_at: u64,
    not_before: u64,
}

impl FetchState {
    /// Returns the path of the state for the policy at `policy`.
    pub fn path(policy: &Path) -> PathBuf {
        let folder = policy.parent().unwrap_or_else(|| Path::new("."));
        folder.join(".offramp-feeds.json")
    }

    /// Reads the state at `path`; a missing or damaged one is started anew.
    pub fn read(path: &Path) -> Self {
        let read = feeds::read(path).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Writes the state to `path`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        atomic::write(path, &text, 0o644)
    }

    /// Returns the id of this machine; generates one if there is none.
    fn client_request_id(&mut self) -> io::Result<String> {
        if self.client_request_id.is_empty() {
            // A random one (RFC 9562 version 4), from the kernel.
            let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
            self.client_request_id = id.trim().to_owned();
        }
        Ok(self.client_request_id.clone())
    }
}

/// Gets the file of `feed` at `path`, if its publisher has a new one that leaves the policy's `servers` alone. The caller writes
/// `state` afterwards, whatever the result.
///
/// # Errors
/// [`FetchError`]; the file in use is then unchanged.
pub fn fetch(
    feed: &Feed,
    servers: &[Server],
    path: &Path,
    state: &mut FetchState,
    now: SystemTime,
) -> Result<Fetched, FetchError> {
    let file_error = |error| FetchError::File {
        path: path.to_owned(),
        error,
    };
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let known = state
        .feeds
        .get(&feed.file.value)
        .cloned()
        .unwrap_or_default();
    let is_file = feed
        .url
        .as_ref()
        .is_some_and(|url| mirror::file(&url.value).is_some());
    let free_at = known
        .not_before
        .max(known.asked_at.saturating_add(HOUR.as_secs()));
    // A clock set back must not delay the feed for longer than the rule does.
    if free_at > seconds && known.asked_at <= seconds && !is_file {
        let wait = Duration::from_secs(free_at - seconds);
        return Ok(Fetched::TooSoon { wait });
    }
    let origin = Origin::of(feed)?;
    let id = match &origin {
        Origin::WebService { .. } => state.client_request_id().map_err(file_error)?,
        Origin::Plain { .. } => String::new(),
    };
    let mut asked = FeedState {
        asked_at: seconds,
        ..known
    };
    let done = ask(feed, servers, &origin, path, &id, &mut asked);
    if let Err(FetchError::TooMany { wait, .. }) = &done {
        asked.not_before = seconds.saturating_add(wait.as_secs());
    }
    state.feeds.insert(feed.file.value.clone(), asked);
    done
}

/// The place that a feed is fetched from.
enum Origin<'a> {
    /// Microsoft's web service, or another with the same paths: it has versions.
    WebService {
        /// Everything before `/endpoints/`.
        base: &'a str,
        /// The name of the cloud.
        instance: &'a str,
    },
    /// A document at one address, or in a file.
    Plain { url: &'a str },
}

impl<'a> Origin<'a> {
    fn of(feed: &'a Feed) -> Result<Self, FetchError> {
        let url = feed.url.as_ref().map(|url| url.value.as_str());
        match (feed.format, url) {
            (FeedFormat::Microsoft365, None) => Ok(Self::WebService {
                base: MICROSOFT,
                instance: feed.instance.name(),
            }),
            (FeedFormat::Microsoft365, Some(url)) => {
                let parts = url.rsplit_once("/endpoints/");
                Ok(match parts {
                    // A signature is of one document, and a version has none.
                    Some((base, instance))
                        if feed.public_key.is_none() && mirror::file(url).is_none() =>
                    {
                        Self::WebService { base, instance }
                    }
                    Some(_) | None => Self::Plain { url },
                })
            }
            (FeedFormat::Prefixes | FeedFormat::WebPage, None) => Err(FetchError::NoUrl),
            (FeedFormat::AwsIpRanges, None) => Ok(Self::Plain { url: AMAZON }),
            (FeedFormat::Prefixes | FeedFormat::AwsIpRanges | FeedFormat::WebPage, Some(url)) => {
                Ok(Self::Plain { url })
            }
        }
    }
}

fn ask(
    feed: &Feed,
    servers: &[Server],
    origin: &Origin<'_>,
    path: &Path,
    id: &str,
    asked: &mut FeedState,
) -> Result<Fetched, FetchError> {
    let (url, version) = match origin {
        Origin::Plain { url } => ((*url).to_owned(), None),
        Origin::WebService { base, instance } => {
            let version = version(base, instance, id)?;
            (
                with_id(&format!("{base}/endpoints/{instance}"), id),
                Some(version),
            )
        }
    };
    let in_place = feeds::read(path).ok();
    let before = in_place.as_deref().and_then(|bytes| feed.read(bytes).ok());
    let same_address = asked.url.as_deref() == Some(&url);
    if version.is_some() && version == asked.version && same_address && before.is_some() {
        touch(path, SystemTime::now())?;
        return Ok(Fetched::Unchanged { version });
    }
    let (bytes, made) = document(feed, &url)?;
    let refused = |error| FetchError::Refused {
        url: url.clone(),
        error,
    };
    let after = feed.read(&bytes).map_err(refused)?;
    // A file that the policy would reject must not replace one that it accepted.
    feed.select(&after, servers).map_err(refused)?;
    asked.version.clone_from(&version);
    asked.url = Some(url);
    if in_place.as_deref() == Some(&bytes[..]) {
        touch(path, made)?;
        return Ok(Fetched::Unchanged { version });
    }
    replace(path, in_place.as_deref(), &bytes)?;
    touch(path, made)?;
    Ok(Fetched::Updated {
        version,
        before,
        after,
    })
}

/// Gets the document at `url`, with its signature where the policy has a key, and the time from which it counts: a
/// publisher's answer is of today, a mirror's file as old as the file or its signature says.
fn document(feed: &Feed, url: &str) -> Result<(Vec<u8>, SystemTime), FetchError> {
    let (bytes, made) = read_or_get(url)?;
    let Some(key) = &feed.public_key else {
        return Ok((bytes, made));
    };
    let (signature, _) = read_or_get(&mirror::signature_of(url))?;
    let signed =
        mirror::verify(&key.value, &bytes, &signature).map_err(|why| FetchError::Unsigned {
            url: url.to_owned(),
            why,
        })?;
    Ok((bytes, signed.unwrap_or(made).min(made)))
}

fn read_or_get(url: &str) -> Result<(Vec<u8>, SystemTime), FetchError> {
    let Some(path) = mirror::file(url) else {
        return Ok((get(url)?, SystemTime::now()));
    };
    let error = |error| FetchError::File {
        path: path.to_owned(),
        error,
    };
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    let modified = modified.map_err(error)?;
    Ok((feeds::read(path).map_err(error)?, modified))
}

/// Asks for the version of the endpoints of `instance`.
fn version(base: &str, instance: &str, id: &str) -> Result<String, FetchError> {
    #[derive(Deserialize)]
    struct Version {
        instance: Option<String>,
        latest: String,
    }
    /// The web service answers with one version, or with those of all instances.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Versions {
        One(Version),
        All(Vec<Version>),
    }
    // The address may have a query of its own.
    let name = instance.split('?').next().unwrap_or_default();
    let url = with_id(&format!("{base}/version/{instance}"), id);
    let bytes = get(&url)?;
    let versions = match serde_json::from_slice::<Versions>(&bytes) {
        Ok(Versions::One(version)) => vec![version],
        Ok(Versions::All(versions)) => versions,
        Err(_) => Vec::new(),
    };
    let is_of_it = |version: &Version| {
        let named = version.instance.as_ref();
        named.is_none_or(|it| it.eq_ignore_ascii_case(name))
    };
    // Ten digits: the day, and a number.
    let is_version =
        |text: &String| text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut latest = versions.into_iter().filter(is_of_it).map(|it| it.latest);
    latest
        .next()
        .filter(is_version)
        .ok_or_else(|| FetchError::NoVersion {
            url,
            instance: name.to_owned(),
        })
}

fn with_id(url: &str, id: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}ClientRequestId={id}")
}

/// Sends one request and returns the body of the answer.
fn get(url: &str) -> Result<Vec<u8>, FetchError> {
    let no_answer = |error: ureq::Error| FetchError::NoAnswer {
        url: url.to_owned(),
        message: error.to_string(),
    };
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .tls_config(tls)
        // A policy may use http for this machine only; a redirect must not lead elsewhere.
        .https_only(url.starts_with("https://"))
        .max_redirects(if url.starts_with("https://") {
            MAX_REDIRECTS
        } else {
            0
        })
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .user_agent(concat!("offramp/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut response = agent.get(url).call().map_err(no_answer)?;
    match response.status().as_u16() {
        200 => {}
        429 => {
            let header = response.headers().get("retry-after");
            let seconds = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let wait = Duration::from_secs(seconds.unwrap_or(0)).clamp(HOUR, MAX_WAIT);
            return Err(FetchError::TooMany {
                url: url.to_owned(),
                wait,
            });
        }
        status => {
            return Err(FetchError::Status {
                url: url.to_owned(),
                status,
            });
        }
    }
    let body = response.body_mut().with_config();
    // With a limit one byte higher, the reader and not this limit would report one byte too many.
    body.limit(MAX_FEED_SIZE as u64)
        .read_to_vec()
        .map_err(no_answer)
}

/// Marks the file in use as of `made`.
fn touch(path: &Path, made: SystemTime) -> Result<(), FetchError> {
    let touched = place::open_existing(path).and_then(|file| file.set_modified(made));
    touched.map_err(|error| FetchError::File {
        path: path.to_owned(),
        error,
    })
}

/// Puts `bytes` into use, and keeps the earlier file beside it.
fn replace(path: &Path, before: Option<&[u8]>, bytes: &[u8]) -> Result<(), FetchError> {
    let write = |path: PathBuf, bytes: &[u8]| {
        atomic::write(&path, bytes, 0o644).map_err(|error| FetchError::File { path, error })
    };
    if let Some(before) = before {
        write(previous(path), before)?;
    }
    write(path.to_owned(), bytes)
}

/// All address ranges of Amazon Web Services (AWS General Reference, "AWS IP address ranges").
const AMAZON: &str = "https://ip-ranges.amazonaws.com/ip-ranges.json";
/// Microsoft's web service, for every cloud.
const MICROSOFT: &str = "https://endpoints.office.com";
const HOUR: Duration = Duration::from_secs(3_600);
/// The longest backoff that a publisher may ask for.
const MAX_WAIT: Duration = Duration::from_secs(86_400);
/// The timeout of one request.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: u32 = 3;

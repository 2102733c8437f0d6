//! [`ConsulStore`]: releases in the key-value store of Consul, by its HTTP API (`/v1/kv/…`, `/v1/session/…`).
//!
//! ```text
//!  read   ──▶ GET kv/KEY ──▶ value, ModifyIndex; X-Consul-Index is where the next wait begins
//!  wait   ──▶ GET kv/KEY?index=…&wait=60s ──▶ a change, the end of the time, an error: whatever it is, the caller reads again
//!  write  ──▶ PUT kv/KEY?cas=ModifyIndex ──▶ false if it is another one by now
//!  report ──▶ PUT kv/KEY?acquire=SESSION; the session ends by its TTL, and Consul removes the key with it
//! ```
//!
//! Each wait begins at the index of a read that has none, so an index that goes backwards (a snapshot that was restored, an upgrade)
//! is reset by the read before, and one of 0, which would not wait, counts as 1 (Consul documentation, "Blocking Queries", "KV Store"
//! and "Session" of the HTTP API, version 1.8 and later, read in November 2026).

use std::fmt::{self, Debug};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use ureq::Body;
use ureq::http::Response;

use super::{Entry, Store, StoreError, StoreResult, Version, child_names, prefixed};
use crate::gateway::fleet::http::{self, HttpError, Method, Transport, body, status_error};
use crate::gateway::fleet::layout::CHANNELS;
use crate::policy::site::FleetAccess;

/// Releases in Consul.
pub(super) struct ConsulStore {
    endpoint: String,
    prefix: String,
    transport: Transport,
    /// The ACL token.
    token: Option<String>,
    /// Index of the channel when it was read last.
    index: u64,
    /// The session of this gateway's report.
    session: Option<String>,
}

impl Debug for ConsulStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ConsulStore({})", self.name())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyValue {
    modify_index: u64,
    /// `null` for a value without bytes.
    value: Option<String>,
    /// Absent where no session has locked the key.
    session: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Session {
    id: String,
}

impl ConsulStore {
    /// Keys stand under `prefix`.
    pub(super) fn new(
        endpoint: &str,
        prefix: &str,
        transport: Transport,
        access: &FleetAccess,
    ) -> Result<Self, StoreError> {
        let token = access.token_file.as_deref().map(http::secret);
        Ok(Self {
            endpoint: endpoint.to_owned(),
            prefix: prefix.to_owned(),
            transport,
            token: token.transpose()?,
            index: 0,
            session: None,
        })
    }

    fn key(&self, key: &str) -> String {
        prefixed(&self.prefix, key)
    }

    fn url(&self, key: &str) -> String {
        format!("{}/v1/kv/{}", self.endpoint, self.key(key))
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let token = self.token.as_deref();
        token
            .map(|token| ("X-Consul-Token", token))
            .into_iter()
            .collect()
    }

    /// Asks for a key; `None` where Consul has none, whose answer has an index nevertheless.
    fn get(
        &self,
        url: &str,
        timeout: Duration,
    ) -> Result<(Option<Response<Body>>, u64), HttpError> {
        let mut response = self.transport.get(url, &self.headers(), timeout)?;
        let index = response.headers().get("x-consul-index");
        let index = index.and_then(|it| it.to_str().ok()?.parse().ok());
        match (response.status().as_u16(), index) {
            (200, Some(index)) => Ok((Some(response), index)),
            (404, Some(index)) => Ok((None, index)),
            (200, None) => Err(HttpError::Unknown {
                url: url.to_owned(),
                why: "the answer has no X-Consul-Index".to_owned(),
            }),
            _ => Err(status_error(url, &mut response)),
        }
    }

    /// Reads a key with all that Consul knows of it.
    fn look(&mut self, key: &str, most: usize) -> Result<Option<KeyValue>, StoreError> {
        let url = self.url(key);
        let (response, index) = self.get(&url, ANSWER_TIMEOUT)?;
        if key.starts_with(CHANNELS) {
            self.index = index;
        }
        let Some(mut response) = response else {
            return Ok(None);
        };
        // As base64, and what stands beside it.
        let bytes = body(&url, &mut response, most * 2 + MAX_ENVELOPE)?;
        let found: Vec<KeyValue> = parse(&url, &bytes)?;
        Ok(found.into_iter().next())
    }

    fn send(&self, url: &str, bytes: &[u8]) -> Result<Response<Body>, HttpError> {
        let headers = self.headers();
        self.transport
            .send(Method::Put, url, &headers, bytes, ANSWER_TIMEOUT)
    }

    /// Writes by PUT; `false` if Consul says so, by its answer or by 404.
    fn put(&self, url: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let mut response = self.send(url, bytes)?;
        match response.status().as_u16() {
            200 => Ok(body(url, &mut response, MAX_ENVELOPE)?.trim_ascii() != b"false"),
            404 => Ok(false),
            _ => Err(status_error(url, &mut response).into()),
        }
    }

    /// Writes `key` if it has still the index `before`; 0 stands for a key that is not there.
    fn compare_and_swap(
        &self,
        key: &str,
        before: &str,
        bytes: &[u8],
        conflict: fn(String) -> StoreError,
    ) -> Result<(), StoreError> {
        if bytes.len() > MAX_VALUE {
            return Err(StoreError::TooLargeForConsul {
                key: key.to_owned(),
                bytes: bytes.len(),
                most: MAX_VALUE,
            });
        }
        match self.put(&format!("{}?cas={before}", self.url(key)), bytes)? {
            true => Ok(()),
            false => Err(conflict(key.to_owned())),
        }
    }

    /// Begins the time of a session anew; `false` if it is over.
    fn renew(&self, session: &str) -> Result<bool, StoreError> {
        self.put(
            &format!("{}/v1/session/renew/{session}", self.endpoint),
            b"",
        )
    }

    /// The session that has the report at `key`, if an agent that ran before has left it, or a new one.
    fn session_of(&mut self, key: &str, lease: Duration) -> Result<String, StoreError> {
        let here = self.look(key, MAX_ENVELOPE)?;
        if let Some(session) = here.and_then(|it| it.session)
            && self.renew(&session)?
        {
            return Ok(session);
        }
        let request = json!({
            "Name": format!("offramp {key}"),
            "TTL": format!("{}s", lease.min(MAX_TTL).as_secs()),
            "Behavior": "delete",
            "LockDelay": "1s",
            // None, not even whether the node of Consul lives: a restart of it takes no report away.
            "NodeChecks": [],
        });
        let url = format!("{}/v1/session/create", self.endpoint);
        let text = request.to_string();
        let mut response = self.send(&url, text.as_bytes())?;
        if response.status().as_u16() != 200 {
            return Err(status_error(&url, &mut response).into());
        }
        let bytes = body(&url, &mut response, MAX_ENVELOPE)?;
        Ok(parse::<Session>(&url, &bytes)?.id)
    }
}

impl Store for ConsulStore {
    fn name(&self) -> String {
        format!("{}/v1/kv/{}", self.endpoint, self.prefix)
    }

    fn read(&mut self, key: &str, most: usize) -> StoreResult<Option<Entry>> {
        let Some(found) = self.look(key, most)? else {
            return Ok(None);
        };
        let bytes = STANDARD.decode(found.value.unwrap_or_default());
        let bytes = bytes.map_err(|error| HttpError::Unknown {
            url: self.url(key),
            why: error.to_string(),
        })?;
        if bytes.len() > most {
            return Err(StoreError::TooLarge {
                key: key.to_owned(),
                most,
            });
        }
        let version = Version(found.modify_index.to_string());
        Ok(Some(Entry { bytes, version }))
    }

    fn wait(&mut self, key: &str, _: Option<&Version>, patience: Duration) -> StoreResult {
        let patience = patience.clamp(MIN_WAIT, MAX_WAIT);
        let (index, seconds) = (self.index.max(1), patience.as_secs());
        let url = format!("{}?index={index}&wait={seconds}s", self.url(key));
        // Consul adds up to a sixteenth, lest all that wait are answered at the same time.
        self.get(&url, patience + patience / 16 + ANSWER_TIMEOUT)?;
        Ok(())
    }

    fn create(&mut self, key: &str, bytes: &[u8]) -> StoreResult {
        self.compare_and_swap(key, "0", bytes, StoreError::Exists)
    }

    fn exchange(&mut self, key: &str, before: Option<&Version>, bytes: &[u8]) -> StoreResult {
        let before = before.map_or("0", |before| before.0.as_str());
        self.compare_and_swap(key, before, bytes, StoreError::Changed)
    }

    fn names(&mut self, folder: &str) -> StoreResult<Vec<String>> {
        let start = self.key(&format!("{folder}/"));
        let url = format!("{}/?keys&separator=/", self.url(folder));
        let (Some(mut response), _) = self.get(&url, ANSWER_TIMEOUT)? else {
            return Ok(Vec::new());
        };
        let bytes = body(&url, &mut response, MAX_NAMES)?;
        let keys: Vec<String> = parse(&url, &bytes)?;
        Ok(child_names(&start, keys))
    }

    fn report(&mut self, key: &str, bytes: &[u8], lease: Duration) -> StoreResult<bool> {
        let session = match self.session.take() {
            Some(session) if self.renew(&session)? => session,
            _ => self.session_of(key, lease)?,
        };
        if !self.put(&format!("{}?acquire={session}", self.url(key)), bytes)? {
            return Err(StoreError::Locked(key.to_owned()));
        }
        self.session = Some(session);
        Ok(true)
    }
}

fn parse<T: serde::de::DeserializeOwned>(url: &str, bytes: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(bytes).map_err(|error| HttpError::Unknown {
        url: url.to_owned(),
        why: error.to_string(),
    })
}

/// Bytes of a value that Consul takes unless `limits.kv_max_value_size` says otherwise, which its makers advise against (Consul
/// documentation, "KV Store", read in November 2026).
const MAX_VALUE: usize = 512 << 10;
/// Bytes of an answer beside the value: key, indexes, session.
const MAX_ENVELOPE: usize = 4096;
/// Names of ten thousands of gateways.
const MAX_NAMES: usize = 16 << 20;
/// A server that takes longer, beyond the time of a wait, is taken for one that hangs: values have 512 KiB at most.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// `wait` is in whole seconds, and one of 0 would be five minutes.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// A wait ends after that at the latest, and everything is read anew.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The longest that a session may live without being renewed (Consul documentation, "Session HTTP Endpoint"); its keys go at the
/// latest after twice that.
const MAX_TTL: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_consul_would_not_take_is_refused_before_it_is_sent() {
        let access = FleetAccess::default();
        let transport = Transport::new(&access).expect("nothing to read");
        // Nobody listens there.
        let mut store = ConsulStore::new("http://127.0.0.1:1", "contoso", transport, &access)
            .expect("no token to read");
        let refused = store.create(
            "offramp/v1/release/1/policy.toml.gz",
            &vec![0; MAX_VALUE + 1],
        );
        let why = refused.expect_err("it is too large").to_string();
        assert!(
            why.contains("has 524289 bytes, and Consul takes 524288") && why.contains("etcd://"),
            "{why}"
        );
    }
}

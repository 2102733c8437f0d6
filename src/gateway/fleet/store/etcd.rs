//! [`EtcdStore`]: releases in etcd, version 3, by the JSON gateway of its members (`/v3/kv/range`, …).
//!
//! ```text
//!  read  ──▶ range: value, revision
//!  wait  ──▶ watch from that revision on, a minute at most ──▶ an event, a compaction, a member that went away, the end:
//!            whatever it is, the caller reads again
//! ```
//!
//! So no event has to be understood, and none can be missed. A member that does not answer is followed by the next one. Numbers of
//! 64 bits are strings in this JSON, keys and values base64 (etcd documentation, "gRPC gateway", version 3.5, 2021).

use std::fmt::Debug;
use std::io::{BufRead as _, BufReader, Read as _};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Entry, Store, StoreError, StoreResult, Version, child_names, prefixed};
use crate::gateway::fleet::http::{self, HttpError, Method, Transport, body, status_error};
use crate::gateway::fleet::layout::CHANNELS;
use crate::policy::MAX_FILE_SIZE;
use crate::policy::site::FleetAccess;

/// Releases in etcd.
#[derive(Debug)]
pub(super) struct EtcdStore {
    endpoints: Vec<String>,
    /// The member that answered last; at first any.
    at: usize,
    prefix: String,
    transport: Transport,
    login: Option<Login>,
    /// Revision of the store when a channel was read last.
    revision: i64,
    /// The lease of this gateway's report.
    lease: Option<String>,
}

/// A user, and the token of the login.
struct Login {
    user: String,
    password: String,
    token: Option<String>,
}

impl Debug for Login {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Login({})", self.user)
    }
}

#[derive(Deserialize)]
struct Header {
    revision: String,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    mod_revision: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Range {
    header: Header,
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct Transaction {
    /// Absent for false, as in all JSON of protocol buffers.
    #[serde(default)]
    succeeded: bool,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

#[derive(Deserialize)]
struct Lease {
    #[serde(rename = "ID")]
    id: String,
}

impl EtcdStore {
    /// Keys stand under `prefix`.
    pub(super) fn new(
        endpoints: &[String],
        prefix: &str,
        transport: Transport,
        access: &FleetAccess,
    ) -> Result<Self, StoreError> {
        let login = match (&access.user, &access.password_file) {
            (Some(user), Some(path)) => Some(Login {
                user: user.clone(),
                password: http::secret(path)?,
                token: None,
            }),
            _ => None,
        };
        Ok(Self {
            endpoints: endpoints.to_vec(),
            // Gateways have the same list: each begins somewhere, lest all ask the first member.
            at: rand::random_range(0..endpoints.len()),
            prefix: prefix.to_owned(),
            transport,
            login,
            revision: 0,
            lease: None,
        })
    }

    fn key(&self, key: &str) -> String {
        prefixed(&self.prefix, key)
    }

    /// Asks one member after the other, until one answers.
    fn ask<T: DeserializeOwned>(&mut self, path: &str, request: &Value) -> Result<T, StoreError> {
        let mut errors = Vec::new();
        for _ in 0..self.endpoints.len() {
            let answer = match self.ask_member(path, request) {
                Err(error) if self.is_logged_out(&error) => self.ask_member(path, request),
                answer => answer,
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if is_of_the_member(&error) => errors.push(error),
                Err(error) => return Err(error.into()),
            }
            self.at = (self.at + 1) % self.endpoints.len();
        }
        if errors.len() == 1
            && let Some(only) = errors.pop()
        {
            return Err(only.into());
        }
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Err(StoreError::Http(HttpError::NoAnswer {
            url: "no member answers".to_owned(),
            why: all.join("; "),
        }))
    }

    fn ask_member<T: DeserializeOwned>(
        &mut self,
        path: &str,
        request: &Value,
    ) -> Result<T, HttpError> {
        let mut response = self.send(path, request, ANSWER_TIMEOUT)?;
        let url = self.url(path);
        let bytes = body(&url, &mut response, MAX_ANSWER)?;
        serde_json::from_slice(&bytes).map_err(|error| HttpError::Unknown {
            url,
            why: error.to_string(),
        })
    }

    /// Sends a request to the present member, after a login if there is a user.
    fn send(
        &mut self,
        path: &str,
        request: &Value,
        timeout: Duration,
    ) -> Result<ureq::http::Response<ureq::Body>, HttpError> {
        let token = self.token()?;
        let url = self.url(path);
        let header = token.as_deref().map(|token| ("Authorization", token));
        let headers: Vec<_> = header.into_iter().collect();
        let text = request.to_string();
        let method = Method::PostJson;
        let sent = self
            .transport
            .send(method, &url, &headers, text.as_bytes(), timeout);
        let mut response = sent?;
        match response.status().as_u16() {
            200 => Ok(response),
            _ => Err(status_error(&url, &mut response)),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v3/{path}", self.endpoints[self.at])
    }

    fn token(&mut self) -> Result<Option<String>, HttpError> {
        let url = self.url("auth/authenticate");
        let Some(login) = &mut self.login else {
            return Ok(None);
        };
        if login.token.is_none() {
            let request = json!({ "name": login.user, "password": login.password }).to_string();
            let (method, bytes) = (Method::PostJson, request.as_bytes());
            let sent = self
                .transport
                .send(method, &url, &[], bytes, ANSWER_TIMEOUT);
            let mut response = sent?;
            if response.status().as_u16() != 200 {
                return Err(status_error(&url, &mut response));
            }
            let bytes = body(&url, &mut response, MAX_ANSWER)?;
            let token: Token =
                serde_json::from_slice(&bytes).map_err(|error| HttpError::Unknown {
                    url,
                    why: error.to_string(),
                })?;
            login.token = Some(token.token);
        }
        Ok(login.token.clone())
    }

    /// Forgets a token that is too old; `true` if another login may help.
    fn is_logged_out(&mut self, error: &HttpError) -> bool {
        let HttpError::Status {
            status, message, ..
        } = error
        else {
            return false;
        };
        let is_about_it = *status == 401 || message.contains("auth token");
        let login = self.login.as_mut().filter(|_| is_about_it);
        login.and_then(|login| login.token.take()).is_some()
    }

    fn put_leased(&mut self, key: &str, bytes: &[u8], lease: &str) -> Result<(), StoreError> {
        let request = json!({
            "key": encode(self.key(key)), "value": encode(bytes), "lease": lease,
        });
        self.ask("kv/put", &request).map(|_: Value| ())
    }
}

impl Store for EtcdStore {
    fn name(&self) -> String {
        let members = self.endpoints.join(",");
        match self.prefix.is_empty() {
            true => members,
            false => format!("{members}/{}", self.prefix),
        }
    }

    fn read(&mut self, key: &str, _most: usize) -> StoreResult<Option<Entry>> {
        let request = json!({ "key": encode(self.key(key)) });
        let range: Range = self.ask("kv/range", &request)?;
        // That of the key itself may be compacted away before the next look.
        if key.starts_with(CHANNELS) {
            self.revision = range.header.revision.parse().unwrap_or(0);
        }
        let Some(found) = range.kvs.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(Entry {
            bytes: decode(&found.value)?,
            version: Version(found.mod_revision),
        }))
    }

    fn wait(&mut self, key: &str, _: Option<&Version>, patience: Duration) -> StoreResult {
        let from = self.revision + 1;
        let request = json!({
            "create_request": { "key": encode(self.key(key)), "start_revision": from.to_string() },
        });
        let patience = patience.min(WATCH_LIMIT);
        let began = Instant::now();
        let response = match self.send("watch", &request, patience) {
            Ok(response) => response,
            // A member that says nothing before there is an event: the next read tells whether it is alive.
            Err(HttpError::NoAnswer { .. }) if began.elapsed() >= patience => return Ok(()),
            Err(error) => {
                self.at = (self.at + 1) % self.endpoints.len();
                return Err(error.into());
            }
        };
        let lines = BufReader::new(response.into_body().into_reader().take(MAX_ANSWER as u64));
        for line in lines.lines() {
            // A member that goes away, a time that is over: the next read finds out.
            let Ok(line) = line else { return Ok(()) };
            let Ok(message) = serde_json::from_str::<Value>(&line) else {
                return Ok(());
            };
            let result = &message["result"];
            let is_created = result["created"] == json!(true) && result.get("events").is_none();
            if !is_created || result["canceled"] == json!(true) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn create(&mut self, key: &str, bytes: &[u8]) -> StoreResult {
        let key_bytes = encode(self.key(key));
        let request = json!({
            "compare": [{
                "key": key_bytes, "target": "CREATE", "result": "EQUAL", "create_revision": "0",
            }],
            "success": [{ "request_put": { "key": key_bytes, "value": encode(bytes) } }],
        });
        let done: Transaction = self.ask("kv/txn", &request)?;
        match done.succeeded {
            true => Ok(()),
            false => Err(StoreError::Exists(key.to_owned())),
        }
    }

    fn exchange(&mut self, key: &str, before: Option<&Version>, bytes: &[u8]) -> StoreResult {
        let key_bytes = encode(self.key(key));
        let revision = before.map_or("0", |before| before.0.as_str());
        let request = json!({
            "compare": [{
                "key": key_bytes, "target": "MOD", "result": "EQUAL", "mod_revision": revision,
            }],
            "success": [{ "request_put": { "key": key_bytes, "value": encode(bytes) } }],
        });
        let done: Transaction = self.ask("kv/txn", &request)?;
        match done.succeeded {
            true => Ok(()),
            false => Err(StoreError::Changed(key.to_owned())),
        }
    }

    fn names(&mut self, folder: &str) -> StoreResult<Vec<String>> {
        let start = self.key(&format!("{folder}/"));
        // The slash is followed by `0`: everything under the folder, and nothing else.
        let end = format!("{}0", start.trim_end_matches('/'));
        let request = json!({ "key": encode(&start), "range_end": encode(end), "keys_only": true });
        let range: Range = self.ask("kv/range", &request)?;
        let keys = range.kvs.iter().map(|found| {
            let key = decode(&found.key)?;
            Ok(String::from_utf8_lossy(&key).into_owned())
        });
        let keys: Result<Vec<String>, StoreError> = keys.collect();
        Ok(child_names(&start, keys?))
    }

    fn report(&mut self, key: &str, bytes: &[u8], lease: Duration) -> StoreResult<bool> {
        if let Some(id) = self.lease.clone() {
            let kept: Value = self.ask("lease/keepalive", &json!({ "ID": id }))?;
            // A lease that is over has no time left.
            if kept["result"]["TTL"].is_string() {
                self.put_leased(key, bytes, &id)?;
                return Ok(true);
            }
            self.lease = None;
        }
        let request = json!({ "TTL": lease.as_secs().to_string() });
        let granted: Lease = self.ask("lease/grant", &request)?;
        self.put_leased(key, bytes, &granted.id)?;
        self.lease = Some(granted.id);
        Ok(true)
    }
}

/// Returns `true` if another member may do what this one did not.
fn is_of_the_member(error: &HttpError) -> bool {
    match error {
        HttpError::NoAnswer { .. } | HttpError::Unknown { .. } => true,
        HttpError::Status { status, .. } => *status >= 500,
        HttpError::Credential { .. } | HttpError::Proxy { .. } | HttpError::TooLong { .. } => false,
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn decode(text: &str) -> Result<Vec<u8>, StoreError> {
    STANDARD.decode(text).map_err(|error| {
        StoreError::Http(HttpError::Unknown {
            url: "etcd".to_owned(),
            why: error.to_string(),
        })
    })
}

/// A member that takes longer is taken for one that hangs: by default etcd holds values of 1.5 MiB at most.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A watch ends after that at the latest, and everything is read anew: what was lost on the way is lost for a minute.
const WATCH_LIMIT: Duration = Duration::from_secs(60);
/// An answer has a policy at most, as base64.
const MAX_ANSWER: usize = MAX_FILE_SIZE * 2;

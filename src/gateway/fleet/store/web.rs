//! [`WebStore`]: releases on a web server, which is asked again and again, by ETag.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use super::{Entry, Store, StoreError, StoreResult, Version};
use crate::gateway::fleet::http::{READ_TIMEOUT, Transport, body, status_error};

/// Releases on a web server.
#[derive(Debug)]
pub(super) struct WebStore {
    base: String,
    transport: Transport,
    /// Answers with an ETag, by key: the server need not send them again.
    known: HashMap<String, Entry>,
}

impl WebStore {
    /// `base` is the address before `/offramp/v1/`.
    pub(super) fn new(base: &str, transport: Transport) -> Self {
        Self {
            base: base.to_owned(),
            transport,
            known: HashMap::new(),
        }
    }
}

impl Store for WebStore {
    fn name(&self) -> String {
        self.base.clone()
    }

    fn read(&mut self, key: &str, most: usize) -> StoreResult<Option<Entry>> {
        let url = format!("{}/{key}", self.base);
        let known = self.known.get(key);
        let header = known.map(|known| ("If-None-Match", known.version.0.as_str()));
        let headers: Vec<_> = header.into_iter().collect();
        let mut response = self.transport.get(&url, &headers, READ_TIMEOUT)?;
        match (response.status().as_u16(), known) {
            (200, _) => {}
            (304, Some(known)) => return Ok(Some(known.clone())),
            (404 | 410, _) => {
                self.known.remove(key);
                return Ok(None);
            }
            _ => return Err(status_error(&url, &mut response).into()),
        }
        let etag = response.headers().get("etag");
        let etag = etag.and_then(|it| it.to_str().ok()).map(str::to_owned);
        let bytes = body(&url, &mut response, most)?;
        let entry = Entry {
            version: Version(etag.clone().unwrap_or_default()),
            bytes,
        };
        // What is large is asked for once.
        if etag.is_some() && entry.bytes.len() <= MAX_KNOWN {
            self.known.insert(key.to_owned(), entry.clone());
        } else {
            self.known.remove(key);
        }
        Ok(Some(entry))
    }

    fn wait(&mut self, _key: &str, _: Option<&Version>, patience: Duration) -> StoreResult {
        thread::sleep(jittered(patience, rand::random()));
        Ok(())
    }

    fn create(&mut self, _: &str, _: &[u8]) -> StoreResult {
        Err(StoreError::Unsupported(READ_ONLY))
    }

    fn exchange(&mut self, _: &str, _: Option<&Version>, _: &[u8]) -> StoreResult {
        Err(StoreError::Unsupported(READ_ONLY))
    }

    fn names(&mut self, _folder: &str) -> StoreResult<Vec<String>> {
        Err(StoreError::Unsupported(READ_ONLY))
    }

    fn report(&mut self, _key: &str, _bytes: &[u8], _lease: Duration) -> StoreResult<bool> {
        Ok(false)
    }
}

/// Returns `interval`, a quarter more or less by `random`: gateways that were started together do not ask together.
fn jittered(interval: Duration, random: u32) -> Duration {
    let share = f64::from(random) / f64::from(u32::MAX);
    interval.mul_f64(0.75 + share / 2.0)
}

/// Bytes of an answer that is kept: the serial of a channel.
const MAX_KNOWN: usize = 1024;
const READ_ONLY: &str = "a web server is read only: publish into the folder that it serves (file:///…), or into etcd or Consul";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_within_a_quarter_of_the_interval() {
        let interval = Duration::from_secs(60);
        assert_eq!(jittered(interval, 0), Duration::from_secs(45));
        assert_eq!(jittered(interval, u32::MAX), Duration::from_secs(75));
    }
}

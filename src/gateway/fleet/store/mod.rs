//! [`Store`]: the places that releases are kept in: a web server, a folder, etcd, Consul.

mod consul;
mod etcd;
mod folder;
mod web;

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::http::{HttpError, Transport};
use crate::policy::site::{FleetAccess, FleetSource};

/// The outcome of a request to a store.
pub type StoreResult<T = ()> = Result<T, StoreError>;

/// A place that releases are kept in.
pub trait Store: fmt::Debug {
    /// Its address, for messages.
    fn name(&self) -> String;

    /// Reads the value of `key`, of at most `most` bytes; `None` if it has none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn read(&mut self, key: &str, most: usize) -> StoreResult<Option<Entry>>;

    /// Waits until `key` may have another value than that which was read last, `seen`, at most for `patience`.
    ///
    /// # Errors
    /// [`StoreError`]; then the caller waits by itself before it reads again.
    fn wait(&mut self, key: &str, seen: Option<&Version>, patience: Duration) -> StoreResult;

    /// Writes a value for `key`, which must have none.
    ///
    /// # Errors
    /// [`StoreError::Exists`], and others.
    fn create(&mut self, key: &str, bytes: &[u8]) -> StoreResult;

    /// Replaces the value of `key`, if it is still the one that was read as `before`; `None` if it had none.
    ///
    /// # Errors
    /// [`StoreError::Changed`], and others.
    fn exchange(&mut self, key: &str, before: Option<&Version>, bytes: &[u8]) -> StoreResult;

    /// Returns the names of what lies directly under `folder`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn names(&mut self, folder: &str) -> StoreResult<Vec<String>>;

    /// Writes a value for `key` that the store forgets after `lease`; `false` if this store takes none from gateways.
    ///
    /// # Errors
    /// [`StoreError`].
    fn report(&mut self, key: &str, bytes: &[u8], lease: Duration) -> StoreResult<bool>;
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub bytes: Vec<u8>,
    /// Its version.
    pub version: Version,
}

/// The version of a value, by which a later one is told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

/// The reason why a store did not do what it was asked for.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It does not answer, or not as such a store does.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// There is a value already.
    #[error("{0} is there already: somebody else has published at the same time; try again")]
    Exists(String),
    /// The value is another one by now.
    #[error("{0} was changed by somebody else at the same time: look at it, and try again")]
    Changed(String),
    /// The value is larger than any that is right.
    #[error("{key} has more than {most} bytes")]
    TooLarge {
        /// The key.
        key: String,
        /// The bound.
        most: usize,
    },
    /// The value is larger than this kind of store takes.
    #[error(
        "{key} has {bytes} bytes, and Consul takes {most} at most: publish into etcd (etcd://…), or into a folder that a web server \
         serves (file:///…)"
    )]
    TooLargeForConsul {
        /// The key.
        key: String,
        /// Its size.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// The key is locked by a session of somebody else.
    #[error(
        "{0} is locked by another session of Consul: another gateway has the same name, or that session has ended just now; it is tried again"
    )]
    Locked(String),
    /// This kind of store cannot do it.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// Opens the store at `source`.
///
/// # Errors
/// A certificate, a key or a password cannot be read.
pub fn open(source: &FleetSource, access: &FleetAccess) -> Result<Box<dyn Store>, StoreError> {
    Ok(match source {
        FleetSource::Web(base) => Box::new(web::WebStore::new(base, Transport::new(access)?)),
        FleetSource::Folder(folder) => Box::new(folder::FolderStore::new(folder)),
        FleetSource::Etcd { endpoints, prefix } => Box::new(etcd::EtcdStore::new(
            endpoints,
            prefix,
            Transport::new(access)?,
            access,
        )?),
        FleetSource::Consul { endpoint, prefix } => Box::new(consul::ConsulStore::new(
            endpoint,
            prefix,
            Transport::new(access)?,
            access,
        )?),
    })
}

/// The key `key` of this program under the `prefix` of the store, which may be empty.
fn prefixed(prefix: &str, key: &str) -> String {
    match prefix.is_empty() {
        true => key.to_owned(),
        false => format!("{prefix}/{key}"),
    }
}

/// Names of what lies directly under the folder `start`, which ends with a slash; `keys` are sorted.
fn child_names(start: &str, keys: Vec<String>) -> Vec<String> {
    let mut names = Vec::new();
    for key in keys {
        let rest = key.strip_prefix(start).unwrap_or_default();
        let name = rest.split('/').next().unwrap_or_default();
        if !name.is_empty() && names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_each_name_once_whatever_lies_below_it() {
        let keys = ["a/", "a/1/x", "a/1/y", "a/2", "b/3"].map(str::to_owned);
        assert_eq!(child_names("a/", keys.to_vec()), ["1", "2"]);
    }
}

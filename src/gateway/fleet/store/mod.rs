//! [`Store`]: the places that releases are kept in: a web server, a folder, etcd.

mod etcd;
mod folder;
mod web;

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::http::{HttpError, Transport};
use crate::policy::site::{FleetAccess, FleetSource};

/// A place that releases are kept in.
pub trait Store: fmt::Debug {
    /// Its address, for messages.
    fn name(&self) -> String;

    /// Reads the value of `key`, of at most `most` bytes; `None` if it has none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn read(&mut self, key: &str, most: usize) -> Result<Option<Entry>, StoreError>;

    /// Waits until `key` may have another value than that which was read last, `seen`, at most for `patience`.
    ///
    /// # Errors
    /// [`StoreError`]; then the caller waits by itself before it reads again.
    fn wait(
        &mut self,
        key: &str,
        seen: Option<&Version>,
        patience: Duration,
    ) -> Result<(), StoreError>;

    /// Writes a value for `key`, which must have none.
    ///
    /// # Errors
    /// [`StoreError::Exists`], and others.
    fn create(&mut self, key: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Replaces the value of `key`, if it is still the one that was read as `before`; `None` if it had none.
    ///
    /// # Errors
    /// [`StoreError::Changed`], and others.
    fn exchange(
        &mut self,
        key: &str,
        before: Option<&Version>,
        bytes: &[u8],
    ) -> Result<(), StoreError>;

    /// Returns the names of what lies directly under `folder`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn names(&mut self, folder: &str) -> Result<Vec<String>, StoreError>;

    /// Writes a value for `key` that the store forgets after `lease`; `false` if this store takes none from gateways.
    ///
    /// # Errors
    /// [`StoreError`].
    fn report(&mut self, key: &str, bytes: &[u8], lease: Duration) -> Result<bool, StoreError>;
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
    })
}

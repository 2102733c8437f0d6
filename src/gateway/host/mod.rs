//! What the gateway asks of its host: files and their changes, feeds, the lock, rights, the service manager.

pub mod feeds;
pub mod fetch;
pub mod finding;
pub mod lock;
pub mod rights;
pub mod service;
pub mod settings;
pub mod source;
pub mod watch;

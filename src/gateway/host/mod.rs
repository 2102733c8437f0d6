//! What the gateway asks of its host: files and their changes, feeds, the lock, rights, the service manager.

pub mod atomic;
pub mod feeds;
pub mod fetch;
pub mod lock;
pub mod regular;
pub mod rights;
pub mod service;
pub mod watch;

//! File access for a program that runs as root: reads regular files only, writes files atomically, and only where nobody else can
//! redirect them.
//!
//! `gateway` and `cli` use both, so this folder is below them. As it does I/O, it needs the feature `gateway`; the pure
//! half of the crate takes bytes as arguments.

pub mod atomic;
pub mod place;
pub mod regular;

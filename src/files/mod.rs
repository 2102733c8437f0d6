//! Files as a program that runs as root should treat them: regular ones only are read, and written ones are there whole or
//! not at all.
//!
//! `gateway` and `cli` use both, so this folder is below them. It is I/O all the same: it needs the feature `gateway`, and the
//! pure half of the crate has bytes handed in.

pub mod atomic;
pub mod regular;

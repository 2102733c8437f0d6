//! The commands as a user runs them: arguments, files, output, exit codes.

#![cfg(feature = "gateway")]

#[path = "../support/mod.rs"]
mod support;

mod advice;
mod check;
mod demo;
mod documents;
mod explain;
mod explain_drop;
mod feed;
mod fleet;
mod fleet_prometheus;
mod fleet_web;
mod init;
mod line;
mod observe;
mod render;
mod replay;
mod top;
mod verify;
mod verify_against;

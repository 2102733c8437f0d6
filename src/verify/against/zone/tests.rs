//! Tests of zone files.

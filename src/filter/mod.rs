//! Policy and packet to verdict.

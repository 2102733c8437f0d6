//! Tests of what workers offer.

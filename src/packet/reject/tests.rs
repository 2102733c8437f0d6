//! Tests of answers, compared with what etherparse reads in them.

//! The writer and the reader of an exchange at independent rates.

pub(crate) mod reader;
pub(crate) mod writer;

//! The writer and the reader of an exchange at independent rates.

mod held;
mod publisher;
pub(crate) mod reader;
pub(crate) mod writer;

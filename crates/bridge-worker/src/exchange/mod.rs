//! The exchanges that this side uses: at independent rates (`latest`), or in step.

pub(crate) mod latest;
pub(crate) mod read;
pub(crate) mod reader;
pub(crate) mod slots;
pub(crate) mod writer;

//! The turns of a frame: what a side may do with its slot, until it hands the slot over.

pub(in crate::exchange) mod compute;
pub(in crate::exchange) mod lease;
pub(in crate::exchange) mod lent;
pub(in crate::exchange) mod once;
pub(in crate::exchange) mod read_back;
pub(in crate::exchange) mod render;
pub(in crate::exchange) mod split;

//! The renderer's half of an exchange in step with a worker process.

pub(in crate::exchange) mod draws;
pub(in crate::exchange) mod program_half;
pub(in crate::exchange) mod turns;

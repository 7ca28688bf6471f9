//! The renderer's half of an exchange in step with a worker process, and the form in which workers
//! receive resources: exported memory (`exported`), or their bytes in order (`runs`).

pub(in crate::exchange) mod draws;
pub(crate) mod exported;
pub(in crate::exchange) mod program_half;
pub(crate) mod runs;
pub(in crate::exchange) mod turns;

//! What can be observed from outside: counts of live objects, and the trace.

pub(crate) mod live;
pub(crate) mod trace;

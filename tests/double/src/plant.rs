//! Faults that a test plants to check that it would detect them: calls are executed differently
//! from what the caller requested, as if the caller had made that mistake.

/// How the calls of one name are altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Planted {
    /// Nothing is done, and success is returned, as if the caller had forgotten the call. Not for
    /// calls with results.
    Skipped,
    /// Each call is executed twice.
    Twice,
    /// If a fault hits a call, the call returns success, as if the caller ignored the error.
    Silent,
}

#[derive(Debug)]
pub(crate) struct Plant {
    planted: Planted,
    /// The name in cuda.h, including its version.
    name: String,
    /// Only calls about this object are altered; 0 for all.
    object: u64,
}

impl Plant {
    pub(crate) fn new(planted: Planted, name: String, object: u64) -> Self {
        Self { planted, name, object }
    }

    pub(crate) fn matches(&self, planted: Planted, name: &str, object: u64) -> bool {
        self.planted == planted && self.name == name && (self.object == 0 || self.object == object)
    }
}

//! Stubs for targets without a CUDA driver, in which no driver call fails.

/// A call that must fail.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plan {}

pub(crate) fn plan(_: Option<Plan>) {}

pub(crate) fn hold() {}

pub(crate) fn release() {}

pub(crate) fn begin() {}

pub(crate) fn end() -> Option<&'static str> {
    None
}

pub(crate) fn hits() -> Vec<&'static str> {
    Vec::new()
}

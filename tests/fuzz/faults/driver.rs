//! Without a driver of CUDA's, none of its calls fails.

use bridge_fuzz::Counts;

/// One call that is to fail.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plan {}

pub(crate) fn plan(_: Option<Plan>) {}

pub(crate) fn reset() {}

pub(crate) fn begin() {}

pub(crate) fn end() -> Option<&'static str> {
    None
}

pub(crate) fn check(_: &mut Counts) {}

pub(crate) fn hits() -> Vec<&'static str> {
    Vec::new()
}

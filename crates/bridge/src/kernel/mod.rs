//! The program's own kernels, launched in the same way on every compute side.

pub(crate) mod args;
pub(crate) mod buffer;
pub(crate) mod host_arg;
pub(crate) mod image;
pub(crate) mod memory;
pub(crate) mod module;
pub(crate) mod site;
pub(crate) mod twin;

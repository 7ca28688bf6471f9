//! The targets that are documented.

/// Options of `cargo doc` for all that it documents by itself, and one example: with that the
/// dependencies have the features with which `clippy` has checked them, so that nothing is checked
/// again.
pub(crate) const DOCUMENTED: &str =
    "--workspace --no-deps --lib --bin engine --bin xtask --bin xtask-checks --bin bridge-bench --example particles";

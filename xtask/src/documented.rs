//! The targets that are documented.

/// Options that make `cargo doc` document its default targets and one example. With the example,
/// the dependencies have the features with which `clippy` has checked them, so that nothing is
/// checked again.
pub(crate) const DOCUMENTED: &str =
    "--workspace --no-deps --lib --bin engine --bin xtask --bin xtask-checks --bin bridge-bench --example particles";

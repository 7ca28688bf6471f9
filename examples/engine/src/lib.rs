//! The bridge in an engine that knows nothing of it.
//!
//! The engine is the package `engine-core`, which does not depend on the bridge. Here are three
//! systems that are added to it:
//!
//! | module | is | its bridge-specific part |
//! |---|---|---|
//! | [`particles`] | simulated at a fixed rate on a thread of its own, drawn as often as the engine's loop goes round | `particles/shared.rs` |
//! | [`painting`] | a texture that the compute side paints, on a panel | `painting/shared.rs` |
//! | [`filter`] | a post-process: the compute side filters the scene, the engine shows the result | `filter/shared.rs` |
//!
//! What is written once for all of them: [`adopt`] lends the engine's device, [`splice`] makes a
//! lent turn a part of the engine's submissions. [`count`] counts the lines, [`check`] knows how
//! frames should look, [`script`] runs without a window and [`window`] in one.

#![allow(missing_debug_implementations)] // An example, which prints none of it.

pub mod adopt;
pub mod check;
pub mod count;
pub mod filter;
pub mod painting;
pub mod particles;
pub mod script;
pub mod splice;
pub mod window;

/// The kernels, compiled beforehand from `shaders/engine.cu`.
pub(crate) const KERNELS: &str = include_str!("../../../shaders/engine.ptx");

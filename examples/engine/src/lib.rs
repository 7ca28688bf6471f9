//! The bridge in an engine that has no knowledge of it.
//!
//! The engine is the package `engine-core`, which does not depend on the bridge. This crate
//! contains three systems that are added to it:
//!
//! | module | contents | its bridge-specific part |
//! |---|---|---|
//! | [`particles`] | simulated at a fixed rate on a separate thread | `particles/shared.rs` |
//! | [`painting`] | a texture that the compute side paints, on a panel | `painting/shared.rs` |
//! | [`filter`] | a post-process of the scene on the compute side | `filter/shared.rs` |
//!
//! Two modules are shared by all systems: [`adopt`] lends the engine's device, and [`splice`] makes
//! a lent turn a part of the engine's submissions. [`count`] counts the lines, [`check`] checks
//! frames, [`script`] runs without a window and [`window`] in one.

#![allow(missing_debug_implementations)] // An example that prints none of these types.

pub mod adopt;
pub mod check;
pub mod count;
pub mod filter;
mod kernels;
pub mod painting;
pub mod particles;
pub mod script;
pub mod splice;
pub mod window;

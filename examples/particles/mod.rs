//! The particle demo.
//!
//! One frame: [`Scene::step`](scene::Scene::step) says what happens, a kernel or its twin
//! [`Step::advance_all`](scene::Step::advance_all) moves each [`Body`](particle::Body) and writes a
//! [`Particle`](particle::Particle) to the shared buffer, the shaders draw it as
//! [`Scene::view`](scene::Scene::view) tells them. [`raster`] and [`finish`] do the shaders' work a
//! second time for the self-check in [`check`].

pub mod check;
pub mod compute;
pub mod demo;
pub mod figures;
pub mod finish;
mod glow;
pub mod options;
pub mod particle;
pub mod raster;
pub mod render;
pub mod scene;
pub mod view;

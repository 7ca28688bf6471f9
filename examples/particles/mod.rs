//! The particle demo.
//!
//! One frame: [`Scene::step`](scene::Scene::step) gives the parameters, a kernel or its twin
//! [`Step::advance_all`](scene::Step::advance_all) moves each [`Body`](particle::Body) and writes a
//! [`Particle`](particle::Particle) to the shared buffer, and the shaders draw it with the
//! parameters of [`Scene::view`](scene::Scene::view). [`raster`] and [`finish`] repeat the work of
//! the shaders for the self-check in [`check`].

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

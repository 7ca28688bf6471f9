#![doc = include_str!("../README.md")]

mod access;
mod batch;
mod device;
mod error;
mod exchange;
mod frame;
mod kernels;
mod latest;
mod mirror;
mod mirror_ref;
mod order;
mod own_commands;
mod parts;
mod raw;
mod repair;
mod replace;
mod scope;
mod shared;
mod submit;
mod surface;
mod turn;

pub use batch::Frames;
pub use bridge::{
    self, Backend, ComputeFirst, ExchangeInfo, LatestInfo, LaunchConfig, Newest, RenderFirst, TimelinePoint, Work,
};
pub use device::Bridge;
pub use device::requirements::Requirements;
pub use error::{Error, Result};
pub use exchange::Exchange;
pub use frame::Frame;
pub use kernels::{LaunchArg, LaunchBuffer};
pub use latest::frame::{NewestFrame, WrittenFrame};
pub use latest::{LatestReader, LatestWriter};
pub use shared::Shared;
pub use shared::buffer::SharedBuffer;
pub use shared::slot_buffer::SlotBuffer;
pub use shared::slot_texture::SlotTexture;
pub use shared::texture::SharedTexture;
pub use turn::ComputeTurn;
pub use wgpu;

/// The guide's code examples, to compile them.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding/wgpu.md")]
struct Guide;

/// The test support code imports this crate by name, as programs do.
#[cfg(test)]
extern crate self as bridge_wgpu;

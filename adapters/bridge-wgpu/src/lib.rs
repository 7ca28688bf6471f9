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
mod raw_copy;
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

/// Checks that all public types are [`Send`] and [`Sync`], except [`Requirements`], which contains
/// raw pointers to Vulkan structures. Functions that only one thread may call at a time take
/// `&mut self`.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn of<S: Shared, D: bridge::Direction>() {
        shared::<Exchange<S, D>>();
        shared::<ComputeTurn<S, D>>();
        shared::<Frame<S, D>>();
        shared::<LatestWriter<S, D>>();
        shared::<LatestReader<S, D>>();
        shared::<NewestFrame<S>>();
        shared::<WrittenFrame<S>>();
    }
    of::<SharedBuffer<f32>, ComputeFirst>();
    of::<SharedTexture<[u8; 4]>, RenderFirst>();
    of::<SlotBuffer<f32>, ComputeFirst>();
    of::<(SharedBuffer<f32>, SlotTexture<[u8; 4]>), RenderFirst>();
    shared::<SharedBuffer<f32>>();
    shared::<SharedTexture<[u8; 4]>>();
    shared::<SlotBuffer<f32>>();
    shared::<SlotTexture<[u8; 4]>>();
    shared::<Bridge>();
    shared::<LaunchBuffer<f32>>();
    shared::<LaunchArg<'_>>();
    shared::<Error>();
};

/// The guide's code examples, to compile them.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding/wgpu.md")]
struct Guide;

/// The test support code imports this crate by name, as programs do.
#[cfg(test)]
extern crate self as bridge_wgpu;

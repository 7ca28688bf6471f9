//! The safe API of the bridge on the CPU backend, in random sequences: a model says what each call returns, every frame holds
//! what was put into it, the validation layer is silent, and in the end exactly what was leaked on purpose is alive.
#![allow(clippy::unwrap_used)] // What fails here fails the case.

mod closing;
mod common;
mod model;
mod op;
mod render;
mod ring;
mod shape;
mod transfer;
mod way;
mod world;

use bridge_fuzz::fuzz;
use bridge_tests::Rig;

#[test]
fn exchange() {
    let rig = Rig::open();
    let images = world::has_images(rig.device());
    if !images {
        println!("this device has no images for the CPU backend; they are left out");
    }
    fuzz("exchange", &op::case(), |ops| world::run(rig.device(), images, &ops));
}

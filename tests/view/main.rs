//! Tests of a view: the picture shows the contents of shared memory, and invalid input is an error.
#![allow(clippy::unwrap_used)] // A test that cannot continue fails.

#[cfg(target_os = "linux")]
mod handles;
mod images;
#[cfg(target_os = "linux")]
mod other_views;
#[cfg(target_os = "linux")]
mod own_images;
mod points;
#[cfg(target_os = "linux")]
mod queues;
mod read;
mod refused;
mod textures;
mod turns;
#[cfg(target_os = "linux")]
mod window;
#[cfg(target_os = "linux")]
mod x11;

use bridge::{BufferSpec, Compute, ComputeTurn, Exchange, ExchangeInfo, Work};
use bridge_tests::{Rig, on_both_backends, on_host_without_linear_images};
use bridge_view::{ImageFormat, Look, View, ViewInfo};

/// Width and height of the picture.
const SIZE: [u32; 2] = [24, 16];
const PIXELS: usize = (SIZE[0] * SIZE[1]) as usize;

use images::{
    every_element_and_channel_count_is_drawn_exactly, images_of_other_sizes_are_scaled, odd_sizes_of_bytes_are_drawn,
    values_are_exposed_encoded_and_colored, values_that_are_not_finite_are_scaled,
};
use points::{a_point_is_drawn_where_it_is, the_nearest_point_is_seen_with_its_color};
use read::{
    a_late_copy_of_the_picture_keeps_its_memory, the_picture_is_copied_into_memory_of_its_size,
    the_picture_is_read_into_a_buffer, the_picture_is_read_into_an_image, the_picture_is_saved_as_png_only,
};
use refused::{
    frames_that_cannot_be_drawn_are_given_back, images_that_cannot_be_drawn_are_given_back,
    slots_that_cannot_take_the_picture_are_given_back,
};
use textures::{
    images_and_buffers_take_turns, images_of_a_latest_exchange_are_drawn,
    images_of_every_type_are_drawn_as_buffers_are, images_of_other_orders_and_encodings_are_drawn,
    images_of_other_sizes_are_scaled_as_buffers_are,
};
use turns::{
    a_dropped_view_keeps_no_timelines, a_frame_that_is_replaced_is_given_back, frames_of_a_latest_exchange_are_drawn,
    many_frames_are_in_flight,
};

on_both_backends!(
    every_element_and_channel_count_is_drawn_exactly,
    values_are_exposed_encoded_and_colored,
    values_that_are_not_finite_are_scaled,
    images_of_other_sizes_are_scaled,
    odd_sizes_of_bytes_are_drawn,
    a_point_is_drawn_where_it_is,
    the_nearest_point_is_seen_with_its_color,
    the_picture_is_read_into_a_buffer,
    the_picture_is_read_into_an_image,
    the_picture_is_saved_as_png_only,
    the_picture_is_copied_into_memory_of_its_size,
    a_late_copy_of_the_picture_keeps_its_memory,
    frames_that_cannot_be_drawn_are_given_back,
    images_that_cannot_be_drawn_are_given_back,
    slots_that_cannot_take_the_picture_are_given_back,
    images_of_every_type_are_drawn_as_buffers_are,
    images_of_other_orders_and_encodings_are_drawn,
    images_of_other_sizes_are_scaled_as_buffers_are,
    images_and_buffers_take_turns,
    images_of_a_latest_exchange_are_drawn,
    a_dropped_view_keeps_no_timelines,
    a_frame_that_is_replaced_is_given_back,
    frames_of_a_latest_exchange_are_drawn,
    many_frames_are_in_flight,
);

// On these devices, texels are transferred through a staging buffer.
on_host_without_linear_images!(
    images_of_every_type_are_drawn_as_buffers_are,
    images_and_buffers_take_turns,
    images_of_a_latest_exchange_are_drawn,
);

fn view(compute: &Compute) -> View {
    view_of(compute, SIZE)
}

fn view_of(compute: &Compute, size: [u32; 2]) -> View {
    View::headless(compute, &ViewInfo { size, timeout: Rig::LONG }).unwrap()
}

fn info() -> ExchangeInfo<'static> {
    ExchangeInfo { name: "shown", timeout: Rig::LONG, ..Default::default() }
}

/// Enqueues the writing of these bytes.
fn write(turn: &mut ComputeTurn<BufferSpec<u8>>, bytes: &[u8]) {
    write_work(turn.work(), bytes);
}

fn write_work(work: Work<'_, BufferSpec<u8>>, bytes: &[u8]) {
    match work {
        Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(bytes, &mut cuda.resources).unwrap(),
        Work::Host(host) => {
            let bytes = bytes.to_vec();
            host.run(move |slot| slot[..bytes.len()].copy_from_slice(&bytes)).unwrap();
        }
        _ => panic!("no such backend is tested"),
    }
}

/// Returns the picture of an image with these bytes.
fn shown(view: &mut View, format: ImageFormat, look: &Look, bytes: &[u8]) -> Vec<[u8; 4]> {
    assert_eq!(format.size(), bytes.len() as u64);
    let mut exchange = Exchange::new(view.compute(), &info(), format.spec::<u8>().unwrap()).unwrap();
    let mut turn = exchange.begin().unwrap();
    write(&mut turn, bytes);
    view.show_image(turn.finish().unwrap(), format, look).unwrap();
    assert!(view.draw().unwrap(), "the frame is new");
    assert!(!view.draw().unwrap(), "the frame was drawn");
    pixels(view)
}

fn pixels(view: &mut View) -> Vec<[u8; 4]> {
    bytemuck::pod_collect_to_vec(&view.pixels().unwrap())
}

/// Returns pseudorandom bytes.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as u8
    };
    (0..len).map(|_| next()).collect()
}

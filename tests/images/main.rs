//! Images are transferred unchanged: every format of the table, in every shape, in both directions;
//! kernels store, load and sample them.
#![allow(unsafe_code, clippy::unwrap_used)] // Recording, launching and submitting.

mod crossing;
mod order;
mod refused;
mod sampled;
mod shapes;
mod staged;
mod surfaces;
mod together;
mod transfer;

use bridge_tests::{
    Linear, Rig, on_another_gpu_alone, on_both_backends, on_cuda_alone, on_host_without_linear_images, on_peers,
};

use order::{computing_waits_for_a_slow_reader_of_an_image, vulkan_waits_for_a_slow_image};
use refused::{bad_images_are_refused_before_anything_is_made, formats_that_cannot_cross_name_a_substitute};
use sampled::textures_are_what_a_reference_computes;
use shapes::{every_format_crosses_in_every_shape, every_mip_chain_crosses_or_is_refused, every_usage_crosses};
use staged::{
    an_image_of_its_own_is_handed_over_by_hand, copies_left_out_leave_what_was_there_before,
    each_side_keeps_what_the_other_did_not_write, what_cannot_be_filtered_in_rows_is_staged, what_is_staged_says_so,
};
use surfaces::kernels_store_and_load_every_size_of_texel;
use together::{an_srgb_format_is_unorm_memory_under_an_srgb_view, images_and_buffers_cross_together};

on_both_backends!(
    every_format_crosses_in_every_shape,
    every_mip_chain_crosses_or_is_refused,
    every_usage_crosses,
    images_and_buffers_cross_together,
    an_image_of_its_own_is_handed_over_by_hand,
    each_side_keeps_what_the_other_did_not_write,
    vulkan_waits_for_a_slow_image,
    computing_waits_for_a_slow_reader_of_an_image,
    an_srgb_format_is_unorm_memory_under_an_srgb_view,
    bad_images_are_refused_before_anything_is_made,
    formats_that_cannot_cross_name_a_substitute,
);

on_another_gpu_alone!(
    every_format_crosses_in_every_shape,
    every_mip_chain_crosses_or_is_refused,
    every_usage_crosses,
    an_srgb_format_is_unorm_memory_under_an_srgb_view,
    bad_images_are_refused_before_anything_is_made,
    formats_that_cannot_cross_name_a_substitute,
    what_is_staged_says_so,
);

on_peers!(
    images_and_buffers_cross_together,
    an_image_of_its_own_is_handed_over_by_hand,
    each_side_keeps_what_the_other_did_not_write,
    vulkan_waits_for_a_slow_image,
    computing_waits_for_a_slow_reader_of_an_image,
);

on_cuda_alone!(kernels_store_and_load_every_size_of_texel, textures_are_what_a_reference_computes);

on_host_without_linear_images!(
    every_format_crosses_in_every_shape,
    every_mip_chain_crosses_or_is_refused,
    every_usage_crosses,
    images_and_buffers_cross_together,
    vulkan_waits_for_a_slow_image,
    computing_waits_for_a_slow_reader_of_an_image,
    an_srgb_format_is_unorm_memory_under_an_srgb_view,
    bad_images_are_refused_before_anything_is_made,
    formats_that_cannot_cross_name_a_substitute,
    an_image_of_its_own_is_handed_over_by_hand,
    each_side_keeps_what_the_other_did_not_write,
    what_is_staged_says_so,
    copies_left_out_leave_what_was_there_before,
);

#[test]
fn an_image_is_mapped_only_if_the_device_can_do_as_much_with_it() {
    Rig::with_linear(Linear::Unfiltered, what_cannot_be_filtered_in_rows_is_staged);
}

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
use refused::{bad_images_are_refused_before_anything_is_created, errors_of_unsupported_formats_name_a_substitute};
use sampled::textures_match_a_reference;
use shapes::{every_format_crosses_in_every_shape, every_mip_chain_crosses_or_is_refused, every_usage_crosses};
use staged::{
    an_image_without_an_exchange_is_handed_over, each_side_keeps_what_the_other_did_not_write,
    images_that_cannot_be_filtered_in_rows_are_staged, omitted_copies_leave_the_previous_contents,
    staged_images_report_it,
};
use surfaces::kernels_store_and_load_every_size_of_texel;
use together::{an_srgb_format_is_unorm_memory_under_an_srgb_view, images_and_buffers_cross_together};

on_both_backends!(
    every_format_crosses_in_every_shape,
    every_mip_chain_crosses_or_is_refused,
    every_usage_crosses,
    images_and_buffers_cross_together,
    an_image_without_an_exchange_is_handed_over,
    each_side_keeps_what_the_other_did_not_write,
    vulkan_waits_for_a_slow_image,
    computing_waits_for_a_slow_reader_of_an_image,
    an_srgb_format_is_unorm_memory_under_an_srgb_view,
    bad_images_are_refused_before_anything_is_created,
    errors_of_unsupported_formats_name_a_substitute,
);

on_another_gpu_alone!(
    every_format_crosses_in_every_shape,
    every_mip_chain_crosses_or_is_refused,
    every_usage_crosses,
    an_srgb_format_is_unorm_memory_under_an_srgb_view,
    bad_images_are_refused_before_anything_is_created,
    errors_of_unsupported_formats_name_a_substitute,
    staged_images_report_it,
);

on_peers!(
    images_and_buffers_cross_together,
    an_image_without_an_exchange_is_handed_over,
    each_side_keeps_what_the_other_did_not_write,
    vulkan_waits_for_a_slow_image,
    computing_waits_for_a_slow_reader_of_an_image,
);

on_cuda_alone!(kernels_store_and_load_every_size_of_texel, textures_match_a_reference);

on_host_without_linear_images!(
    every_format_crosses_in_every_shape,
    every_mip_chain_crosses_or_is_refused,
    every_usage_crosses,
    images_and_buffers_cross_together,
    vulkan_waits_for_a_slow_image,
    computing_waits_for_a_slow_reader_of_an_image,
    an_srgb_format_is_unorm_memory_under_an_srgb_view,
    bad_images_are_refused_before_anything_is_created,
    errors_of_unsupported_formats_name_a_substitute,
    an_image_without_an_exchange_is_handed_over,
    each_side_keeps_what_the_other_did_not_write,
    staged_images_report_it,
    omitted_copies_leave_the_previous_contents,
);

#[test]
fn an_image_is_mapped_only_if_the_device_supports_its_usage() {
    Rig::with_linear(Linear::Unfiltered, images_that_cannot_be_filtered_in_rows_are_staged);
}

//! Images cross whole: every format that the table names, in every shape, both ways; kernels store, load and sample them.
#![allow(unsafe_code, clippy::unwrap_used)] // Recording, launching and submitting.

mod refused;
mod sampled;
mod shapes;
mod surfaces;
mod transfer;

use bridge_tests::{on_both_backends, on_cuda_alone};

use refused::{bad_images_are_refused_before_anything_is_made, formats_that_cannot_cross_name_a_substitute};
use sampled::textures_are_what_a_reference_computes;
use shapes::{
    an_srgb_format_is_unorm_memory_under_an_srgb_view, every_format_crosses_in_every_shape, every_mip_chain_crosses,
    every_usage_crosses, images_and_buffers_cross_together,
};
use surfaces::kernels_store_and_load_every_size_of_texel;

on_both_backends!(
    every_format_crosses_in_every_shape,
    every_mip_chain_crosses,
    every_usage_crosses,
    images_and_buffers_cross_together,
    an_srgb_format_is_unorm_memory_under_an_srgb_view,
    bad_images_are_refused_before_anything_is_made,
    formats_that_cannot_cross_name_a_substitute,
);

on_cuda_alone!(kernels_store_and_load_every_size_of_texel, textures_are_what_a_reference_computes);

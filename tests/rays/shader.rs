//! The shaders of the ray-tracing pipeline, compiled by naga.

use naga::back::spv;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// The SPIR-V of `ray.wgsl`.
pub(crate) fn words() -> Vec<u32> {
    let source = include_str!("ray.wgsl");
    let capabilities = Capabilities::RAY_TRACING_PIPELINE;
    let mut frontend = wgsl::Frontend::new_with_options(wgsl::Options { capabilities, ..wgsl::Options::new() });
    let module = frontend.parse(source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
    let validated = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
    let info = validated.unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
    // The version that VK_KHR_ray_tracing_pipeline requires.
    let options = spv::Options { lang_version: (1, 4), ..spv::Options::default() };
    spv::write_vec(&module, &info, &options, None).unwrap()
}

/// Runs everywhere, also on machines without ray tracing.
#[test]
fn the_shaders_compile() {
    let words = words();
    assert_eq!((words[0], words[1]), (0x0723_0203, 0x0001_0400), "SPIR-V 1.4");
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"SPV_KHR_ray_tracing"));
}

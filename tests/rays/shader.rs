//! The shaders of the ray-tracing pipeline, which the build script has compiled.

/// SPIR-V of `ray.wgsl`.
pub(crate) fn words() -> Vec<u32> {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/ray.spv"));
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// Everywhere, also where nothing can trace.
#[test]
fn the_shaders_compile() {
    let words = words();
    assert_eq!((words[0], words[1]), (0x0723_0203, 0x0001_0400), "SPIR-V 1.4");
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"SPV_KHR_ray_tracing"));
}

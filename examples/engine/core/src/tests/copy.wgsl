@group(0) @binding(0) var texture: texture_2d<f32>;
@fragment fn main() -> @location(0) vec4f { return textureLoad(texture, vec2i(0), 0); }

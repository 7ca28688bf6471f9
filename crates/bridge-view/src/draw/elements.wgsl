// Texel access for `picture.wgsl` when the image is in a buffer.

@group(0) @binding(0) var<storage, read> elements: array<u32>;

fn element(index: u32) -> f32 {
    switch params.kind {
        case 0u: {
            return f32((elements[index >> 2u] >> ((index & 3u) * 8u)) & 0xffu) / 255.0;
        }
        case 1u: {
            let pair = unpack2x16float(elements[index >> 1u]);
            return select(pair.x, pair.y, (index & 1u) == 1u);
        }
        default: {
            return bitcast<f32>(elements[index]);
        }
    }
}

fn texel(x: u32, y: u32) -> vec4<f32> {
    let index = y * params.source.x + x;
    let planar = (params.flags & 4u) != 0u;
    // A texel of four channels consists of complete words, so one or two loads are enough instead of four.
    if (params.channels == 4u && params.kind == 0u && !planar) {
        return unpack4x8unorm(elements[index]);
    }
    if (params.channels == 4u && params.kind == 1u && !planar) {
        return vec4(unpack2x16float(elements[2u * index]), unpack2x16float(elements[2u * index + 1u]));
    }
    let first = select(index * params.channels, index, planar);
    let apart = select(1u, params.source.x * params.source.y, planar);
    let one = element(first);
    switch params.channels {
        case 1u: { return vec4(one, one, one, 1.0); }
        case 2u: { return vec4(one, element(first + apart), 0.0, 1.0); }
        case 3u: { return vec4(one, element(first + apart), element(first + 2u * apart), 1.0); }
        default: { return vec4(one, element(first + apart), element(first + 2u * apart), element(first + 3u * apart)); }
    }
}

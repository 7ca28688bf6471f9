//! The kinds of images, and the formats of their texels.

pub(crate) mod kind;
pub(crate) mod texel;

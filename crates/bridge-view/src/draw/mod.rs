//! Drawing from shared memory into a picture: shaders, pipelines, and a ring of frames.

pub(crate) mod pipeline;
pub(crate) mod ring;

//! Drawing from shared memory into a picture: shaders, pipelines, and the ring of frames in flight.

pub(crate) mod pipeline;
pub(crate) mod ring;

//! Requirements of handing an image over: barriers, or barriers and copies.

use vk_export::{ImageAccess, ImageHandover};

use crate::exchange::barriers::Barriers;
use crate::image::staging::Staging;

/// Requirements of handing an image over.
#[derive(Debug)]
pub(crate) enum HandOver {
    /// Barriers: both sides reach the same memory.
    Direct(ImageHandover),
    /// Barriers and copies: the compute side reaches rows in a staging buffer, which is freed with
    /// the image.
    Staged(Box<Staging>),
}

impl HandOver {
    pub(crate) fn accesses(&self) -> ImageAccess {
        match self {
            Self::Direct(handover) => handover.accesses(),
            Self::Staged(staging) => staging.handover().accesses(),
        }
    }

    /// The barriers, where they are all.
    pub(crate) fn barriers(&self) -> Option<&ImageHandover> {
        match self {
            Self::Direct(handover) => Some(handover),
            Self::Staged(_) => None,
        }
    }

    pub(crate) fn is_staged(&self) -> bool {
        matches!(self, Self::Staged(_))
    }

    pub(crate) fn add_to(&self, barriers: &mut Barriers) {
        match self {
            Self::Direct(handover) => barriers.add_image(handover),
            Self::Staged(staging) => barriers.add_staged(staging),
        }
    }
}

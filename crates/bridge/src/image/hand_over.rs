//! [`HandOver`]: the barriers, and possibly copies, that hand an image over.

use vk_export::{ImageAccess, ImageHandover};

use crate::barriers::Barriers;
use crate::staging::Staging;

/// The operations that hand an image over.
#[derive(Debug)]
pub(crate) enum HandOver {
    /// Barriers only: both sides access the same memory.
    Direct(ImageHandover),
    /// Barriers and copies: the compute side accesses rows in a staging buffer, which is freed with
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

    /// Returns the barriers, or `None` if copies are needed too.
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

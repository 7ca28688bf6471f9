//! A cache of an image's texture and surface objects. Each is created once and kept until the image
//! is freed: later requests only search a short list, without an allocation or a driver call.
//!
//! Contains unsafe code because destroying an object requires that its use has ended.
#![allow(unsafe_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::image::texture::TextureInfo;
use crate::sys::{CallResult, Driver};

/// Limit for each kind of object per image. Enqueued kernels may use any of them, so none is
/// destroyed before the image. A program that exceeds it probably changes the description in every
/// frame.
pub(crate) const MAX_OBJECTS: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct ImageObjects {
    objects: Mutex<Objects>,
}

/// Objects that were created and not yet destroyed.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    textures: Vec<(TextureInfo, u64)>,
    /// By mip level.
    surfaces: Vec<(u32, u64)>,
}

impl ImageObjects {
    pub(crate) fn find_texture(&self, info: &TextureInfo) -> Option<u64> {
        find(&self.objects().textures, info)
    }

    pub(crate) fn find_surface(&self, level: u32) -> Option<u64> {
        find(&self.objects().surfaces, &level)
    }

    /// Returns the texture object for this description, created with `make` if there is none yet;
    /// `None` if the limit is reached.
    pub(crate) fn texture<E>(
        &self,
        info: &TextureInfo,
        make: impl FnOnce() -> Result<u64, E>,
    ) -> Result<Option<u64>, E> {
        find_or_create(&mut self.objects().textures, info, make)
    }

    /// Returns the surface object of this mip level, created with `make` if there is none yet;
    /// `None` if the limit is reached.
    pub(crate) fn surface<E>(&self, level: u32, make: impl FnOnce() -> Result<u64, E>) -> Result<Option<u64>, E> {
        find_or_create(&mut self.objects().surfaces, &level, make)
    }

    /// Takes all objects in order to destroy them.
    pub(crate) fn take(&self) -> Objects {
        std::mem::take(&mut *self.objects())
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        // No code under this lock can leave a list half changed.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objects {
    /// Destroys all objects. If destroying one fails, it is leaked and the first error is returned;
    /// the image must then stay alive.
    ///
    /// # Safety
    /// The objects came from `driver`, and no pending or later work uses them.
    pub(crate) unsafe fn destroy(self, driver: Driver) -> CallResult<()> {
        let Self { textures, surfaces } = self;
        let textures = textures.into_iter().map(|(_, object)| {
            // SAFETY: it was removed from the list, so it is destroyed once; the caller guarantees
            // that it is no longer used.
            unsafe { driver.destroy_texture(object) }
        });
        let surfaces = surfaces.into_iter().map(|(_, object)| {
            // SAFETY: as above.
            unsafe { driver.destroy_surface(object) }
        });
        textures.chain(surfaces).fold(Ok(()), Result::and)
    }
}

fn find<K: PartialEq>(list: &[(K, u64)], key: &K) -> Option<u64> {
    list.iter().find(|(known, _)| known == key).map(|(_, object)| *object)
}

fn find_or_create<K: PartialEq + Clone, E>(
    list: &mut Vec<(K, u64)>,
    key: &K,
    make: impl FnOnce() -> Result<u64, E>,
) -> Result<Option<u64>, E> {
    if let Some(object) = find(list, key) {
        return Ok(Some(object));
    }
    if list.len() >= MAX_OBJECTS {
        return Ok(None);
    }
    let object = make()?;
    list.push((key.clone(), object));
    Ok(Some(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn created_objects_are_found_again() {
        let objects = ImageObjects::default();
        let made = Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            Ok::<u64, ()>(made.get())
        };
        let (one, other) = (TextureInfo::default(), TextureInfo { mip_bias: 0.5, ..Default::default() });
        assert_eq!(
            [&one, &other, &one].map(|info| objects.texture(info, make)),
            [Ok(Some(1)), Ok(Some(2)), Ok(Some(1))]
        );
        assert_eq!([0, 1, 0].map(|level| objects.surface(level, make)), [Ok(Some(3)), Ok(Some(4)), Ok(Some(3))]);
        assert_eq!(objects.surface(2, || Err("refused")), Err("refused"));
        assert_eq!(objects.surface(2, make), Ok(Some(5)));
    }
    #[test]
    fn the_list_is_bounded() {
        let objects = ImageObjects::default();
        let with = |bias| TextureInfo { mip_bias: bias, ..Default::default() };
        for nth in 0..MAX_OBJECTS {
            assert_eq!(objects.texture(&with(nth as f32), || Ok::<_, ()>(nth as u64)), Ok(Some(nth as u64)));
        }
        assert_eq!(objects.texture(&with(0.5), || Err("made")), Ok(None));
        assert_eq!(objects.texture(&with(3.0), || Err("made")), Ok(Some(3)), "those that were made are found");
    }
}

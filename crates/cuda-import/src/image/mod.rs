//! Typed images in imported memory.
//!
//! Contains unsafe code because the driver does not validate the description of an image, and
//! because freeing an image requires that its use has ended.

#![allow(unsafe_code)]
mod backing;
pub(crate) mod copy;
mod desc;
pub(crate) mod info;
pub(crate) mod limits;
pub(crate) mod objects;
pub(crate) mod rows;
pub(crate) mod slice_order;
pub(crate) mod texture;
pub(crate) mod view;

use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::CudaStream;

use crate::device::check_recorded;
use crate::error::image::ImageProblem;
use crate::error::{Error, Object, Result};
use crate::format::kind::ImageKind;
use crate::format::texel::Texel;
use crate::image::backing::{ArrayBacking, ImageBacking, map_array, nth, refuse};
use crate::image::desc::texture_desc;
use crate::image::info::{ImageMappingInfo, level_extent};
use crate::image::objects::ImageObjects;
use crate::image::texture::TextureInfo;
use crate::memory::mapping::{Backing, Mapping};
use crate::memory::{ImportedMemory, range_within};
use crate::stream::order::StreamOrder;
use crate::sys::{CallResult, Current, Driver, ImageEnd, Resource};

/// An image of `T` in imported memory, with its mip levels and layers, and with a home stream.
/// Access it through [`view`](Self::view) and [`view_mut`](Self::view_mut), which copy and provide
/// texture and surface objects for kernels. It can be used from any thread.
///
/// It is a CUDA array ([`map`](Self::map)), or rows in linear memory
/// ([`map_rows`](Self::map_rows)), which is the only form that a GPU other than the exporting one
/// can map. Kernels get the address of rows ([`ImageViewMut::rows`](crate::ImageViewMut::rows));
/// copies work in the same way for both.
///
/// ```no_run
/// # #![allow(unsafe_code)]
/// # use std::sync::Arc;
/// use cuda_import::cudarc::driver::{
///     CudaFunction, CudaStream, LaunchConfig, PushKernelArg,
/// };
/// use cuda_import::{
///     Filter, ImageMappingInfo, ImportedMemory, MappedImage, ReadMode,
///     TextureInfo,
/// };
///
/// /// `memory` has an image of 1920 x 1080 texels of 4 x U8 and 11 mip levels,
/// /// which may be rendered into.
/// fn brighten(
///     memory: &Arc<ImportedMemory>,
///     home: &Arc<CudaStream>,
///     kernel: &CudaFunction,
/// ) -> Result<(), cuda_import::Error> {
///     let info = ImageMappingInfo {
///         extent: [1920, 1080, 1],
///         levels: 11,
///         surface: true,
///         color_attachment: true,
///         ..Default::default()
///     };
///     // SAFETY: the exporter describes its own image.
///     let mut image =
///         unsafe { MappedImage::<[u8; 4]>::map(memory, &info, home) }?;
///
///     let view = image.view_mut();
///     let sampled = TextureInfo {
///         filter: Filter::Linear,
///         read_mode: ReadMode::NormalizedFloat,
///         ..Default::default()
///     };
///     let texture = view.texture(&sampled)?;
///     let mut surface = view.surface(0)?;
///     let mut launch = home.launch_builder(kernel);
///     launch.arg(&texture).arg(&mut surface);
///     // SAFETY: the kernel takes a texture and a surface object, and stays inside
///     // 1920 x 1080 texels of four bytes.
///     let launched =
///         unsafe { launch.launch(LaunchConfig::for_num_elems(1920 * 1080)) };
///     launched.expect("launch");
///
///     let mut pixels = vec![[0; 4]; 1920 * 1080];
///     image.view().read_to_host(home, 0, .., &mut pixels)
/// }
/// ```
///
/// Dropping an image waits, like dropping a [`MappedBuffer`](crate::MappedBuffer), for at most two
/// seconds until the work on the home stream and on other streams that used it has ended. It then
/// destroys the texture and surface objects and frees the mapping. After the timeout, all of these
/// and the memory are leaked deliberately, with a log message. Kernels that were launched with a
/// texture or a surface on another stream are not tracked (see
/// [`ImageView::use_on`](crate::ImageView::use_on)) and must have ended.
///
/// See "Mapping Mipmapped Arrays onto Imported Memory Objects" in the [CUDA programming
/// guide][guide].
///
/// [guide]: https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#external-resource-interoperability
#[doc(alias = "CUmipmappedArray")]
#[derive(Debug)]
pub struct MappedImage<T> {
    info: ImageMappingInfo,
    mapping: Mapping<ImageBacking>,
    texel: PhantomData<fn() -> T>,
}

impl<T: Texel> MappedImage<T> {
    /// Maps the image at an offset in `memory`.
    ///
    /// `home` is the stream on which most of the work runs; using the image there has no extra
    /// cost.
    ///
    /// Driver API: [`cuExternalMemoryGetMappedMipmappedArray`][driver].
    ///
    /// # Errors
    /// [`Error::Image`] for an image that is not possible on this device, [`Error::OutOfRange`] if
    /// the memory is too small for its texels; other invalid arguments each have their own error;
    /// [`Error::Driver`] if the driver call fails.
    ///
    /// # Safety
    /// The driver does not validate the description ("mappings must match those of the exporting
    /// API", CUDA guide, external memory).
    /// - The exporting API created an image of exactly this kind, extent, number of layers and mip
    ///   levels, with the channels of `T::FORMAT`, at this offset of this memory.
    /// - `color_attachment` is set if that API may render into the image.
    /// - While views of the image are used, or work enqueued with them is pending, the exporting
    ///   API leaves it in the state in which it hands images over, and meets the requirements of
    ///   [`ImportedMemory::import`].
    ///
    /// [driver]: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__EXTRES__INTEROP.html
    #[doc(alias = "cuExternalMemoryGetMappedMipmappedArray")]
    pub unsafe fn map(memory: &Arc<ImportedMemory>, info: &ImageMappingInfo, home: &Arc<CudaStream>) -> Result<Self> {
        let (object, device) = (Object("image", memory.name()), memory.device());
        info.validate::<T>().map_err(|problem| refuse(&object, device.name(), problem))?;
        let order = StreamOrder::new(home, device, &object)?;
        let within = limits::check_limits(info, device).map_err(|error| error.at(&object, device.name()))?;
        within.map_err(|problem| refuse(&object, device.name(), problem))?;
        // A size that overflows 64 bits is out of range.
        range_within(memory, info.offset, info.min_size(size_of::<T>()).unwrap_or(u64::MAX))?;
        // Only the driver knows how much memory the image needs beyond its texels, so it claims the
        // whole allocation.
        let several = || refuse(&object, device.name(), ImageProblem::SeveralGpus);
        let handle = memory.origin().external().ok_or_else(several)?;
        let ((array, levels), range) = memory.map(0, memory.allocation_size(), |driver| {
            // SAFETY: the caller guarantees the description of the image; the result holds an Arc
            // of the memory and destroys the array first.
            unsafe { map_array::<T>(driver, handle, info, memory) }
        })?;
        let objects = ImageObjects::default();
        let mapped = range.clone();
        let backing = ArrayBacking { array, levels, range, objects, memory: Arc::clone(memory) };
        let image =
            Self { info: *info, mapping: Mapping::new(ImageBacking::Array(backing), order), texel: PhantomData };
        memory.log_mapped(&mapped);
        Ok(image)
    }

    /// Returns the texture object for this description.
    pub(crate) fn texture(&self, texture: &TextureInfo) -> Result<u64> {
        let ArrayBacking { array, levels: of_levels, objects, .. } = self.array()?;
        if let Some(made) = objects.find_texture(texture) {
            return Ok(made);
        }
        let problem = texture.validate(self.info.kind, T::FORMAT, self.info.levels);
        problem.map_err(|problem| self.refuse(problem))?;
        // A mip chain needs normalized coordinates even if it has only one level. A single level
        // does not.
        let one = texture.level.or((!texture.normalized_coordinates).then_some(0));
        let (resource, levels) = match one {
            Some(level) => (Resource::Level(nth(of_levels, level).map_err(|problem| self.refuse(problem))?), 1),
            None => (Resource::Levels(*array), self.info.levels),
        };
        let desc = texture_desc(texture, T::FORMAT, levels);
        // Bound before the lock of the list is taken: restoring the previous context may call the
        // logger.
        let _current = self.bind()?;
        let made = objects.texture(texture, || {
            self.call(|driver| {
                // SAFETY: the array is alive as long as `self` and has this format; `release`
                // destroys the object before it.
                unsafe { driver.create_texture(resource, &desc) }
            })
        })?;
        made.ok_or_else(|| self.refuse(ImageProblem::TooManyObjects { max: objects::MAX_OBJECTS }))
    }

    /// Returns the surface object of this mip level.
    pub(crate) fn surface(&self, level: u32) -> Result<u64> {
        let ArrayBacking { levels, objects, .. } = self.array()?;
        if let Some(made) = objects.find_surface(level) {
            return Ok(made);
        }
        let array = nth(levels, level).map_err(|problem| self.refuse(problem))?;
        if !self.info.surface {
            return Err(self.refuse(ImageProblem::NoSurfaces));
        }
        // Same as for textures.
        let _current = self.bind()?;
        let made = objects.surface(level, || {
            self.call(|driver| {
                // SAFETY: the array is alive as long as `self` and was mapped for surfaces;
                // `release` destroys the object before it.
                unsafe { driver.create_surface(array) }
            })
        })?;
        made.ok_or_else(|| self.refuse(ImageProblem::TooManyObjects { max: objects::MAX_OBJECTS }))
    }
}

impl<T> MappedImage<T> {
    /// Returns the number of dimensions.
    pub fn kind(&self) -> ImageKind {
        self.info.kind
    }

    /// Returns the extent of the first mip level, in texels; unused dimensions are 1.
    pub fn extent(&self) -> [u32; 3] {
        self.info.extent
    }

    /// Returns the extent of a mip level, in texels: halved from one level to the next, at least 1.
    pub fn level_extent(&self, level: u32) -> [u32; 3] {
        level_extent(self.info.extent, level)
    }

    /// Returns the number of mip levels, at least 1.
    pub fn levels(&self) -> u32 {
        self.info.levels
    }

    /// Returns the number of layers, at least 1, and 6 per cube.
    pub fn layers(&self) -> u32 {
        self.info.layers
    }

    /// Returns the parameters that the image was mapped with.
    pub fn info(&self) -> &ImageMappingInfo {
        &self.info
    }

    /// Returns the home stream.
    pub fn stream(&self) -> &Arc<CudaStream> {
        self.mapping.order().home()
    }

    /// Returns the memory that contains the image. Only a reference, so it cannot be used to map
    /// another object, which needs the `Arc`.
    pub fn memory(&self) -> &ImportedMemory {
        self.mapping.backing().memory()
    }

    /// Returns `true` if another stream used the image and the home stream does not wait for that
    /// yet, see [`MappedBuffer::has_foreign_work`](crate::MappedBuffer::has_foreign_work).
    pub fn has_foreign_work(&self) -> bool {
        self.mapping.has_foreign_work()
    }

    /// Makes the home stream wait for work on other streams that used the image, so that a signal
    /// enqueued there afterwards covers that work. Call it before such a signal, after all views
    /// were dropped.
    ///
    /// # Errors
    /// Those of [`MappedBuffer::join_foreign_work`](crate::MappedBuffer::join_foreign_work).
    pub fn join_foreign_work(&self) -> Result<()> {
        self.mapping.join()
    }

    /// Unmaps the image like dropping it does, and returns the error.
    ///
    /// # Errors
    /// [`Error::StillInUse`] after the time limit, [`Error::Driver`] if the driver call fails; the
    /// mapping is then leaked.
    pub fn close(self) -> Result<()> {
        self.mapping.close()
    }

    /// Declares that the next close or drop need not wait, see
    /// [`MappedBuffer::assume_idle`](crate::MappedBuffer::assume_idle).
    ///
    /// # Safety
    /// All work that uses the image has ended.
    pub unsafe fn assume_idle(&self) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.mapping.order().assume_idle() }
    }

    pub(crate) fn object(&self) -> Object<'_> {
        self.mapping.backing().object()
    }

    pub(crate) fn order(&self) -> &StreamOrder {
        self.mapping.order()
    }

    pub(crate) fn refuse(&self, problem: ImageProblem) -> Error {
        refuse(&self.object(), self.memory().device().name(), problem)
    }

    /// Runs `call` with the context current, after checking that no error of an earlier call was
    /// recorded.
    pub(crate) fn call<R>(&self, call: impl FnOnce(Driver) -> CallResult<R>) -> Result<R> {
        let device = self.memory().device();
        let called =
            check_recorded(device.object()).and_then(|()| device.bind()).and_then(|_current| call(device.driver()));
        called.map_err(|error| error.at(self.object(), device.name()))
    }

    fn bind(&self) -> Result<Current> {
        let device = self.memory().device();
        device.bind().map_err(|error| error.at(self.object(), device.name()))
    }

    /// Returns a mip level as the end of a copy.
    pub(crate) fn end(&self, level: u32) -> Result<ImageEnd> {
        self.mapping.backing().end(level).map_err(|problem| self.refuse(problem))
    }

    fn array(&self) -> Result<&ArrayBacking> {
        self.mapping.backing().array().map_err(|problem| self.refuse(problem))
    }
}

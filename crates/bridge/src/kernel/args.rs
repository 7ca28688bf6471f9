//! Kernel arguments, packed in CUDA's layout.

use bytemuck::Pod;
use smallvec::SmallVec;
use vk_export::{PtxEntry, PtxParam};

use crate::compute::inline::segment::Keep;
use crate::error::{Error, Result};
use crate::kernel::buffer::KernelBuffer;
use crate::kernel::host_arg::HostArg;
use crate::kernel::image::{KernelSurface, KernelTexture};
use crate::kernel::memory::KernelMemory;
use crate::kernel::site::Site;
use crate::tuples::up_to_12;

/// Number of argument bytes that are stored without a heap allocation.
const INLINE_BYTES: usize = 256;

/// Maximum number of arguments of a launch.
pub(crate) const MAX_ARGS: usize = 12;

/// An argument of a kernel. This trait is sealed; it is implemented for
///
/// - numbers, arrays and `#[repr(C)]` structures that are [`Pod`], with the layout that they have
///   in the kernel's source. Literals have Rust's default types, so name the type: `1000_u32`,
///   `0.5_f32`. A C `bool` is a `u8` of 0 or 1;
/// - [`KernelBuffer`], a shared buffer, for a pointer to its elements;
/// - `&`[`KernelMemory`], for a pointer to its elements;
/// - [`KernelSurface`] and [`KernelTexture`], for `cudaSurfaceObject_t` and `cudaTextureObject_t`,
///   which are 64-bit handles.
///
/// Buffers, surfaces and textures may also be passed by reference.
#[allow(private_bounds)] // Sealed on purpose.
pub trait KernelArg: Pack {}

impl<A: Pack> KernelArg for A {}

/// The arguments of a launch: a tuple of up to twelve [`KernelArg`]s, in the order of the kernel's
/// parameters. A single argument is `(argument,)`, no arguments are `()`; kernels with more than
/// twelve take a structure. This trait is sealed.
#[allow(private_bounds)] // Sealed on purpose.
pub trait KernelArgs: PackAll {}

impl<A: PackAll> KernelArgs for A {}

/// Conversion of an argument to bytes.
pub(crate) trait Pack {
    /// Calls `put` with the bytes of the argument.
    fn pack(&self, put: impl FnOnce(&[u8]) -> Result<()>) -> Result<()>;

    /// Returns the object that the kernel uses, if a launch at `site` must keep it alive.
    ///
    /// # Errors
    /// The reason why the argument cannot be used there.
    fn keep(&self, site: Site<'_>) -> Result<Option<Keep>, String> {
        let _ = site;
        Ok(None)
    }

    /// Returns the source of the twin's argument on the CPU backend. The default is the packed
    /// bytes of the parameter.
    fn host(&self, param: &PtxParam) -> HostArg {
        HostArg::Value { offset: param.offset, size: param.size }
    }
}

/// Conversion of the arguments of a launch to bytes.
pub(crate) trait PackAll {
    /// Number of arguments.
    const COUNT: usize;

    fn pack_all(&self, packed: &mut Packed<'_>) -> Result<()>;

    /// Returns the arguments of a twin on the CPU backend. `params` has the same length.
    fn host_args(&self, params: &[PtxParam]) -> HostArgs;
}

/// The arguments of a launch on the CPU backend.
pub(crate) type HostArgs = SmallVec<[HostArg; MAX_ARGS]>;

impl<T: Pod> Pack for T {
    fn pack(&self, put: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        put(bytemuck::bytes_of(self))
    }
}

impl<T: Pod> Pack for KernelBuffer<'_, T> {
    fn pack(&self, put: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        self.address().pack(put)
    }

    fn host(&self, param: &PtxParam) -> HostArg {
        self.on_host_arg().unwrap_or_else(|| self.address().host(param))
    }
}

impl Pack for KernelSurface<'_> {
    fn pack(&self, put: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        self.handle().pack(put)
    }

    fn host(&self, param: &PtxParam) -> HostArg {
        self.on_host_arg().unwrap_or_else(|| self.handle().host(param))
    }
}

impl Pack for KernelTexture<'_> {
    fn pack(&self, put: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        self.handle().pack(put)
    }

    fn host(&self, param: &PtxParam) -> HostArg {
        self.on_host_arg().unwrap_or_else(|| self.handle().host(param))
    }
}

// Resources that a tuple or a `Vec` lends are often only available by reference.
impl<T: Pod> Pack for &KernelBuffer<'_, T> {
    fn pack(&self, put: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        (**self).pack(put)
    }

    fn host(&self, param: &PtxParam) -> HostArg {
        (**self).host(param)
    }
}

impl Pack for &KernelSurface<'_> {
    fn pack(&self, put: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        (**self).pack(put)
    }

    fn host(&self, param: &PtxParam) -> HostArg {
        (**self).host(param)
    }
}

impl Pack for &KernelTexture<'_> {
    fn pack(&self, put: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        (**self).pack(put)
    }

    fn host(&self, param: &PtxParam) -> HostArg {
        (**self).host(param)
    }
}

impl<T: Pod> Pack for &KernelMemory<T> {
    fn pack(&self, put: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        self.address().pack(put)
    }

    fn keep(&self, site: Site<'_>) -> Result<Option<Keep>, String> {
        KernelMemory::keep(self, site).map(Some)
    }

    fn host(&self, param: &PtxParam) -> HostArg {
        self.on_host_arg().unwrap_or_else(|| self.address().host(param))
    }
}

/// Arguments in the driver's format, each at the offset of its parameter in the kernel's PTX.
pub(crate) struct Packed<'e> {
    entry: &'e PtxEntry,
    site: Site<'e>,
    next: usize,
    pub(crate) bytes: SmallVec<[u8; INLINE_BYTES]>,
    pub(crate) keep: SmallVec<[Keep; 4]>,
}

impl<'e> Packed<'e> {
    /// Packs arguments for a kernel that is launched at `site`.
    ///
    /// # Errors
    /// [`Error::Launch`] if the number of arguments or the size of one does not match the kernel's
    /// parameters.
    pub(crate) fn new<A: KernelArgs>(entry: &'e PtxEntry, site: Site<'e>, args: &A) -> Result<Self> {
        let expected = entry.params().len();
        if A::COUNT != expected {
            return Err(launch_error(entry, format!("it takes {expected} arguments, but {} were given", A::COUNT)));
        }
        let bytes = SmallVec::from_elem(0, entry.args_size());
        let mut packed = Self { entry, site, next: 0, bytes, keep: SmallVec::new() };
        args.pack_all(&mut packed)?;
        Ok(packed)
    }

    fn push(&mut self, arg: &impl Pack) -> Result<()> {
        let (entry, index) = (self.entry, self.next);
        self.next += 1;
        let Some(param) = entry.params().get(index) else { return Ok(()) };
        let bytes = &mut self.bytes;
        arg.pack(|from| {
            let to = bytes.get_mut(param.offset..).and_then(|rest| rest.get_mut(..param.size));
            match to.filter(|to| to.len() == from.len()) {
                Some(to) => {
                    to.copy_from_slice(from);
                    Ok(())
                }
                None => Err(launch_error(
                    entry,
                    format!(
                        "argument {index} has {} bytes, but the kernel's parameter has {}; the two sources must \
                         agree on its type",
                        from.len(),
                        param.size
                    ),
                )),
            }
        })?;
        self.keep.extend(arg.keep(self.site).map_err(|reason| launch_error(entry, reason))?);
        Ok(())
    }
}

/// Returns the error of a launch that was rejected.
pub(crate) fn launch_error(entry: &PtxEntry, reason: String) -> Error {
    Error::Launch { kernel: entry.name().to_owned(), reason }
}

impl PackAll for () {
    const COUNT: usize = 0;

    fn pack_all(&self, _: &mut Packed<'_>) -> Result<()> {
        Ok(())
    }

    fn host_args(&self, _: &[PtxParam]) -> HostArgs {
        HostArgs::new()
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: KernelArg),+> PackAll for ($($name,)+) {
            const COUNT: usize = [$($index),+].len();

            fn pack_all(&self, packed: &mut Packed<'_>) -> Result<()> {
                $(packed.push(&self.$index)?;)+
                Ok(())
            }

            fn host_args(&self, params: &[PtxParam]) -> HostArgs {
                let mut args = HostArgs::new();
                $(args.extend(params.get($index).map(|param| self.$index.host(param)));)+
                args
            }
        }
    };
}

up_to_12!(tuple);

//! Twins of kernels: Rust functions that replace kernels on the CPU backend.
#![allow(unsafe_code)] // Lends the arguments of launches.

use std::any::{TypeId, type_name};
use std::marker::PhantomData;

use bytemuck::Pod;
use cuda_import::Texel;
use vk_export::{LaunchConfig, PtxEntry};

use crate::compute::host::memory::HostImage;
use crate::host_image::HostImageMut;
use crate::kernel::host_arg::HostArg;
use crate::tuples::up_to_12;

/// A parameter of a twin; see [`KernelModule::with_twin`](crate::KernelModule::with_twin). This
/// trait is sealed; it is implemented for
///
/// - [`Pod`] types, which the twin gets by value;
/// - [`TwinSlice`] for a pointer to elements: the twin gets a `&mut [T]` of the whole buffer or
///   kernel memory that was passed to the launch;
/// - [`TwinImage`] for a surface or texture: the twin gets a [`HostImageMut`].
#[allow(private_bounds)] // Sealed on purpose.
pub trait TwinArg: Take {
    /// Type that the twin receives.
    type Lent<'a>;
}

/// The parameters of a twin: a tuple of up to twelve [`TwinArg`]s, in the order of the kernel's
/// parameters. A single parameter is `(parameter,)`, no parameters are `()`. This trait is sealed.
#[allow(private_bounds)] // Sealed on purpose.
pub trait TwinArgs: TakeAll + 'static {
    /// Type that the twin receives.
    type Lent<'a>;
}

/// Marker type for a twin's parameter that is a pointer to elements; see [`TwinArg`].
#[derive(Debug)]
pub struct TwinSlice<T>(PhantomData<fn() -> T>);

/// Marker type for a twin's parameter that is a surface or a texture; see [`TwinArg`]. The twin
/// gets texels and has to sample them itself.
#[derive(Debug)]
pub struct TwinImage<T>(PhantomData<fn() -> T>);

/// Conversion of a parameter from the arguments of a launch.
pub(crate) trait Take {
    /// Size of the kernel's parameter, in bytes.
    const SIZE: usize;

    /// Returns a description for errors.
    fn name() -> String;

    /// Returns `true` if the parameter can be taken from `arg`.
    fn accepts(arg: &HostArg) -> bool;
}

/// [`Take`], with the conversion itself.
pub(crate) trait Lend: TwinArg {
    /// # Safety
    /// [`accepts`](Take::accepts) returns `true` for `arg`. The memory that `arg` points to lives
    /// for `'a`, and nothing else uses it during `'a`. `bytes` are the launch's packed arguments.
    unsafe fn take<'a>(arg: &HostArg, bytes: &[u8]) -> Self::Lent<'a>;
}

/// Conversion of the parameters of a twin.
pub(crate) trait TakeAll {
    /// Returns the size in bytes and the description of each parameter.
    fn params() -> Vec<(usize, String)>;

    /// Returns the index of the first argument that the twin does not accept, and the description
    /// of its parameter.
    fn mismatch(args: &[HostArg]) -> Option<(usize, String)>;
}

/// [`TakeAll`], with the conversion itself.
pub(crate) trait LendAll: TwinArgs {
    /// # Safety
    /// The number of arguments is the number of parameters, and each argument satisfies the
    /// contract of [`Lend::take`].
    unsafe fn take_all<'a>(args: &[HostArg], bytes: &[u8]) -> Self::Lent<'a>;
}

impl<T: Pod> Take for T {
    const SIZE: usize = size_of::<T>();

    fn name() -> String {
        type_name::<T>().to_owned()
    }

    fn accepts(arg: &HostArg) -> bool {
        matches!(arg, HostArg::Value { size, .. } if *size == size_of::<T>())
    }
}

impl<T: Pod> TwinArg for T {
    type Lent<'a> = T;
}

impl<T: Pod> Lend for T {
    unsafe fn take<'a>(arg: &HostArg, bytes: &[u8]) -> Self::Lent<'a> {
        let HostArg::Value { offset, size } = *arg else { return T::zeroed() };
        bytes.get(offset..offset + size).map_or_else(T::zeroed, bytemuck::pod_read_unaligned)
    }
}

/// Size of a pointer, a surface handle or a texture handle, in bytes.
const HANDLE: usize = 8;

impl<T: Pod + Send> Take for TwinSlice<T> {
    const SIZE: usize = HANDLE;

    fn name() -> String {
        format!("a buffer or kernel memory of {}", type_name::<T>())
    }

    fn accepts(arg: &HostArg) -> bool {
        matches!(arg, HostArg::Slice { element, .. } if *element == TypeId::of::<T>())
    }
}

impl<T: Pod + Send> TwinArg for TwinSlice<T> {
    type Lent<'a> = &'a mut [T];
}

impl<T: Pod + Send> Lend for TwinSlice<T> {
    unsafe fn take<'a>(arg: &HostArg, _: &[u8]) -> Self::Lent<'a> {
        let HostArg::Slice { start, len, .. } = *arg else { return &mut [] };
        // SAFETY: `accepts` has checked that the pointer is to `len` elements of `T`; they are
        // alive and nothing else uses them, by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(start.0.cast::<T>(), len) }
    }
}

impl<T: Texel> Take for TwinImage<T> {
    const SIZE: usize = HANDLE;

    fn name() -> String {
        format!("a surface or texture of {}", type_name::<T>())
    }

    fn accepts(arg: &HostArg) -> bool {
        matches!(arg, HostArg::Image { texel, .. } if *texel == TypeId::of::<T>())
    }
}

impl<T: Texel> TwinArg for TwinImage<T> {
    type Lent<'a> = HostImageMut<'a, T>;
}

impl<T: Texel> Lend for TwinImage<T> {
    unsafe fn take<'a>(arg: &HostArg, _: &[u8]) -> Self::Lent<'a> {
        let pointer = match arg {
            HostArg::Image { mapping, .. } => mapping.0,
            _ => std::ptr::null_mut(),
        };
        debug_assert!(!pointer.is_null());
        // SAFETY: `accepts` has checked that the pointer is to a mapping of an image of `T`; it is
        // alive for `'a` by this function's contract.
        let mapping = unsafe { &*pointer.cast_const().cast::<HostImage<T>>() };
        // SAFETY: the image is alive and nothing else uses it, by this function's contract.
        unsafe { mapping.view_mut() }
    }
}

/// A Rust function that replaces a kernel.
pub(crate) trait Twin: Send + Sync {
    /// Returns the reason why the twin cannot be called with `args`, if any.
    fn refusal(&self, args: &[HostArg]) -> Option<String>;

    /// # Safety
    /// [`refusal`](Self::refusal) returns `None` for `args`, and their number is the number of
    /// parameters. The memory that they point to is alive, and nothing else uses it.
    unsafe fn call(&self, config: &LaunchConfig, args: &[HostArg], bytes: &[u8]);
}

struct TypedTwin<P, F> {
    call: F,
    params: PhantomData<fn(P)>,
}

#[allow(private_bounds)] // `TwinArgs` is sealed.
impl<P: LendAll, F> Twin for TypedTwin<P, F>
where
    F: for<'a> Fn(&LaunchConfig, P::Lent<'a>) + Send + Sync,
{
    fn refusal(&self, args: &[HostArg]) -> Option<String> {
        if let Some((index, wanted)) = P::mismatch(args) {
            let given = args.get(index).map_or_else(|| "missing".into(), HostArg::kind);
            return Some(format!("argument {index} is {given}, but its twin in Rust takes {wanted}"));
        }
        let pairs = (0..args.len()).flat_map(|one| (0..one).map(move |other| (other, one)));
        pairs.into_iter().find(|(one, other)| args[*one].overlaps(&args[*other])).map(|(one, other)| {
            format!(
                "arguments {one} and {other} are the same memory, which a twin in Rust cannot borrow twice; pass it \
                 to the kernel once"
            )
        })
    }

    unsafe fn call(&self, config: &LaunchConfig, args: &[HostArg], bytes: &[u8]) {
        // SAFETY: the caller upholds the contract; no two arguments overlap.
        (self.call)(config, unsafe { P::take_all(args, bytes) });
    }
}

/// Creates a twin of `entry`.
///
/// # Errors
/// The reason why `call` cannot be a twin: the number or size of the parameters differs.
pub(crate) fn new_twin<P, F>(entry: &PtxEntry, call: F) -> Result<std::sync::Arc<dyn Twin>, String>
where
    P: LendAll,
    F: for<'a> Fn(&LaunchConfig, P::Lent<'a>) + Send + Sync + 'static,
{
    let (own, theirs) = (P::params(), entry.params());
    if own.len() != theirs.len() {
        return Err(format!("it takes {} parameters, but its twin in Rust takes {}", theirs.len(), own.len()));
    }
    for (index, ((size, name), param)) in own.into_iter().zip(theirs).enumerate() {
        if size != param.size {
            return Err(format!(
                "parameter {index} has {} bytes, but that of its twin in Rust, {name}, has {size}",
                param.size
            ));
        }
    }
    Ok(std::sync::Arc::new(TypedTwin { call, params: PhantomData::<fn(P)> }))
}

macro_rules! tuple {
    ($($name:ident $index:tt),*) => {
        impl<$($name: Lend + 'static),*> TwinArgs for ($($name,)*) {
            type Lent<'a> = ($($name::Lent<'a>,)*);
        }

        impl<$($name: Lend + 'static),*> TakeAll for ($($name,)*) {
            fn params() -> Vec<(usize, String)> {
                vec![$(($name::SIZE, $name::name())),*]
            }

            fn mismatch(args: &[HostArg]) -> Option<(usize, String)> {
                $(if !args.get($index).is_some_and($name::accepts) {
                    return Some(($index, $name::name()));
                })*
                let _ = args;
                None
            }
        }

        impl<$($name: Lend + 'static),*> LendAll for ($($name,)*) {
            #[allow(clippy::unused_unit, unused_variables)] // No parameters.
            unsafe fn take_all<'a>(args: &[HostArg], bytes: &[u8]) -> Self::Lent<'a> {
                // SAFETY: the caller upholds the contract.
                ($(unsafe { $name::take(&args[$index], bytes) },)*)
            }
        }
    };
}

tuple!();
up_to_12!(tuple);

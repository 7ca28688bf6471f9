//! [`PerBackend`]: a value whose type differs per compute side.
//!
//! Code that is the same for every side calls [`with_backend`] or [`map_backend`], not `match`: a
//! side that is added here needs no change there.

use crate::error::{Error, Result};

/// A value whose type differs per compute side, such as a mapping, a link or the side itself.
#[derive(Debug)]
pub(crate) enum PerBackend<C, H, I, R = Unmapped> {
    Cuda(C),
    Host(H),
    Inline(I),
    Remote(R),
}

/// The mapping in this process of a resource that a worker in another process writes: there is
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unmapped;

/// Evaluates an expression for the value of a [`PerBackend`], with its own type on each side.
macro_rules! with_backend {
    ($per_backend:expr, $value:pat => $result:expr) => {
        match $per_backend {
            $crate::compute::per_backend::PerBackend::Cuda($value) => $result,
            $crate::compute::per_backend::PerBackend::Host($value) => $result,
            $crate::compute::per_backend::PerBackend::Inline($value) => $result,
            $crate::compute::per_backend::PerBackend::Remote($value) => $result,
        }
    };
}

/// Converts the value of a [`PerBackend`] and returns the result for the same side.
macro_rules! map_backend {
    ($per_backend:expr, $value:pat => $result:expr) => {
        match $per_backend {
            $crate::compute::per_backend::PerBackend::Cuda($value) => {
                $crate::compute::per_backend::PerBackend::Cuda($result)
            }
            $crate::compute::per_backend::PerBackend::Host($value) => {
                $crate::compute::per_backend::PerBackend::Host($result)
            }
            $crate::compute::per_backend::PerBackend::Inline($value) => {
                $crate::compute::per_backend::PerBackend::Inline($result)
            }
            $crate::compute::per_backend::PerBackend::Remote($value) => {
                $crate::compute::per_backend::PerBackend::Remote($result)
            }
        }
    };
}

/// [`PerBackend::gather`] for the mappings of a tuple's members, whose types differ. Returns from
/// the function if another side mapped one of them.
macro_rules! gather_tuple {
    ($side:expr, $($mapped:expr),+) => {
        match $side {
            $crate::compute::per_backend::PerBackend::Cuda(_) => {
                $crate::compute::per_backend::PerBackend::Cuda(($($mapped.into_cuda()?,)+))
            }
            $crate::compute::per_backend::PerBackend::Host(_) => {
                $crate::compute::per_backend::PerBackend::Host(($($mapped.into_host()?,)+))
            }
            $crate::compute::per_backend::PerBackend::Inline(_) => {
                $crate::compute::per_backend::PerBackend::Inline(($($mapped.into_inline()?,)+))
            }
            $crate::compute::per_backend::PerBackend::Remote(_) => {
                $($mapped.into_remote()?;)+
                $crate::compute::per_backend::PerBackend::Remote($crate::compute::per_backend::Unmapped)
            }
        }
    };
}

pub(crate) use {gather_tuple, map_backend, with_backend};

impl<C, H, I, R> PerBackend<C, H, I, R> {
    /// Returns the value of the CUDA side, if it is one.
    pub(crate) fn cuda(&self) -> Option<&C> {
        match self {
            Self::Cuda(cuda) => Some(cuda),
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => None,
        }
    }

    /// Returns the value of the CPU side, if it is one.
    pub(crate) fn host(&self) -> Option<&H> {
        match self {
            Self::Host(host) => Some(host),
            Self::Cuda(_) | Self::Inline(_) | Self::Remote(_) => None,
        }
    }

    /// Returns the value for a worker in another process, if it is one.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(crate) fn remote(&self) -> Option<&R> {
        match self {
            Self::Remote(remote) => Some(remote),
            Self::Cuda(_) | Self::Host(_) | Self::Inline(_) => None,
        }
    }

    /// Returns the value of the CUDA side.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it belongs to another side.
    pub(crate) fn into_cuda(self) -> Result<C> {
        match self {
            Self::Cuda(cuda) => Ok(cuda),
            other => Err(mismatch(CUDA, other.owner())),
        }
    }

    /// Returns the value of the CPU side.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it belongs to another side.
    pub(crate) fn into_host(self) -> Result<H> {
        match self {
            Self::Host(host) => Ok(host),
            other => Err(mismatch(HOST, other.owner())),
        }
    }

    /// Returns the value for kernels in command buffers.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it belongs to another side.
    pub(crate) fn into_inline(self) -> Result<I> {
        match self {
            Self::Inline(inline) => Ok(inline),
            other => Err(mismatch(INLINE, other.owner())),
        }
    }

    /// Returns the value for a worker in another process.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it belongs to another side.
    pub(crate) fn into_remote(self) -> Result<R> {
        match self {
            Self::Remote(remote) => Ok(remote),
            other => Err(mismatch(REMOTE, other.owner())),
        }
    }

    /// Returns a reference to the value.
    pub(crate) fn as_ref(&self) -> PerBackend<&C, &H, &I, &R> {
        map_backend!(self, value => value)
    }

    /// Pairs the value with another one of the same side.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `other` belongs to another side.
    #[allow(clippy::type_complexity)] // One pair per side.
    pub(crate) fn zip<C2, H2, I2, R2>(
        self,
        other: PerBackend<C2, H2, I2, R2>,
    ) -> Result<PerBackend<(C, C2), (H, H2), (I, I2), (R, R2)>> {
        Ok(match self {
            Self::Cuda(cuda) => PerBackend::Cuda((cuda, other.into_cuda()?)),
            Self::Host(host) => PerBackend::Host((host, other.into_host()?)),
            Self::Inline(inline) => PerBackend::Inline((inline, other.into_inline()?)),
            Self::Remote(remote) => PerBackend::Remote((remote, other.into_remote()?)),
        })
    }

    /// Collects mappings of the same side as this value.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if another side mapped any of them.
    pub(crate) fn gather<C2, H2, I2>(
        &self,
        mapped: Vec<PerBackend<C2, H2, I2>>,
    ) -> Result<PerBackend<Vec<C2>, Vec<H2>, Vec<I2>>> {
        let mapped = mapped.into_iter();
        Ok(match self {
            Self::Cuda(_) => PerBackend::Cuda(mapped.map(PerBackend::into_cuda).collect::<Result<_>>()?),
            Self::Host(_) => PerBackend::Host(mapped.map(PerBackend::into_host).collect::<Result<_>>()?),
            Self::Inline(_) => PerBackend::Inline(mapped.map(PerBackend::into_inline).collect::<Result<_>>()?),
            Self::Remote(_) => {
                for one in mapped {
                    one.into_remote()?;
                }
                PerBackend::Remote(Unmapped)
            }
        })
    }

    /// Returns the side that it belongs to, for errors.
    fn owner(&self) -> &'static str {
        match self {
            Self::Cuda(_) => CUDA,
            Self::Host(_) => HOST,
            Self::Inline(_) => INLINE,
            Self::Remote(_) => REMOTE,
        }
    }
}

const CUDA: &str = "CUDA";
const HOST: &str = "the CPU";
const INLINE: &str = "kernels in command buffers";
const REMOTE: &str = "another process";

fn mismatch(expected: &str, found: &str) -> Error {
    Error::invalid(
        "a slot",
        format!(
            "a resource is mapped by {found}, but the exchange computes with {expected}; create all of them with one \
             `Compute`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::host::stream::HostStream;
    use crate::compute::side::Side;

    #[test]
    fn mapping_of_another_side_is_refused_with_both_names() {
        let side = Side::Host(HostStream::new().unwrap());
        let error = side.gather(vec![PerBackend::<_, _, u8>::Host(1), PerBackend::Cuda(2)]).unwrap_err().to_string();
        assert!(error.contains("mapped by CUDA") && error.contains("computes with the CPU"), "{error}");
        let error = PerBackend::<u8, _, u8>::Host(1).into_cuda().unwrap_err().to_string();
        assert!(error.contains("mapped by the CPU") && error.contains("computes with CUDA"), "{error}");
        let error = PerBackend::<u8, u8, u8>::Cuda(1).zip(PerBackend::<u8, _, u8>::Host(2)).unwrap_err().to_string();
        assert!(error.contains("mapped by the CPU") && error.contains("computes with CUDA"), "{error}");
        let gathered = side.gather(vec![PerBackend::<u8, _, u8>::Host(1), PerBackend::Host(2)]).unwrap();
        assert_eq!(gathered.host(), Some(&vec![1, 2]));
    }
}

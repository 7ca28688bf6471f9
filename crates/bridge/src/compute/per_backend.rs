//! [`PerBackend`]: a value whose type differs per compute side.

use crate::compute::remote::Unmapped;
use crate::error::{Error, Result};

/// A value whose type differs per compute side, such as a mapping, a link or the side itself.
#[derive(Debug)]
pub(crate) enum PerBackend<C, H, I, R = Unmapped> {
    Cuda(C),
    Host(H),
    Inline(I),
    Remote(R),
}

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

    /// Returns the error for a value `found` that belongs to a different side than `self`.
    pub(crate) fn mismatch(&self, found: &Self) -> Error {
        mismatch(self.owner(), found.owner())
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
        let error = PerBackend::<u8, _, u8>::Cuda(1).mismatch(&PerBackend::Host(2)).to_string();
        assert!(error.contains("mapped by the CPU") && error.contains("computes with CUDA"), "{error}");
        let gathered = side.gather(vec![PerBackend::<u8, _, u8>::Host(1), PerBackend::Host(2)]).unwrap();
        assert_eq!(gathered.host(), Some(&vec![1, 2]));
    }
}

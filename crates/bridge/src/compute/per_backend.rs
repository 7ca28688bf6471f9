//! [`PerBackend`]: a value of which each compute side has its own kind.

use crate::compute::remote::Unmapped;
use crate::error::{Error, Result};

/// A value of which each compute side has its own kind: a mapping, a link, the side itself.
#[derive(Debug)]
pub(crate) enum PerBackend<C, H, I, R = Unmapped> {
    Cuda(C),
    Host(H),
    Inline(I),
    Remote(R),
}

impl<C, H, I, R> PerBackend<C, H, I, R> {
    /// CUDA's, if that is what it is.
    pub(crate) fn cuda(&self) -> Option<&C> {
        match self {
            Self::Cuda(cuda) => Some(cuda),
            Self::Host(_) | Self::Inline(_) | Self::Remote(_) => None,
        }
    }

    /// The CPU's, if that is what it is.
    pub(crate) fn host(&self) -> Option<&H> {
        match self {
            Self::Host(host) => Some(host),
            Self::Cuda(_) | Self::Inline(_) | Self::Remote(_) => None,
        }
    }

    /// Another process's, if that is what it is.
    #[cfg(all(target_os = "linux", feature = "remote"))]
    pub(crate) fn remote(&self) -> Option<&R> {
        match self {
            Self::Remote(remote) => Some(remote),
            Self::Cuda(_) | Self::Host(_) | Self::Inline(_) => None,
        }
    }

    /// CUDA's.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is another side's.
    pub(crate) fn into_cuda(self) -> Result<C> {
        match self {
            Self::Cuda(cuda) => Ok(cuda),
            other => Err(mismatch(CUDA, other.owner())),
        }
    }

    /// The CPU's.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is another side's.
    pub(crate) fn into_host(self) -> Result<H> {
        match self {
            Self::Host(host) => Ok(host),
            other => Err(mismatch(HOST, other.owner())),
        }
    }

    /// Kernels' in command buffers.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is another side's.
    pub(crate) fn into_inline(self) -> Result<I> {
        match self {
            Self::Inline(inline) => Ok(inline),
            other => Err(mismatch(INLINE, other.owner())),
        }
    }

    /// Another process's.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is another side's.
    pub(crate) fn into_remote(self) -> Result<R> {
        match self {
            Self::Remote(remote) => Ok(remote),
            other => Err(mismatch(REMOTE, other.owner())),
        }
    }

    /// The error where `found` is another side's than this.
    pub(crate) fn mismatch(&self, found: &Self) -> Error {
        mismatch(self.owner(), found.owner())
    }

    /// Whose it is, for errors.
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
            "a resource is mapped by {found} where the exchange computes with {expected}; make all of them with one `Compute`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::host::stream::HostStream;
    use crate::compute::side::Side;

    #[test]
    fn what_another_side_mapped_is_refused_with_both_names() {
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

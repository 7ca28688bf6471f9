//! [`Sided`]: a value of which each compute side has its own kind.

use crate::error::{Error, Result};

/// A value of which each compute side has its own kind: a mapping, a link, the side itself.
#[derive(Debug)]
pub(crate) enum Sided<C, H, I> {
    Cuda(C),
    Host(H),
    Inline(I),
}

impl<C, H, I> Sided<C, H, I> {
    /// CUDA's, if that is what it is.
    pub(crate) fn cuda(&self) -> Option<&C> {
        match self {
            Self::Cuda(cuda) => Some(cuda),
            Self::Host(_) | Self::Inline(_) => None,
        }
    }

    /// The CPU's, if that is what it is.
    pub(crate) fn host(&self) -> Option<&H> {
        match self {
            Self::Host(host) => Some(host),
            Self::Cuda(_) | Self::Inline(_) => None,
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

    /// Whose it is, for errors.
    fn owner(&self) -> &'static str {
        match self {
            Self::Cuda(_) => CUDA,
            Self::Host(_) => HOST,
            Self::Inline(_) => INLINE,
        }
    }
}

const CUDA: &str = "CUDA";
const HOST: &str = "the CPU";
const INLINE: &str = "kernels in command buffers";

fn mismatch(expected: &str, found: &str) -> Error {
    Error::InvalidArgument {
        object: "a slot".into(),
        reason: format!(
            "a resource is mapped by {found} where the exchange computes with {expected}; make all of them with one `Compute`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::host::stream::HostStream;
    use crate::compute::side::Side;

    #[test]
    fn what_another_side_mapped_is_refused_with_both_names() {
        let side = Side::Host(HostStream::new().unwrap());
        let error = side.gather(vec![Sided::<_, _, u8>::Host(1), Sided::Cuda(2)]).unwrap_err().to_string();
        assert!(error.contains("mapped by CUDA") && error.contains("computes with the CPU"), "{error}");
        let error = Sided::<u8, _, u8>::Host(1).into_cuda().unwrap_err().to_string();
        assert!(error.contains("mapped by the CPU") && error.contains("computes with CUDA"), "{error}");
        let gathered = side.gather(vec![Sided::<u8, _, u8>::Host(1), Sided::Host(2)]).unwrap();
        assert_eq!(gathered.host(), Some(&vec![1, 2]));
    }
}

//! The constructor of errors about arguments.

use crate::error::Error;

impl Error {
    /// Creates an [`Error::InvalidArgument`]. `object` is the object that was to be made or used;
    /// `reason` describes the problem and what to do.
    pub(crate) fn invalid(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument { object: object.into(), reason: reason.into() }
    }
}

//! The constructor of errors about arguments.

use crate::error::Error;

impl Error {
    /// [`Error::InvalidArgument`]: what is wrong with an object that was to be made or used, and
    /// what to do.
    pub(crate) fn invalid(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidArgument { object: object.into(), reason: reason.into() }
    }
}

//! Reasons why bytes cannot be decoded as a message.

/// Reasons why bytes cannot be decoded as a message, or why a message cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The length is not that of the message kind.
    #[error("{got} bytes, but {expected} were expected")]
    #[non_exhaustive]
    Length {
        /// Expected length of the kind, or of a header.
        expected: usize,
        /// Received length.
        got: usize,
    },
    /// An unknown kind.
    #[error("unknown message kind {0}")]
    Kind(u16),
    /// The stated number of descriptors is not that of the message kind.
    #[error("it declares {got} descriptors, but its kind has {expected}")]
    #[non_exhaustive]
    Descriptors {
        /// Expected number for the kind.
        expected: u16,
        /// Stated number.
        got: u16,
    },
    /// The first message does not belong to this protocol.
    #[error("it does not begin with the protocol's magic")]
    Magic,
    /// This side supports none of the sender's versions. The rest of the message is not decoded,
    /// because it may have another meaning in those versions.
    #[error("it supports protocol versions {oldest} to {newest}, none of which this side supports")]
    #[non_exhaustive]
    Version {
        /// The oldest version that the sender supports.
        oldest: u32,
        /// The newest version that the sender supports.
        newest: u32,
    },
    /// A number that is not defined or out of range.
    #[error("{field} is {value}, which is undefined or out of range")]
    #[non_exhaustive]
    Code {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// Bytes that must be zero are not zero.
    #[error("reserved bytes of {0} are not zero")]
    Reserved(&'static str),
    /// A text that is not UTF-8, contains control characters, or has nonzero bytes after its end.
    #[error("{0} is not valid text: expected UTF-8 without control characters, padded with zeros")]
    Text(&'static str),
    /// A name that is empty or too long.
    #[error("a name must have 1 to 64 bytes, but this one has {0}")]
    Name(usize),
    /// The description of an image is invalid.
    #[error("invalid image: {reason}")]
    #[non_exhaustive]
    Image {
        /// Description of the problem.
        reason: &'static str,
    },
    /// Sizes that are not consistent.
    #[error("inconsistent sizes: {reason}")]
    #[non_exhaustive]
    Size {
        /// Description of the problem.
        reason: &'static str,
    },
}

//! Reasons why bytes are not a message.

/// Reasons why bytes are not a message, or a message cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Shorter than its kind is, or longer.
    #[error("{got} bytes, where {expected} were expected")]
    #[non_exhaustive]
    Length {
        /// Expected size of its kind, or of a header.
        expected: usize,
        /// Received value.
        got: usize,
    },
    /// An unknown kind.
    #[error("there is no message of kind {0}")]
    Kind(u16),
    /// Another number of descriptors than its kind has.
    #[error("it states {got} descriptors, and its kind has {expected}")]
    #[non_exhaustive]
    Descriptors {
        /// Expected value for its kind.
        expected: u16,
        /// Stated value.
        got: u16,
    },
    /// The first message is none of this protocol.
    #[error("it does not begin with the protocol's magic")]
    Magic,
    /// None of the sender's versions is spoken here. What else it says may mean something else in
    /// them.
    #[error("it speaks the versions {oldest} to {newest} of the protocol, and none of them is spoken here")]
    #[non_exhaustive]
    Version {
        /// Its oldest.
        oldest: u32,
        /// Its newest.
        newest: u32,
    },
    /// A number that stands for nothing.
    #[error("{field} is {value}, which is not defined or out of range")]
    #[non_exhaustive]
    Code {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// Bytes that must be zero are not.
    #[error("reserved bytes of {0} are not zero")]
    Reserved(&'static str),
    /// A text that is no UTF-8, has control characters, or bytes behind its end.
    #[error("{0} is no text: UTF-8 without control characters, padded with zeros")]
    Text(&'static str),
    /// A name that is empty or too long.
    #[error("a name has 1 to 64 bytes, and this one has {0}")]
    Name(usize),
    /// An image that cannot be.
    #[error("an image is impossible: {reason}")]
    #[non_exhaustive]
    Image {
        /// Why.
        reason: &'static str,
    },
    /// Sizes that do not fit together.
    #[error("sizes do not fit together: {reason}")]
    #[non_exhaustive]
    Size {
        /// Description of the problem.
        reason: &'static str,
    },
}

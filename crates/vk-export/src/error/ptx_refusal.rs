//! The reason why a kernel must not run in a Vulkan queue, for errors.

/// The reason why a kernel must not run in a Vulkan queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{instruction} in line {line}{}", if in_function.is_empty() { String::new() } else { format!(", in \"{in_function}\"") })]
#[non_exhaustive]
pub struct PtxRefusal {
    /// The instruction, call or directive as text.
    pub instruction: String,
    /// The line number in the text, starting at 1.
    pub line: u32,
    /// The function that contains it; empty if it is outside of all functions.
    pub in_function: String,
}

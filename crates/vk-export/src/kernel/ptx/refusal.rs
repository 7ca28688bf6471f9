//! What keeps a kernel out of a Vulkan queue, for errors.

/// Reasons why a kernel must not run in a Vulkan queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{instruction} in line {line}{}", if in_function.is_empty() { String::new() } else { format!(", in \"{in_function}\"") })]
#[non_exhaustive]
pub struct PtxRefusal {
    /// The instruction, call or directive, in words.
    pub instruction: String,
    /// Its line in the text, from 1.
    pub line: u32,
    /// The function that it is in; empty where it is in none.
    pub in_function: String,
}

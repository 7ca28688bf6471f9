//! Parsing of a [`Backend`]. Separate, because errors name backends.

use std::str::FromStr;

use crate::backend::Backend;
use crate::error::{Error, Result};

/// Parses `auto`, `cuda`, `host` or `inline`, in any case; `remote` cannot be requested.
impl FromStr for Backend {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "cuda" => Ok(Self::Cuda),
            "host" => Ok(Self::Host),
            "inline" => Ok(Self::Inline),
            _ => Err(Error::invalid(format!("backend \"{text}\""), "expected auto, cuda, host or inline")),
        }
    }
}

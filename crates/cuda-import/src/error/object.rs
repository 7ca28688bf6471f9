//! Names of objects.

use std::fmt;

/// The name of an object in errors, logs and traces: `memory "particles"`, or `memory` if it has no
/// name.
pub(crate) struct Object<'a>(pub(crate) &'static str, pub(crate) &'a str);

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, name) = self;
        if name.is_empty() { f.write_str(kind) } else { write!(f, "{kind} {name:?}") }
    }
}

/// Returns the object and device of a failed call, for the end of a message.
pub(super) fn place(object: &str, device: &str) -> String {
    match (object, device) {
        ("", "") => String::new(),
        ("", one) | (one, "") => format!(" [{one}]"),
        (object, device) => format!(" [{object}, {device}]"),
    }
}

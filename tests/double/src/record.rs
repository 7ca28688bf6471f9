//! Results that the double reports to the tests, each encoded as one line with fields separated by
//! tabs.

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The displayed kind, such as `double-close`.
    pub kind: String,
    /// The event and its object.
    pub text: String,
}

/// A driver call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The name in cuda.h, including its version.
    pub name: String,
    /// The handle, device address or descriptor that the call was about, or 0.
    pub object: u64,
    /// The returned code.
    pub code: u32,
}

/// A driver call that has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedCall {
    /// The name in cuda.h, including its version.
    pub name: String,
    /// The object, like in [`Call`].
    pub object: u64,
    /// The reason, such as `stream 0xd00000000040 waits for semaphore 0xd00000000060 to reach 1`.
    pub waits_for: String,
}

/// An object that was created and still exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The handle, device address or descriptor.
    pub handle: u64,
    /// The name, such as `memory 0xd00000000040`.
    pub name: String,
    /// Whether a fault hit the call that destroys it, or its context is lost.
    pub refused: bool,
}

impl Finding {
    pub(crate) fn from_line(line: &str) -> Self {
        let [kind, text] = fields(line);
        Self { kind: kind.to_owned(), text: text.to_owned() }
    }
}

impl Call {
    pub(crate) fn from_line(line: &str) -> Self {
        let [name, object, code] = fields(line);
        Self { name: name.to_owned(), object: number(object), code: number(code) as u32 }
    }
}

impl BlockedCall {
    pub(crate) fn from_line(line: &str) -> Self {
        let [name, object, waits_for] = fields(line);
        Self { name: name.to_owned(), object: number(object), waits_for: waits_for.to_owned() }
    }
}

impl Live {
    pub(crate) fn from_line(line: &str) -> Self {
        let [handle, name, state] = fields(line);
        Self { handle: number(handle), name: name.to_owned(), refused: state == "refused" }
    }

    /// Returns the first word of the name, such as `mapping`, `reservation`, `context` or
    /// `descriptor`.
    pub fn kind(&self) -> &str {
        self.name.split(' ').next().unwrap_or_default()
    }
}

fn fields<const N: usize>(line: &str) -> [&str; N] {
    let fields: Vec<_> = line.splitn(N, '\t').collect();
    fields.try_into().unwrap_or_else(|_| panic!("{N} fields are expected in {line:?}"))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("a number is expected, not {text:?}"))
}

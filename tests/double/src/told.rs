//! What the double tells the tests: a line each, with tabs between the fields.

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// As `double-close`.
    pub kind: String,
    /// What happened to what.
    pub text: String,
}

/// A call of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// As cuda.h has it, with its version.
    pub name: String,
    /// The handle, device address or descriptor that it was about, or 0.
    pub object: u64,
    /// Returned code.
    pub code: u32,
}

/// A call of the driver that has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedCall {
    /// As cuda.h has it, with its version.
    pub name: String,
    /// As in [`Call`].
    pub object: u64,
    /// As `stream 0xd00000000040 waits for semaphore 0xd00000000060 to reach 1`.
    pub waits_for: String,
}

/// Something that was made and is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The handle, device address or descriptor.
    pub handle: u64,
    /// As `memory 0xd00000000040`.
    pub name: String,
    /// A fault hit the call that was to destroy it, or its context is lost.
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

    /// The first word of its name, as `mapping`, `reservation`, `context` or `descriptor`.
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

//! The kinds of events, and the sides that cause them, by their names in a line.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Defines an enum whose variants have names: those that its JSON, `as_str` and `Display` contain.
macro_rules! named {
    ($(#[$attribute:meta])* pub enum $Name:ident { $($(#[$doc:meta])* $Variant:ident = $name:literal,)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $Name {
            $($(#[$doc])* #[serde(rename = $name)] $Variant,)*
        }

        impl $Name {
            /// All variants, in the order of their definition.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$Variant),*];

            /// Returns its name in a line of the trace.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name,)*
                }
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

named! {
    /// The kind of an event, in the field `event` of a line.
    ///
    /// Programs that read a trace can deserialize it. A name that this version of the crate does
    /// not have is an error.
    ///
    /// ```
    /// use bridge_trace::{EventKind, Side};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Line {
    ///     event: EventKind,
    ///     side: Side,
    ///     value: Option<u64>,
    /// }
    ///
    /// let text = r#"{"event":"signal","side":"cuda","object":"x","value":7}"#;
    /// let line: Line = serde_json::from_str(text)?;
    /// match line.event {
    ///     EventKind::Signal | EventKind::Wait => {
    ///         println!("{}: {} {:?}", line.side, line.event, line.value);
    ///     }
    ///     EventKind::Leak => println!("objects were leaked"),
    ///     _ => {}
    /// }
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub enum EventKind {
        /// A shared buffer or image, a timeline or a block of a pool is created.
        Create = "create",
        /// A shared buffer or image, a timeline or a block of a pool is destroyed.
        Destroy = "destroy",
        /// An exchange leaks objects that may still be in use.
        Leak = "leak",
        /// Memory or a timeline is exported from Vulkan.
        Export = "export",
        /// Memory or a timeline is imported into CUDA.
        Import = "import",
        /// A wait for a value of a timeline is enqueued.
        Wait = "wait",
        /// A signal of a value of a timeline is enqueued.
        Signal = "signal",
        /// Lines were dropped here, because too many were waiting for the sink.
        Dropped = "dropped",
        /// A worker has connected. In the renderer: an exchange is about to be offered to it.
        Connect = "connect",
        /// The worker has accepted an exchange.
        Offer = "offer",
        /// The worker begins a frame in a slot.
        Begin = "begin",
        /// The worker keeps a slot without a frame.
        Skip = "skip",
        /// A frame is handed over to the other process.
        Publish = "publish",
        /// A frame of the other process is taken. In the renderer: it has arrived.
        Take = "take",
        /// A slot is given to the other process.
        Free = "free",
        /// An exchange between two processes, or its connection, has ended.
        Close = "close",
        /// The process at the other end has ended.
        Lost = "lost",
        /// The renderer kills a worker that did not finish announced work in time.
        Kill = "kill",
    }
}

named! {
    /// The side that causes an event, in the field `side` of a line.
    ///
    /// It can be deserialized, as [`EventKind`] can.
    pub enum Side {
        /// Vulkan.
        Vulkan = "vulkan",
        /// CUDA in this process.
        Cuda = "cuda",
        /// The CPU.
        Host = "host",
        /// CUDA kernels in Vulkan's queue.
        Inline = "inline",
        /// A worker in another process.
        Remote = "remote",
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};

    use serde::de::DeserializeOwned;

    use super::*;

    /// Asserts that these are the names of all variants, in a line and as text.
    #[track_caller]
    fn assert_names<T>(all: &[T], as_str: impl Fn(T) -> &'static str, names: &[&str])
    where
        T: Copy + Debug + Display + PartialEq + Serialize + DeserializeOwned,
    {
        assert_eq!(all.iter().copied().map(as_str).collect::<Vec<_>>(), names);
        for (&variant, name) in all.iter().zip(names) {
            let json = format!("\"{name}\"");
            assert_eq!((variant.to_string().as_str(), serde_json::to_string(&variant).unwrap()), (*name, json.clone()));
            assert_eq!(serde_json::from_str::<T>(&json).unwrap(), variant);
        }
    }

    /// Programs that read traces rely on these names.
    #[test]
    fn names_are_those_that_traces_contain() {
        assert_names(
            EventKind::ALL,
            EventKind::as_str,
            &[
                "create", "destroy", "leak", "export", "import", "wait", "signal", "dropped", "connect", "offer",
                "begin", "skip", "publish", "take", "free", "close", "lost", "kill",
            ],
        );
        assert_names(Side::ALL, Side::as_str, &["vulkan", "cuda", "host", "inline", "remote"]);
        assert!(serde_json::from_str::<EventKind>("\"signals\"").is_err());
        assert_eq!(format!("{:>6}|", EventKind::Take), "  take|");
    }

    /// Returns the parts of a text that are in backticks.
    fn quoted(text: &str) -> Vec<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn document_lists_all_names() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/trace.md");
        let text = std::fs::read_to_string(path).unwrap();
        // Tables whose first column is the event.
        let tables = text.split("\n\n").filter(|table| table.starts_with("| event |"));
        let rows = tables.flat_map(|table| table.lines().skip(2));
        let events: Vec<_> = rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap())).collect();
        assert_eq!(events, EventKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
        let sides = text.lines().find(|line| line.starts_with("| `side` |")).unwrap();
        assert_eq!(quoted(sides)[1..], Side::ALL.iter().map(|side| side.as_str()).collect::<Vec<_>>());
    }
}

//! Reads from PTX what launches need: each kernel's arguments, its shared memory, and instructions
//! that must not run in a Vulkan queue.

mod body;
mod declaration;
mod lexer;
mod module;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::sync::Arc;

use self::body::Refused;
use self::module::{Function, Module};
use crate::error::{Error, PtxRefusal, Result};

pub use declaration::PtxParam;

/// The validated text of a PTX module, with the properties of its kernels. Clones are cheap.
///
/// Errors that a driver detects are left to the driver. Instructions that a driver accepts, but
/// that hang or lose the device, are detected here: see [`PtxEntry::refused`].
///
/// ```
/// use vk_export::Ptx;
///
/// let ptx = Ptx::new("
///     .version 8.0
///     .target sm_52
///     .address_size 64
///     .visible .entry scale(
///         .param .u32 len, .param .u64 values, .param .f32 by
///     ) { ret; }
/// ")?;
/// let scale = ptx.entry("scale").ok_or("no such kernel")?;
/// let offsets: Vec<usize> =
///     scale.params().iter().map(|param| param.offset).collect();
/// assert_eq!((offsets, scale.args_size()), (vec![0, 8, 16], 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Ptx(Arc<Inner>);

struct Inner {
    text: CString,
    version: String,
    target: String,
    entries: Vec<PtxEntry>,
}

/// A kernel in PTX, with the properties that a launch depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PtxEntry {
    name: String,
    params: Vec<PtxParam>,
    static_shared_bytes: u32,
    max_threads: Option<u32>,
    required_block: Option<[u32; 3]>,
    refused: Option<PtxRefusal>,
}

impl Ptx {
    /// Parses PTX text, as compilers write it, with or without a final NUL.
    ///
    /// # Errors
    /// [`Error::Ptx`] for other data (cubins and fatbins, on which a driver may hang), for 32-bit
    /// addresses, and for text that cannot be parsed.
    pub fn new(text: impl AsRef<[u8]>) -> Result<Self> {
        let text = text.as_ref();
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        let refused = |reason: &str| Error::Ptx { line: 0, reason: reason.to_owned() };
        if text.starts_with(b"\x7fELF") {
            return Err(refused("this is an ELF file, a cubin; compile to PTX (`nvcc -ptx`), whose textures work too"));
        }
        if text.starts_with(&[0x50, 0xed, 0x55, 0xba]) {
            return Err(refused("this is a fatbin; compile to PTX (`nvcc -ptx`)"));
        }
        let not_text = || refused("not text; expected PTX as written by `nvcc -ptx`");
        let owned = CString::new(text).map_err(|_| not_text())?;
        let text = std::str::from_utf8(text).map_err(|_| not_text())?;
        let tokens = lexer::tokens(text)?;
        let module = Module::read(&tokens)?;
        let entries = module.functions.iter().filter_map(|function| PtxEntry::of(function, &module)).collect();
        let (version, target) = (module.version.to_owned(), module.target);
        Ok(Self(Arc::new(Inner { text: owned, version, target, entries })))
    }

    /// Returns the text with a final NUL, as drivers expect it.
    pub fn as_c_str(&self) -> &CStr {
        &self.0.text
    }

    /// Returns the PTX version, such as "8.0".
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// Returns the architecture that the module was compiled for, such as "sm_52".
    pub fn target(&self) -> &str {
        &self.0.target
    }

    /// Returns the kernels, in the order of the text.
    pub fn entries(&self) -> &[PtxEntry] {
        &self.0.entries
    }

    /// Returns a kernel by its name in PTX: that of an `extern "C"` function, or a mangled name.
    pub fn entry(&self, name: &str) -> Option<&PtxEntry> {
        self.0.entries.iter().find(|entry| entry.name == name)
    }
}

impl std::fmt::Debug for Ptx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (version, target, entries) = (self.version(), self.target(), self.entries());
        f.debug_struct("Ptx").field("version", &version).field("target", &target).field("entries", &entries).finish()
    }
}

impl PtxEntry {
    /// Returns the name of the kernel.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the parameters, in order.
    pub fn params(&self) -> &[PtxParam] {
        &self.params
    }

    /// Returns the size in bytes of all packed arguments: the end of the last one.
    pub fn args_size(&self) -> usize {
        self.params.last().map_or(0, |last| last.offset + last.size)
    }

    /// Returns the bytes of shared memory per block, without those that the launch adds.
    pub fn static_shared_bytes(&self) -> u32 {
        self.static_shared_bytes
    }

    /// Returns the maximum number of threads per block that the kernel was compiled for
    /// (`__launch_bounds__`), or `None` if the PTX does not limit them.
    pub fn max_threads(&self) -> Option<u32> {
        self.max_threads
    }

    /// Returns the only block size that the kernel was compiled for (`.reqntid`), or `None` if the
    /// PTX does not require one.
    pub fn required_block(&self) -> Option<[u32; 3]> {
        self.required_block
    }

    /// Returns why the kernel must not be launched in a Vulkan queue, or `None` if it may be. The
    /// reason is `trap`, a breakpoint, an instruction or directive for clusters, or a call of a
    /// function that the module does not contain (`malloc`, `vprintf`, `__assertfail`, launches
    /// from the device), in the kernel or in a function that it may call. All of these work on a
    /// CUDA stream.
    ///
    /// The `.trap` modifier of surface instructions is not rejected, because it takes effect only
    /// for texels outside of the surface. Write kernels with `cudaBoundaryModeZero` to be safe.
    pub fn refused(&self) -> Option<&PtxRefusal> {
        self.refused.as_ref()
    }

    fn of(function: &Function<'_>, module: &Module<'_>) -> Option<Self> {
        let header = function.entry.as_ref()?;
        let reached = reached(function, module);
        let refusal = |refused: &Refused, in_function: &str| PtxRefusal {
            instruction: refused.instruction.clone(),
            line: refused.line,
            in_function: in_function.to_owned(),
        };
        let of_bodies = reached.iter().find_map(|one| {
            let own = one.body.refused.as_ref().map(|refused| refusal(refused, one.name));
            own.or_else(|| Some(refusal(&missing_function(&one.body.words, module)?, one.name)))
        });
        let of_module = || {
            // Tables of functions matter only if a call may take its callee from them.
            let tables = reached.iter().any(|one| module.calls_anything(&one.body));
            let missing = || missing_function(&module.outside_functions.words, module).filter(|_| tables);
            module.outside_functions.refused.clone().or_else(missing).map(|refused| refusal(&refused, ""))
        };
        let refused = header.refused.as_ref().map(|refused| refusal(refused, function.name));
        let words: HashSet<&str> =
            reached.iter().flat_map(|one| one.body.words.iter().map(|(word, _)| *word)).collect();
        let of_module_shared = module.shared.iter().filter(|one| words.contains(one.name));
        let shared = reached.iter().flat_map(|one| &one.body.shared).chain(of_module_shared);
        let bytes = shared.fold(0usize, |end, one| end.next_multiple_of(one.align).saturating_add(one.size));
        let bytes = bytes.next_multiple_of(module.dynamic_align);
        Some(Self {
            name: function.name.to_owned(),
            params: header.params.clone(),
            static_shared_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            max_threads: header.max_threads,
            required_block: header.required_block,
            refused: refused.or(of_bodies).or_else(of_module),
        })
    }
}

/// Returns the first of `words` that is a function which the module declares but does not define,
/// that is, a function of the driver.
fn missing_function(words: &[(&str, u32)], module: &Module<'_>) -> Option<Refused> {
    let (name, line) = words.iter().find(|(word, _)| module.is_undefined(word))?;
    Some(Refused { instruction: format!("a call of `{name}`, which the module does not contain,"), line: *line })
}

/// Returns a function and all functions that it may call: those that it names or, if one of them
/// calls an unknown callee, all other functions.
fn reached<'m, 'a>(from: &'m Function<'a>, module: &'m Module<'a>) -> Vec<&'m Function<'a>> {
    let mut seen = HashSet::new();
    let (mut all, mut next) = (Vec::new(), vec![from]);
    while let Some(function) = next.pop() {
        if module.calls_anything(&function.body) {
            let others = module.functions.iter().filter(|one| one.entry.is_none());
            return std::iter::once(from).chain(others).collect();
        }
        all.push(function);
        let named = function.body.words.iter().filter_map(|(word, _)| module.defined.get(word).copied());
        for index in named.filter(|index| seen.insert(*index)) {
            next.extend(module.functions.get(index).filter(|one| one.entry.is_none()));
        }
    }
    all
}

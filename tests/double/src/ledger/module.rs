//! Modules, their functions, and launch arguments. The arguments of a launch are checked when it
//! runs, as a kernel would access them. Only kernels with a [twin](crate::ledger::twin) do more.

use crate::abi::ILLEGAL_ADDRESS;
use crate::finding::{Kind, Refusal};
use crate::ledger::Ledger;
use crate::ptx::Kernel;

#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) context: u64,
    pub(crate) kernels: Vec<Kernel>,
}

/// A function, owned by its module.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) module: u64,
    pub(crate) kernel: Kernel,
    /// `true` if it is loaded, which its first launch does.
    pub(crate) loaded: bool,
}

/// A kernel with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) kernel: String,
    /// The bytes of each argument.
    pub(crate) args: Vec<Vec<u8>>,
    /// Number of threads in the first dimension.
    pub(crate) threads: u64,
    /// Number of threads in the second dimension.
    pub(crate) rows: u64,
}

impl Launch {
    /// Returns the 8-byte words of the arguments, each a pointer, a texture, a surface or a number.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        self.args.iter().flat_map(|arg| arg.as_chunks().0).map(|&word| u64::from_ne_bytes(word))
    }
}

impl Ledger {
    /// Returns the function, if its module exists in the context.
    pub(crate) fn function(&self, context: u64, handle: u64) -> Result<Function, Refusal> {
        let function = self.functions.get(handle)?;
        self.check_context(context, "module", self.modules.get(function.module)?.context)?;
        Ok(function.clone())
    }

    /// Checks that every argument that looks like an address or an object is one that a kernel can
    /// use.
    pub(crate) fn check_launch(&self, context: u64, launch: &Launch) -> Result<(), Refusal> {
        launch.words().try_for_each(|word| {
            self.check_word(&launch.kernel, word)?;
            self.check_access(context, word).map_err(|refusal| Refusal { code: ILLEGAL_ADDRESS, ..refusal })
        })
    }

    fn check_word(&self, kernel: &str, word: u64) -> Result<(), Refusal> {
        let is_object = || self.textures.find(word).or(self.surfaces.find(word)).is_some();
        let wrong = if self.is_address(word) && self.locate(word, 1).is_err() {
            "is not mapped"
        } else if self.is_handle(word) && !is_object() {
            "is no texture or surface"
        } else {
            return Ok(());
        };
        let text = format!("{kernel} is launched with {word:#x}, which {wrong}");
        Err(Refusal::new(ILLEGAL_ADDRESS, Kind::OutOfBounds, text))
    }
}

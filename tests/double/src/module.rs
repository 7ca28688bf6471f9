//! Modules, their functions, and what a launch is given. A launch is checked when its turn comes,
//! as a kernel would touch what it was given; only those that have a [twin](crate::twin) do more.

use crate::abi::ILLEGAL_ADDRESS;
use crate::finding::{Kind, Refusal};
use crate::ledger::Ledger;
use crate::ptx::Kernel;

#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) context: u64,
    pub(crate) kernels: Vec<Kernel>,
}

/// Owned by its module.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) module: u64,
    pub(crate) kernel: Kernel,
    /// It is loaded when it is launched first.
    pub(crate) loaded: bool,
}

/// A kernel with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) kernel: String,
    /// In bytes, one after the other.
    pub(crate) args: Vec<Vec<u8>>,
    /// Of the first dimension.
    pub(crate) threads: u64,
    /// Of the second dimension.
    pub(crate) rows: u64,
}

impl Launch {
    /// Words of eight bytes among the arguments, each a pointer, a texture, a surface or a number.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        self.args.iter().flat_map(|arg| arg.as_chunks().0).map(|&word| u64::from_ne_bytes(word))
    }
}

impl Ledger {
    /// The function, if its module is there and lives in the context.
    pub(crate) fn function(&self, context: u64, handle: u64) -> Result<Function, Refusal> {
        let function = self.functions.get(handle)?;
        self.of(context, "module", self.modules.get(function.module)?.context)?;
        Ok(function.clone())
    }

    /// Whether all that looks like an address or an object is one that a kernel could use.
    pub(crate) fn check_launch(&self, context: u64, launch: &Launch) -> Result<(), Refusal> {
        launch.words().try_for_each(|word| {
            self.check_word(&launch.kernel, word)?;
            self.check_access(context, word).map_err(|refusal| Refusal { code: ILLEGAL_ADDRESS, ..refusal })
        })
    }

    fn check_word(&self, kernel: &str, word: u64) -> Result<(), Refusal> {
        let is_object = || self.textures.find(word).or(self.surfaces.find(word)).is_some();
        let wrong = if self.is_address(word) && self.place(word, 1).is_err() {
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

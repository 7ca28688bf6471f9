//! Tables of objects by handle. A handle is never reused, which distinguishes destroyed handles
//! from unknown ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::abi::INVALID_HANDLE;
use crate::finding::{Kind, Refusal};

#[derive(Debug)]
pub(crate) struct Table<T> {
    kind: &'static str,
    live: BTreeMap<u64, Entry<T>>,
    dead: BTreeSet<u64>,
}

#[derive(Debug)]
struct Entry<T> {
    object: T,
    /// `true` if its destroying call was made to fail, so that keeping it is not a leak.
    refused: bool,
}

impl<T> Table<T> {
    pub(crate) const fn new(kind: &'static str) -> Self {
        Self { kind, live: BTreeMap::new(), dead: BTreeSet::new() }
    }

    pub(crate) fn insert(&mut self, handle: u64, object: T) {
        self.live.insert(handle, Entry { object, refused: false });
    }

    pub(crate) fn get(&self, handle: u64) -> Result<&T, Refusal> {
        self.live.get(&handle).map(|entry| &entry.object).ok_or_else(|| self.refusal(handle))
    }

    /// Like [`get`](Self::get), for callers that do not need the reason for a failure.
    pub(crate) fn find(&self, handle: u64) -> Option<&T> {
        self.live.get(&handle).map(|entry| &entry.object)
    }

    pub(crate) fn get_mut(&mut self, handle: u64) -> Result<&mut T, Refusal> {
        if !self.live.contains_key(&handle) {
            return Err(self.refusal(handle));
        }
        self.live.get_mut(&handle).map(|entry| &mut entry.object).ok_or(INVALID_HANDLE.into())
    }

    pub(crate) fn remove(&mut self, handle: u64) -> Result<T, Refusal> {
        let entry = self.live.remove(&handle).ok_or_else(|| self.refusal(handle))?;
        self.dead.insert(handle);
        Ok(entry.object)
    }

    pub(crate) fn refuse(&mut self, handle: u64) {
        if let Some(entry) = self.live.get_mut(&handle) {
            entry.refused = true;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.live.iter().map(|(&handle, entry)| (handle, &entry.object))
    }

    /// Returns handle and name of each object, and whether its destroying call was made to fail.
    pub(crate) fn names(&self) -> impl Iterator<Item = (u64, String, bool)> {
        self.live.keys().map(|&handle| (handle, self.name(handle), self.live[&handle].refused))
    }

    /// Returns a name such as `memory 0xd00000000040`.
    pub(crate) fn name(&self, handle: u64) -> String {
        format!("{} {handle:#x}", self.kind)
    }

    /// Removes all objects. Their handles count as destroyed.
    pub(crate) fn clear(&mut self) -> Vec<T> {
        let live = std::mem::take(&mut self.live);
        self.dead.extend(live.keys());
        live.into_values().map(|entry| entry.object).collect()
    }

    fn refusal(&self, handle: u64) -> Refusal {
        let (kind, what) = if self.dead.contains(&handle) {
            (Kind::UseAfterDestroy, "was destroyed")
        } else {
            (Kind::UnknownHandle, "never was")
        };
        Refusal::new(INVALID_HANDLE, kind, format!("{} {what}", self.name(handle)))
    }
}

//! Mappings of the compute side, tied to the Vulkan objects whose memory they map.
#![allow(unsafe_code)] // The mapping is moved out when it is dropped.

use std::fmt::Debug;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use crate::error::Result;
use crate::observe::object::Object;

/// A mapping of Vulkan memory on a compute side.
pub(crate) trait Mapping {
    /// Frees the mapping after the compute side's work with it has ended.
    fn close(self) -> Result<()>;
}

/// An object that other objects, or their mappings, are part of. A leaked part keeps it alive.
pub(crate) trait Container: Debug + Send + Sync {
    /// Counts the object as leaked because one of its parts was leaked. Counts it at most once.
    fn note_leaked(&self);
}

/// The object that a mapping is part of.
pub(crate) type ContainerRef = Arc<dyn Container>;

/// A mapping and the Vulkan object that it maps.
///
/// The mapping is freed first (CUDA programming guide 6.2.16: "Freeing a memory object does not
/// free any mappings to that object"). If that fails, the object is leaked: memory that CUDA may
/// still use must not be reused.
#[derive(Debug)]
#[allow(private_bounds)] // Named by `Resources`, created and used only inside the crate.
pub struct Mapped<M: Mapping, V: AsRef<Object>> {
    mapping: ManuallyDrop<M>,
    vulkan: Arc<V>,
    /// Object that the mapping is part of. It is stored here and not in the Vulkan object, which a
    /// lease may keep alive for longer.
    container: Option<ContainerRef>,
}

#[allow(private_bounds)]
impl<M: Mapping, V: AsRef<Object>> Mapped<M, V> {
    pub(crate) fn new(mapping: M, vulkan: &Arc<V>, container: Option<ContainerRef>) -> Self {
        Self { mapping: ManuallyDrop::new(mapping), vulkan: Arc::clone(vulkan), container }
    }

    /// Returns the Vulkan object that it maps.
    pub(crate) fn vulkan(&self) -> &V {
        &self.vulkan
    }
}

impl<M: Mapping, V: AsRef<Object>> Deref for Mapped<M, V> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.mapping
    }
}

impl<M: Mapping, V: AsRef<Object>> Drop for Mapped<M, V> {
    fn drop(&mut self) {
        // SAFETY: the mapping is moved out only here, once.
        let mapping = unsafe { ManuallyDrop::take(&mut self.mapping) };
        if let Err(error) = mapping.close() {
            let container = self.container.take();
            container.iter().for_each(|container| container.note_leaked());
            std::mem::forget((Arc::clone(&self.vulkan), container));
            let vulkan: &V = &self.vulkan;
            vulkan.as_ref().report_leak(&error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::Error;
    use crate::observe::live::Kind;
    use crate::observe::trace;

    type Order = Arc<Mutex<Vec<&'static str>>>;

    struct Fake {
        order: Order,
        close_succeeds: bool,
    }

    impl Mapping for Fake {
        fn close(self) -> Result<()> {
            self.order.lock().unwrap().push("mapping");
            if self.close_succeeds { Ok(()) } else { Err(Error::HostFailed { reason: "in use".into() }) }
        }
    }

    struct Vulkan {
        object: Object,
        order: Order,
    }

    impl AsRef<Object> for Vulkan {
        fn as_ref(&self) -> &Object {
            &self.object
        }
    }

    impl Drop for Vulkan {
        fn drop(&mut self) {
            self.order.lock().unwrap().push("vulkan");
        }
    }

    /// Object that the mapping is part of.
    #[derive(Debug)]
    struct Block(Order);

    impl Container for Block {
        fn note_leaked(&self) {
            self.0.lock().unwrap().push("counted");
        }
    }

    impl Drop for Block {
        fn drop(&mut self) {
            self.0.lock().unwrap().push("whole");
        }
    }

    fn fake_mapping(close_succeeds: bool) -> (Order, Arc<Vulkan>, Mapped<Fake, Vulkan>) {
        let order = Order::default();
        let object = Object::new(Kind::Block, "fake", trace::Side::Host, None);
        let vulkan = Arc::new(Vulkan { object, order: Arc::clone(&order) });
        let container: ContainerRef = Arc::new(Block(Arc::clone(&order)));
        let mapped = Mapped::new(Fake { order: Arc::clone(&order), close_succeeds }, &vulkan, Some(container));
        (order, vulkan, mapped)
    }

    #[test]
    fn mapping_is_freed_first_or_leaks_the_object() {
        for (close_succeeds, expected) in
            [(true, ["mapping", "vulkan", "whole"].as_slice()), (false, &["mapping", "counted"])]
        {
            let (order, vulkan, mapped) = fake_mapping(close_succeeds);
            drop(vulkan);
            assert!(order.lock().unwrap().is_empty());
            drop(mapped);
            assert_eq!(order.lock().unwrap().as_slice(), expected);
        }
    }

    /// A second owner of the object, such as a lease, neither delays the close of the mapping nor
    /// changes whether the object is freed.
    #[test]
    fn other_owner_frees_the_object_only_if_it_was_unmapped() {
        let (container, kept): (&[_], &[_]) = (&["mapping", "whole"], &["mapping", "counted"]);
        for (close_succeeds, unmapped) in [(true, container), (false, kept)] {
            let (order, lease, mapped) = fake_mapping(close_succeeds);
            drop(mapped);
            assert_eq!(order.lock().unwrap().as_slice(), unmapped);
            drop(lease);
            let gone = order.lock().unwrap()[unmapped.len()..].to_vec();
            assert_eq!(gone, if close_succeeds { vec!["vulkan"] } else { vec![] });
        }
    }
}

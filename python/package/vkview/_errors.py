"""The exceptions of the package. All derive from :class:`VkViewError`."""


class VkViewError(Exception):
    """Base class of all exceptions that vkview raises on its own."""


class TensorError(VkViewError, ValueError):
    """An argument is not a tensor, or not one that can be shown."""


class DTypeError(TensorError, TypeError):
    """The element type is not one that the call takes."""


class ShapeError(TensorError):
    """The shape is not one that the call takes, or has no elements, or is too large."""


class LayoutError(TensorError):
    """The memory layout is not supported, or the memory is read-only but has to be written."""


class DeviceMismatchError(TensorError):
    """The tensor is in the memory of another device than the view."""


class UnavailableError(VkViewError, RuntimeError):
    """The machine lacks something that was requested, such as a driver, a device or a display."""


class ClosedError(VkViewError, RuntimeError):
    """The view, the canvas or the frame has been closed."""


class UsageError(VkViewError, RuntimeError):
    """A call out of order, from the wrong thread, or in a forked child."""


class DriverError(VkViewError, RuntimeError):
    """A call of Vulkan or CUDA failed. The message has the call, its code and the object."""


for _class in [*globals().values()]:
    if isinstance(_class, type):
        # As they are imported: tracebacks show it.
        _class.__module__ = "vkview"

"""Fake arrays, tensors and libraries whose properties a test chooses."""

import contextlib
import ctypes
import enum
import types


class Interface:
    """An object with one array interface, which has the given entries."""

    def __init__(self, name="__array_interface__", **entries):
        self.memory = (ctypes.c_ubyte * 4096)()
        defaults = {
            "shape": (4, 4),
            "typestr": "|u1",
            "data": (ctypes.addressof(self.memory), False),
            "version": 3,
        }
        interface = defaults | entries
        interface = {key: value for key, value in interface.items() if value is not ...}
        setattr(self, name, interface)


class DeviceType(enum.IntEnum):
    CPU = 1
    CUDA = 2
    ROCM = 10


class DLDevice(ctypes.Structure):
    _fields_ = [("device_type", ctypes.c_int), ("device_id", ctypes.c_int)]


class DLDataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", DLDevice),
        ("ndim", ctypes.c_int32),
        ("dtype", DLDataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Legacy(ctypes.Structure):
    pass


class Versioned(ctypes.Structure):
    pass


LEGACY_DELETER = ctypes.CFUNCTYPE(None, ctypes.POINTER(Legacy))
VERSIONED_DELETER = ctypes.CFUNCTYPE(None, ctypes.POINTER(Versioned))
Legacy._fields_ = [("tensor", DLTensor), ("context", ctypes.c_void_p), ("deleter", LEGACY_DELETER)]
Versioned._fields_ = [
    ("major", ctypes.c_uint32),
    ("minor", ctypes.c_uint32),
    ("context", ctypes.c_void_p),
    ("deleter", VERSIONED_DELETER),
    ("flags", ctypes.c_uint64),
    ("tensor", DLTensor),
]

new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Torch:
    """A fake of the module torch, with the attributes of tensors and streams that vkview uses. A test creates its tensors."""

    def __init__(self, current=0):
        fake = self
        self.current = current
        # The address of the CUstream of torch's current stream, by device.
        self.streams = {}
        self.cuda = types.SimpleNamespace(current_stream=self.current_stream, device=self.device)

        class Tensor(Dlpack):
            def __dlpack__(self, **arguments):
                # The message that torch raises.
                if self.device[1] != fake.current:
                    raise BufferError("Can't export tensors on a different CUDA device index. "
                                      f"Expected: {self.device[1]}. Current device: {fake.current}.")
                return super().__dlpack__(**arguments)

        self.Tensor = Tensor

    def current_stream(self, device):
        return types.SimpleNamespace(cuda_stream=self.streams.get(device, 0))

    @contextlib.contextmanager
    def device(self, device):
        before, self.current = self.current, device
        try:
            yield
        finally:
            self.current = before


class Dlpack:
    """A DLPack producer that records the arguments of ``__dlpack__`` and counts the calls of its capsules' deleters."""

    def __init__(self, shape=(4, 4), *, dtype=(1, 8, 1), device=(DeviceType.CUDA, 0), announced=None,
                 strides=None, versioned=True, version=(1, 0), flags=0, old_signature=False, address=None):
        self.memory = (ctypes.c_ubyte * 4096)()
        self.calls = []
        self.deleted = 0
        self.device = device
        self.announced = announced or device
        self.old_signature = old_signature
        self.shape = (ctypes.c_int64 * max(len(shape), 1))(*shape)
        if strides is not None:
            self.strides = (ctypes.c_int64 * max(len(strides), 1))(*strides)
        tensor = DLTensor(
            ctypes.addressof(self.memory) if address is None else address,
            DLDevice(int(device[0]), device[1]),
            len(shape),
            DLDataType(*dtype),
            self.shape,
            self.strides if strides is not None else None,
            0,
        )
        def delete(_):
            self.deleted += 1
        if versioned:
            self.deleter = VERSIONED_DELETER(delete)
            self.managed = Versioned(*version, None, self.deleter, flags, tensor)
        else:
            self.deleter = LEGACY_DELETER(delete)
            self.managed = Legacy(tensor, None, self.deleter)
        self.name = b"dltensor_versioned" if versioned else b"dltensor"

    def __dlpack_device__(self):
        return self.announced

    def __dlpack__(self, **arguments):
        if self.old_signature and "max_version" in arguments:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.calls.append(arguments)
        return new_capsule(ctypes.addressof(self.managed), self.name, None)

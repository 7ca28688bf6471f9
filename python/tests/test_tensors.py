"""How arrays of other libraries are interpreted, and which are refused."""

import array
import sys
import types

import fakes
import numpy as np
import pytest
import vkview
from vkview import DeviceMismatchError, DTypeError, LayoutError, ShapeError, TensorError, UsageError, describe


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "uint64",
                                   "float16", "float32", "float64"])
def test_numpy_arrays_are_understood(dtype):
    pixels = np.ones((3, 5, 4), dtype)
    seen = describe(pixels)
    assert seen == {
        "address": pixels.ctypes.data, "nbytes": pixels.nbytes, "dtype": dtype, "shape": [3, 5, 4],
        "pitch": None, "planar": False, "readonly": False, "device": "cpu", "stream": None, "ordered_by": "host",
    }


def test_a_part_with_all_of_each_row_is_contiguous_and_read_only_is_seen():
    pixels = np.zeros((6, 5, 4), np.float32)
    assert describe(pixels[2:4])["address"] == pixels[2:4].ctypes.data
    assert describe(pixels[:1, ::2][:, :1])["shape"] == [1, 1, 4]
    pixels.flags.writeable = False
    assert describe(pixels)["readonly"] is True


@pytest.mark.parametrize("make, pitch, planar", [
    (lambda x: x[1:3], None, False),
    (lambda x: x[:, 1:4], 24, False),
    (lambda x: x[::2], 48, False),
    (lambda x: x[:, ::2], 8, False),
    (lambda x: x[:, :, 1:], 4, False),
    (lambda x: x[:, :, 2], 4, False),
    (lambda x: x[:, :1, 2], 24, False),
    (lambda x: x.transpose(1, 2, 0), None, True),
    (lambda x: x[:, 2:5].transpose(1, 2, 0), 24, True),
    (np.asfortranarray, None, False),
])
def test_rows_that_are_equally_far_apart_are_understood(make, pitch, planar):
    x = make(np.zeros((4, 6, 4), np.uint8))
    if make is np.asfortranarray:
        x = x.T  # In C order again.
    seen = describe(x)
    assert (seen["pitch"], seen["planar"]) == (pitch, planar)
    assert (seen["shape"], seen["nbytes"], seen["address"]) == (list(x.shape), x.nbytes, x.ctypes.data)


@pytest.mark.parametrize("make", [
    lambda x: x.T, lambda x: x[::-1], lambda x: x[:, ::-1], lambda x: x[..., ::-1], lambda x: x[:, 1:, 1:],
    lambda x: x[::2, ::2], np.asfortranarray, lambda x: np.broadcast_to(x[:1], x.shape),
    lambda x: np.broadcast_to(x[..., :1], x.shape), lambda x: np.swapaxes(x, 0, 1), lambda x: x[:, :, 0].T,
    lambda x: np.lib.stride_tricks.sliding_window_view(x.ravel(), 4),
])
def test_other_strides_are_refused_with_advice(make):
    x = make(np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(LayoutError, match=r"numpy\.ascontiguousarray\(x\)$"):
        describe(x)
    assert describe(np.ascontiguousarray(x))["shape"] == list(x.shape)


def test_the_advice_is_a_call_of_the_tensors_library():
    class Tensor(fakes.Dlpack):
        pass
    for module, advice in [("torch", r"with \.contiguous\(\)$"), ("cupy", r"with cupy\.asc"), ("other", r"torch.*numpy.*cupy")]:
        Tensor.__module__ = module
        with pytest.raises(LayoutError, match=advice):
            describe(Tensor((4, 4), strides=(1, 4)))


def test_a_negative_stride_is_named():
    with pytest.raises(LayoutError, match="negative stride"):
        describe(np.zeros((4, 4), np.uint8)[::-1])


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0, 3)])
def test_no_elements_are_refused(shape):
    with pytest.raises(ShapeError, match="no elements"):
        describe(np.zeros(shape, np.float32))


@pytest.mark.parametrize("x", [np.zeros(3, "U4"), np.zeros(3, "M8[s]"), np.zeros(3, object)])
def test_types_without_a_picture_are_refused(x):
    with pytest.raises(DTypeError, match="`.*` cannot be shown$"):
        describe(x)


@pytest.mark.parametrize("x", [None, 3, "picture", [[1, 2], [3, 4]], array.array("f", [1.0]), object()])
def test_what_is_no_tensor_is_named(x):
    with pytest.raises(TensorError, match=f"{type(x).__name__} is not a tensor"):
        describe(x)


@pytest.mark.parametrize("entries, error", [
    ({"shape": ...}, TensorError),
    ({"typestr": ...}, TensorError),
    ({"data": ...}, TensorError),
    ({"data": 7}, TensorError),
    ({"data": (-4, False)}, TensorError),
    ({"data": (0, False)}, TensorError),
    ({"data": ("here", False)}, TensorError),
    ({"typestr": 7}, TensorError),
    ({"typestr": ""}, DTypeError),
    ({"typestr": "<f999"}, DTypeError),
    ({"shape": [4, 4]}, TensorError),
    ({"shape": (4, "4")}, TensorError),
    ({"shape": (4, -4)}, ShapeError),
    ({"shape": (2**40, 2**40)}, ShapeError),
    ({"shape": (2**80,)}, TensorError),
    ({"shape": (1,) * 40}, ShapeError),
    ({"strides": (4,)}, LayoutError),
    ({"strides": (2**62, 2**62)}, LayoutError),
    ({"strides": (2**62, 1)}, LayoutError),
    ({"strides": (2**63 - 1, 1)}, LayoutError),
    ({"strides": (2**61, 1), "data": (2**64 - 2**62, False)}, TensorError),
    ({"strides": "ab"}, TensorError),
    ({"mask": "x"}, TensorError),
    ({"offset": "x"}, TensorError),
    ({"offset": -1}, TensorError),
])
def test_an_interface_that_cannot_be_is_refused(entries, error):
    for name in ["__array_interface__", "__cuda_array_interface__"]:
        with pytest.raises(error):
            describe(fakes.Interface(name, **entries))


def test_a_misaligned_address_is_refused():
    fake = fakes.Interface()
    address, _ = fake.__array_interface__["data"]
    with pytest.raises(LayoutError, match="multiple of 4"):
        describe(fakes.Interface(typestr="<f4", data=(address + 1, False)))


def test_cuda_interfaces_name_their_stream():
    name = "__cuda_array_interface__"
    assert describe(fakes.Interface(name, stream=0x5550))["stream"] == 0x5550
    # None, a missing entry and version 2 mean the legacy default stream.
    for entries in [{"stream": None}, {}, {"version": 2, "stream": 77}]:
        assert describe(fakes.Interface(name, **entries))["stream"] == 1
    assert describe(fakes.Interface(name, stream=0x5550), stream=0x6660)["stream"] == 0x6660
    with pytest.raises(TensorError, match="above 0"):
        describe(fakes.Interface(name, stream=0))


@pytest.mark.parametrize("versioned", [True, False])
def test_capsules_are_taken_and_given_back(versioned):
    fake = fakes.Dlpack((2, 3, 4), dtype=(2, 32, 1), versioned=versioned)
    seen = describe(fake, consumer=0x7770)
    assert (seen["dtype"], seen["shape"], seen["device"]) == ("float32", [2, 3, 4], "cuda:0")
    # If a library does not name its stream, it is asked to order the consumer's stream after its
    # own.
    assert (seen["ordered_by"], seen["stream"]) == ("producer", 0x7770)
    assert fake.calls == [{"stream": 0x7770, "max_version": (1, 3)}]
    assert fake.deleted == 1


def test_a_named_stream_is_not_synchronized_by_the_producer():
    fake = fakes.Dlpack()
    seen = describe(fake, consumer=0x7770, stream=0x6660)
    assert (seen["ordered_by"], seen["stream"]) == ("stream", 0x6660)
    assert fake.calls[0]["stream"] == -1


def test_the_stream_of_version_3_is_preferred_to_asking_the_producer():
    fake = fakes.Dlpack()
    fake.__cuda_array_interface__ = {"version": 3, "stream": 0x4440}
    assert describe(fake, consumer=0x7770)["stream"] == 0x4440
    assert fake.calls[0]["stream"] == -1


def test_the_current_stream_of_torch_is_found(monkeypatch):
    torch = fakes.Torch(current=1)
    torch.streams = {0: 0x2220, 1: 0x3330}
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert describe(torch.Tensor(device=(2, 1)), consumer=0x7770)["stream"] == 0x3330
    # torch reports its default stream as 0.
    torch.streams[1] = 0
    assert describe(torch.Tensor(device=(2, 1)))["stream"] == 1


def test_torchs_current_device_need_not_be_that_of_the_tensor(monkeypatch):
    torch = fakes.Torch(current=0)
    torch.streams = {0: 0x2220, 1: 0x3330}
    monkeypatch.setitem(sys.modules, "torch", torch)
    fake = torch.Tensor(device=(fakes.DeviceType.CUDA, 1))
    for stream, expected in [(None, 0x3330), (0x6660, 0x6660)]:
        seen = describe(fake, consumer=0x7770, device=1, stream=stream)
        assert (seen["device"], seen["stream"]) == ("cuda:1", expected)
        assert fake.calls.pop()["stream"] == -1 and torch.current == 0
    # The same for a tensor on the CPU, whose device index does not name a CUDA device.
    assert describe(torch.Tensor(device=(fakes.DeviceType.CPU, 0)))["device"] == "cpu"

    class Refuses(torch.Tensor):
        def __dlpack__(self, **arguments):
            raise BufferError("of the producer")
    with pytest.raises(TensorError, match="of the producer"):
        describe(Refuses(device=(fakes.DeviceType.CUDA, 1)))
    assert torch.current == 0


def test_arrays_of_jax_are_read_only(monkeypatch):
    class Array(fakes.Dlpack):
        pass
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(Array=Array))
    assert describe(Array())["readonly"] is True
    assert describe(fakes.Dlpack())["readonly"] is False


@pytest.mark.parametrize("stream, handle", [
    (0, 1), (1, 1), (0x1230, 0x1230),
    (types.SimpleNamespace(cuda_stream=0x1230), 0x1230),
    (types.SimpleNamespace(ptr=0x1230), 0x1230),
    (types.SimpleNamespace(__cuda_stream__=lambda: (0, 0x1230)), 0x1230),
    (types.SimpleNamespace(__cuda_stream__=(0, 0)), 1),
    (type("Numba", (), {"__int__": lambda self: 0x1230})(), 0x1230),
])
def test_streams_of_all_libraries_are_taken(stream, handle):
    assert describe(fakes.Dlpack(), stream=stream)["stream"] == handle


@pytest.mark.parametrize("stream", [2, types.SimpleNamespace(cuda_stream=2), types.SimpleNamespace(__cuda_stream__=(0, 2))])
def test_the_per_thread_default_stream_is_refused(stream):
    with pytest.raises(UsageError, match="per-thread"):
        describe(fakes.Dlpack(), stream=stream)


def test_the_per_thread_default_stream_of_an_array_is_refused():
    name = "__cuda_array_interface__"
    capsule = fakes.Dlpack()
    capsule.__cuda_array_interface__ = {"version": 3, "stream": 2}
    for fake in (fakes.Interface(name, stream=2), capsule):
        with pytest.raises(UsageError, match="per-thread"):
            describe(fake, consumer=0x7770)
        assert describe(fake, stream=0x6660)["stream"] == 0x6660


def test_a_capsule_without_a_device_is_ordered_by_the_legacy_default_stream():
    """The capsule is requested before the device is known, so without a stream, which means the legacy default stream in the array API."""
    class Unannounced(fakes.Dlpack):
        @property
        def __dlpack_device__(self):
            raise AttributeError
    fake = Unannounced()
    seen = describe(fake, consumer=0x7770)
    assert "stream" not in fake.calls[0]
    assert (seen["ordered_by"], seen["stream"]) == ("stream", 1)
    assert describe(Unannounced(), consumer=0x7770, stream=0x6660)["stream"] == 0x6660
    assert describe(Unannounced(device=(fakes.DeviceType.CPU, 0)))["ordered_by"] == "host"


@pytest.mark.parametrize("stream", ["current", -1, 1.5, object()])
def test_other_streams_are_refused(stream):
    with pytest.raises(TensorError, match="CUstream"):
        describe(fakes.Dlpack(), stream=stream)


def test_a_tensor_of_another_gpu_is_refused_before_its_capsule_is_asked_for():
    """The error is vkview's and not torch's, which refuses to export a tensor of a device that is not the current one."""
    fake = fakes.Dlpack(device=(fakes.DeviceType.CUDA, 1))
    with pytest.raises(DeviceMismatchError, match=r'device 1, the view on CUDA device 0.*\.to\("cuda:0"\).* device="cuda:1"'):
        describe(fake, consumer=9, device=0)
    assert fake.calls == []
    describe(fake, consumer=9, device=1)


def test_producers_of_before_version_1_are_asked_again():
    fake = fakes.Dlpack(versioned=False, old_signature=True)
    describe(fake, consumer=9)
    assert fake.calls == [{"stream": 9}]


def test_read_only_is_a_flag_of_version_1():
    assert describe(fakes.Dlpack(flags=1))["readonly"] is True


@pytest.mark.parametrize("arguments, error", [
    ({"device": (fakes.DeviceType.ROCM, 0)}, DeviceMismatchError),
    ({"device": (fakes.DeviceType.CUDA, -1)}, TensorError),
    ({"device": (fakes.DeviceType.CUDA, 1), "announced": (fakes.DeviceType.CUDA, 0)}, TensorError),
    ({"device": (fakes.DeviceType.CPU, 0), "announced": (fakes.DeviceType.CUDA, 0)}, TensorError),
    ({"announced": "cuda"}, TensorError),
    ({"announced": ("cuda", 0)}, TensorError),
    ({"dtype": (5, 64, 1)}, DTypeError),
    ({"dtype": (2, 32, 4)}, DTypeError),
    ({"shape": (4, -1)}, TensorError),
    ({"shape": (0, 4)}, ShapeError),
    ({"shape": (2**40, 2**40)}, TensorError),
    ({"strides": (3, 1)}, LayoutError),
    ({"strides": (-4, 1)}, LayoutError),
    ({"strides": (2**62, 1)}, LayoutError),
    ({"address": 0}, TensorError),
    ({"version": (2, 0)}, TensorError),
])
def test_capsules_that_cannot_be_are_refused_and_given_back(arguments, error):
    fake = fakes.Dlpack(**arguments)
    with pytest.raises(error):
        describe(fake)
    assert fake.deleted == len(fake.calls)


def test_what_is_no_capsule_is_refused():
    class Lies(fakes.Dlpack):
        def __dlpack__(self, **arguments):
            return 17
    with pytest.raises(TensorError):
        describe(Lies())


def test_a_used_capsule_is_refused():
    class Twice(fakes.Dlpack):
        capsule = None
        def __dlpack__(self, **arguments):
            self.capsule = self.capsule or super().__dlpack__(**arguments)
            return self.capsule
    fake = Twice()
    describe(fake)
    with pytest.raises(TensorError):
        describe(fake)
    assert fake.deleted == 1


def test_an_exception_of_the_producer_is_the_cause():
    class Autograd(fakes.Dlpack):
        def __dlpack__(self, **arguments):
            raise BufferError("Can't export tensors that require gradient")
    with pytest.raises(TensorError, match="detach") as raised:
        describe(Autograd())
    assert isinstance(raised.value.__cause__, BufferError)


def test_all_exceptions_have_one_base():
    for name in vkview.__all__:
        thing = getattr(vkview, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, vkview.VkViewError)
            assert thing.__doc__

"""Errors for arrays that are refused.

They name the type and a call that converts it, and have the library's exception as cause.
"""

import re
import sys
import types

import fakes
import numpy as np
import pytest
from pictures import HEIGHT, WIDTH, noise, shown
from vkview import DTypeError, TensorError, describe

#: The calls on ``x``, an array of numpy, in the advice of an error.
CALLS = r'(?:\(x / x\.max\(\)\)|x)\.astype\("<?\w+"\)(?: / 255)?|abs\(x\)|x\["name"\]'


def advised(error, x):
    """Returns the arrays that the calls in the error's advice make of ``x``."""
    return [eval(call, {"x": x}) for call in re.findall(CALLS, str(error.value))]


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("channels", [[], [3]])
def test_the_advice_for_integers_shows_the_same_picture(view, dtype, channels):
    values = noise(*channels)
    values.flat[0] = 255
    expected = shown(view, values)
    with pytest.raises(DTypeError, match=f"an image of {dtype} cannot be shown.* from 0 to 255") as raised:
        view.image(values.astype(dtype))
    as_bytes, as_floats = advised(raised, values.astype(dtype))
    assert (shown(view, as_bytes) == expected).all()
    assert np.abs(shown(view, as_floats).astype(int) - expected).max() <= 1
    # The second call is for other values.
    larger = values.astype(dtype) * 100
    assert np.abs(shown(view, advised(raised, larger)[1]).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("dtype", ["float64", "bool"])
def test_the_advice_for_other_types_shows_the_same_picture(view, dtype):
    values = (noise() / 255).astype(dtype) if dtype == "float64" else noise() > 127
    with pytest.raises(DTypeError, match=r"use t\.float\(\)") as raised:
        view.image(values)
    [converted] = advised(raised, values)
    assert np.abs(shown(view, converted) / 255 - values[..., None])[..., :3].max() <= 0.5 / 255 + 1e-6


def test_a_canvas_is_refused_without_advice_for_tensors(view):
    with pytest.raises(DTypeError, match="must be uint8, float16 or float32$"):
        view.canvas((HEIGHT, WIDTH), "int64")


@pytest.mark.parametrize("dtype, attribute", [
    ("uint8", "colors"), ("int64", "colors"), ("float64", "colors"), ("bool", "colors"),
    ("uint8", "values"), ("int64", "values"), ("float64", "values"), ("bool", "values"),
])
def test_the_advice_for_colors_and_values_shows_the_same_points(view, dtype, attribute):
    xyz = np.random.default_rng(1).uniform(-1, 1, (50, 3)).astype(np.float32)
    own = np.random.default_rng(2).integers(0, 256, (50, 3) if attribute == "colors" else 50)
    own.flat[0] = 255
    largest = 1 if dtype in ("float64", "bool") else 255
    own = (own / 255 > 0.5) if dtype == "bool" else (own * largest / 255).astype(dtype)

    def picture(own):
        view.points(xyz, size=3, **{attribute: own})
        view.draw()
        return view.pixels().astype(int)
    expected = picture(own.astype("float32") / np.float32(largest))
    with pytest.raises(DTypeError, match=f"{attribute} of {dtype} cannot be shown: they must be float32; ") as raised:
        picture(own)
    calls = advised(raised, own)
    assert calls
    for converted in calls:
        assert np.abs(picture(converted) - expected).max() <= 1


def test_points_of_integers_are_told_the_range_of_colors(view):
    for channels, advice in [(3, r'"float32"\)$'), (4, "from 0 to 1$"), (6, "from 0 to 1$")]:
        with pytest.raises(DTypeError, match=advice):
            view.points(np.zeros((5, channels), np.int32))


@pytest.mark.parametrize("dtype, name", [
    ("complex64", r"`<c8` \(complex64\)"),
    ("complex128", r"`<c16` \(complex128\)"),
    (">f4", r"`>f4` \(big-endian\)"),
    (">u2", r"`>u2` \(big-endian\)"),
    ("longdouble", r"`<f16` \(float128\)"),
    ([("name", "f4")], r"`\|V4`"),
], ids=str)
def test_types_of_numpy_are_named_with_a_call_that_converts_them(dtype, name):
    x = np.zeros(3, dtype)
    with pytest.raises(DTypeError, match=f"^elements of type {name} cannot be shown; use ") as raised:
        describe(x)
    call = re.search(CALLS, str(raised.value))[0]
    assert describe(eval(call, {"x": x}))["shape"] == [3]


@pytest.mark.parametrize("dtype, name, advice", [
    ((5, 64, 1), "complex64", r"; use abs\(x\), x\.real or x\.imag$"),
    ((5, 128, 1), "complex128", r"; use abs\(x\), x\.real or x\.imag$"),
    ((7, 8, 1), "float8_e3m4", r"; use t\.float\(\)"),
    ((10, 8, 1), "float8_e4m3fn", r"; use t\.float\(\) or x\.astype\(\"float32\"\)$"),
    ((12, 8, 1), "float8_e5m2", r"; use t\.float\(\)"),
    ((17, 4, 2), "float4_e2m1fnx2", r"; use t\.float\(\)"),
    ((2, 128, 1), "float128", r"; use t\.float\(\)"),
    ((2, 32, 4), "float32x4", "$"),
    ((0, 4, 1), "int4", "$"),
    ((3, 64, 1), "code 3, 64 bits of DLPack", "$"),
    ((99, 8, 1), "code 99, 8 bits of DLPack", "$"),
])
def test_types_of_capsules_are_named(dtype, name, advice):
    fake = fakes.Dlpack(dtype=dtype)
    with pytest.raises(DTypeError, match=f"^elements of type {name} cannot be shown{advice}"):
        describe(fake)
    assert fake.deleted == 1


@pytest.mark.parametrize("data", [b"bytes" * 4, bytearray(16), memoryview(bytes(16)), None, ...])
def test_elements_in_a_buffer_are_refused_with_the_call_that_makes_an_array(view, data):
    """Such an object is an image of Pillow, which gives bytes."""
    image = fakes.Interface(data=data)
    reason = r"^fakes\.Interface gives its elements in a buffer and not by their address: "
    with pytest.raises(TensorError, match=reason + r"use numpy\.asarray\(x\)$"):
        describe(image)
    with pytest.raises(TensorError, match=reason + "read into an array of numpy$"):
        view.read(image)
    if data is not None and data is not ...:
        assert describe(np.asarray(image))["shape"] == [4, 4]
    # The interface of CUDA has no buffers.
    with pytest.raises(TensorError, match="`data`"):
        describe(fakes.Interface("__cuda_array_interface__", data=data))


def raising(error):
    def give(*_, **arguments):
        raise error
    return give


@pytest.mark.parametrize("error", [ValueError("a meta tensor"), BufferError("on several devices"), TypeError("gone")], ids=repr)
def test_an_exception_of_the_library_is_the_cause(monkeypatch, error):
    give = raising(error)
    tensors = [type("Calls", (fakes.Dlpack,), {name: give})() for name in ("__dlpack__", "__dlpack_device__")]
    for name in ("__dlpack__", "__dlpack_device__", "__cuda_array_interface__", "__array_interface__"):
        # The device is asked for only if there is a capsule.
        members = {"__dlpack__": give, name: property(give)}
        tensors.append(type("Reads", (), members if name == "__dlpack_device__" else {name: property(give)})())
    torch = fakes.Torch()
    torch.cuda.current_stream = give
    monkeypatch.setitem(sys.modules, "torch", torch)
    tensors.append(torch.Tensor())
    for tensor in tensors:
        with pytest.raises(TensorError, match=f" of the tensor failed: {error}") as raised:
            describe(tensor, consumer=0x7770)
        assert raised.value.__cause__ is error


def test_an_exception_of_a_stream_is_the_cause():
    error = RuntimeError("destroyed")
    for name, member in [("__cuda_stream__", raising(error)), ("cuda_stream", property(raising(error))),
                         ("ptr", property(raising(error))), ("__int__", raising(error))]:
        with pytest.raises(TensorError, match="^stream must be ") as raised:
            describe(fakes.Dlpack(), stream=type("Stream", (), {name: member})())
        assert raised.value.__cause__ is error
    for stream in (types.SimpleNamespace(cuda_stream="x"), types.SimpleNamespace(__cuda_stream__=7)):
        with pytest.raises(TensorError, match="^stream must be "):
            describe(fakes.Dlpack(), stream=stream)


@pytest.mark.parametrize("entries", [{}, {"version": "3"}, {"version": None}])
def test_a_cuda_interface_without_a_version_is_refused(entries):
    with pytest.raises(TensorError, match="`version`"):
        describe(fakes.Interface("__cuda_array_interface__", **{"version": ...} | entries))
    # Also if only the stream of a capsule is read there.
    fake = fakes.Dlpack()
    fake.__cuda_array_interface__ = {"stream": 0x4440} | entries
    with pytest.raises(TensorError, match="`version`"):
        describe(fake, consumer=0x7770)
    assert fake.calls == []


def test_an_interface_that_is_no_dict_is_refused():
    for name in ["__array_interface__", "__cuda_array_interface__"]:
        with pytest.raises(TensorError, match="`dict`"):
            describe(types.SimpleNamespace(**{name: [1, 2]}))

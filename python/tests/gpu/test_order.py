"""Memory of the view, whose pending copies other streams wait for, and memory of other contexts, which is refused."""

import ctypes
import sys
import threading
import types

import fakes
import pytest
import vkview

SHAPE = (128, 256, 4)


def test_a_consumer_waits_for_the_copies_of_the_view(view, torch):
    """A copy is pending on one stream while another stream takes the memory and writes to it."""
    mine = view.tensor(SHAPE, "uint8")
    first, second = torch.cuda.Stream(), torch.cuda.Stream()
    for value in range(1, 100):
        torch.from_dlpack(mine).fill_(value)
        torch.cuda.synchronize()
        with torch.cuda.stream(first):
            torch.cuda._sleep(1_000_000)
        view.image(mine, stream=first)
        with torch.cuda.stream(second):
            torch.from_dlpack(mine).fill_(0)
        view.draw()
        assert (view.pixels() == value).all(), value


def test_copies_of_two_views_at_once_are_both_waited_for(torch):
    """The copies of both views are pending when another stream takes the memory and writes to it."""
    views = [vkview.View(SHAPE[1], SHAPE[0], headless=True, backend="cuda") for _ in range(2)]
    mine = views[0].tensor(SHAPE, "uint8")
    streams, writer = [torch.cuda.Stream() for _ in views], torch.cuda.Stream()
    both = threading.Barrier(2)

    def show(view, stream):
        both.wait()
        view.image(mine, stream=stream)

    for value in range(1, 200):
        torch.from_dlpack(mine).fill_(value)
        torch.cuda.synchronize()
        # Alternates which of the two copies ends last.
        for stream, cycles in zip(streams, [1_000_000, 4_000_000][:: 1 if value % 2 else -1], strict=True):
            with torch.cuda.stream(stream):
                torch.cuda._sleep(cycles)
        threads = [threading.Thread(target=show, args=pair) for pair in zip(views, streams, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with torch.cuda.stream(writer):
            torch.from_dlpack(mine).fill_(0)
        for view in views:
            view.draw()
            assert (view.pixels() == value).all(), value
    for view in views:
        view.close()


def test_the_interface_names_a_stream_while_a_copy_is_pending(view, torch):
    mine = view.tensor(SHAPE, "uint8")
    assert mine.__cuda_array_interface__["stream"] is None
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(1_000_000_000)
    view.image(mine, stream=stream)
    assert mine.__cuda_array_interface__["stream"] == 1
    torch.cuda.synchronize()
    assert mine.__cuda_array_interface__["stream"] is None


@pytest.mark.parametrize("module", [None, types.ModuleType("half")])
@pytest.mark.parametrize("name", ["torch", "cupy"])
def test_a_library_that_is_ruled_out_or_half_imported_has_no_streams(view, monkeypatch, name, module):
    mine = view.tensor(SHAPE, "uint8")
    monkeypatch.setitem(sys.modules, name, module)
    view.show(mine)
    half = types.ModuleType("half")
    half.cuda = types.ModuleType("half.cuda")
    monkeypatch.setitem(sys.modules, name, half)
    view.show(mine)
    assert view.draw()


class Stream:
    """A stream with the protocol of cuda.core."""

    def __init__(self, address):
        self.address = address

    def __cuda_stream__(self):
        return 0, self.address


def test_streams_of_the_protocol_take_frames_and_memory(view, torch):
    stream = torch.cuda.Stream()
    with view.canvas(SHAPE).frame() as t:
        t.__dlpack__(stream=Stream(stream.cuda_stream))
        t.__dlpack__(stream=stream)
        # In a library's object, 0 is the legacy default stream. As a plain number, 0 is ambiguous.
        t.__dlpack__(stream=Stream(0))
        with pytest.raises(ValueError, match="0"):
            t.__dlpack__(stream=0)
    memory = view.tensor(SHAPE, "uint8")
    for named in (stream, torch.cuda.default_stream()):
        memory.__dlpack__(stream=Stream(named.cuda_stream))


@pytest.fixture
def foreign(view):
    """Yields the address of memory that belongs to another context of the view's device."""
    cuda = ctypes.CDLL("libcuda.so.1")
    def call(name, *arguments):
        assert getattr(cuda, name)(*arguments) == 0, name
    device, context, memory, popped = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_void_p()
    ordinal = int(view.device.removeprefix("cuda:"))
    call("cuDeviceGet", ctypes.byref(device), ordinal)
    call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
    call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(SHAPE[0] * SHAPE[1] * SHAPE[2]))
    # The context stays current, as in a program that created it, so that the default streams are
    # its own.
    yield memory.value
    call("cuMemFree_v2", memory)
    call("cuCtxPopCurrent_v2", ctypes.byref(popped))
    call("cuCtxDestroy_v2", context)


def test_memory_of_another_context_is_refused(view, foreign):
    tensor = fakes.Interface("__cuda_array_interface__", shape=SHAPE, data=(foreign, False))
    with pytest.raises(vkview.DeviceMismatchError, match="another CUDA context"):
        view.image(tensor)
    view.image(view.tensor(SHAPE, "uint8"))
    view.draw()
    with pytest.raises(vkview.DeviceMismatchError, match="another CUDA context"):
        view.read(tensor)

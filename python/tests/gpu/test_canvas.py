"""Canvases on a GPU, written in place by torch on streams that the view learns only from the frame."""

import gc

import pytest
import vkview

SHAPE = (128, 256, 4)


def test_frames_of_torch_are_seen_whole(view, torch):
    canvas = view.canvas(SHAPE)
    stream = torch.cuda.Stream()
    for frame in range(300):
        value = frame % 251
        with torch.cuda.stream(stream), canvas.frame(stream=stream) as t:
            torch.cuda._sleep(100_000)
            torch.from_dlpack(t).fill_(value)
        view.draw()
        assert (view.pixels() == value).all(), frame


def test_the_stream_of_dlpack_is_joined(view, torch):
    """No stream is named: torch passes its current stream when it takes the tensor."""
    canvas = view.canvas(SHAPE)
    stream = torch.cuda.Stream()
    for value in range(100):
        with torch.cuda.stream(stream), canvas.frame() as t:
            mine = torch.from_dlpack(t)
            torch.cuda._sleep(100_000)
            mine.fill_(value)
        view.draw()
        assert (view.pixels() == value).all(), value


def test_frames_change_streams(view, torch):
    """The canvas hands over on the first stream, and joins other streams by events on the GPU."""
    canvas = view.canvas(SHAPE)
    first, second, default = torch.cuda.Stream(), torch.cuda.Stream(), torch.cuda.default_stream()
    ways = [(first, first), (second, second), (second, second.cuda_stream), (default, default), (first, None)]
    for frame in range(200):
        value = frame % 251
        stream, name = ways[frame % len(ways)]
        with torch.cuda.stream(stream), canvas.frame(stream=name) as t:
            mine = torch.from_dlpack(t)
            torch.cuda._sleep(100_000)
            mine.fill_(value)
        view.draw()
        assert (view.pixels() == value).all(), frame


def test_a_frame_outlives_its_canvas_and_its_stream(view, cupy):
    """Canvas and stream are dropped before the frame is drawn."""
    def show(value):
        canvas = view.canvas(SHAPE)
        with canvas.frame(stream=cupy.cuda.Stream(non_blocking=True)) as t:
            cupy.from_dlpack(t)[:] = value
    for value in range(20):
        show(value)
        gc.collect()
        view.draw()
        assert (view.pixels() == value).all(), value
        show(value)
        gc.collect()


def test_a_stream_that_torch_only_wraps_is_joined(view, torch, cupy):
    canvas = view.canvas(SHAPE)
    def frame(value):
        owner = cupy.cuda.Stream(non_blocking=True)
        stream = torch.cuda.ExternalStream(owner.ptr)
        with torch.cuda.stream(stream), canvas.frame(stream=torch.cuda.current_stream()) as t:
            torch.from_dlpack(t).fill_(value)
    for value in range(20):
        frame(value)
        gc.collect()
        view.draw()
        assert (view.pixels() == value).all(), value


def test_a_canvas_on_the_default_stream(view, torch):
    canvas = view.canvas(SHAPE)
    for value in range(100):
        with canvas.frame(stream=torch.cuda.default_stream()) as t:
            torch.cuda._sleep(100_000)
            torch.from_dlpack(t).fill_(value)
        view.draw()
        assert (view.pixels() == value).all(), value


def test_a_stream_of_another_gpu_is_refused_and_the_next_taken(view, torch):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    canvas = view.canvas(SHAPE)
    here = int(view.device.removeprefix("cuda:"))
    with pytest.raises(vkview.DeviceMismatchError, match="another CUDA context"):
        canvas.frame(stream=torch.cuda.Stream(1 - here)).__enter__()
    with canvas.frame(stream=torch.cuda.current_stream(here)) as t:
        torch.from_dlpack(t).fill_(5)
    view.draw()
    assert (view.pixels() == 5).all()


def test_a_captured_stream_is_refused_and_its_capture_goes_on(view, torch):
    canvas = view.canvas(SHAPE)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    values = torch.zeros(4, device="cuda")
    with torch.cuda.graph(graph, stream=stream):
        values += 1
        with pytest.raises(vkview.UsageError, match="captured"):
            canvas.frame(stream=stream).__enter__()
        values += 1
    graph.replay()
    torch.cuda.synchronize()
    assert (values == 2).all()
    with torch.cuda.stream(stream), canvas.frame(stream=stream) as t:
        torch.from_dlpack(t).fill_(9)
    view.draw()
    assert (view.pixels() == 9).all()


@pytest.mark.parametrize("is_followed", [True, False], ids=["a frame follows", "none follows"])
@pytest.mark.parametrize("is_first", [True, False], ids=["its own stream", "another stream"])
def test_a_capture_after_the_first_frame_is_refused_and_goes_on(view, torch, is_first, is_followed, caplog):
    canvas = view.canvas(SHAPE)
    graph, first, other = torch.cuda.CUDAGraph(), torch.cuda.Stream(), torch.cuda.Stream()
    stream = first if is_first else other
    values = torch.zeros(4, device="cuda")
    def frame(value):
        with torch.cuda.stream(first), canvas.frame(stream=first) as t:
            torch.from_dlpack(t).fill_(value)
        view.draw()
        assert (view.pixels() == value).all()
    frame(1)
    with torch.cuda.graph(graph, stream=stream):
        values += 1
        # A frame also needs the canvas's own stream.
        for name in (first, other) if is_first else (other,):
            with pytest.raises(vkview.UsageError, match="after the capture has ended"):
                canvas.frame(stream=name).__enter__()
        values += 1
    graph.replay()
    torch.cuda.synchronize()
    assert (values == 2).all()
    frame(2)
    # The capture begins in the block, so the frame cannot be handed over.
    opened = canvas.frame(stream=stream)
    opened.__enter__()
    with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream):
        values += 1
        with pytest.raises(vkview.UsageError, match="after the capture has ended"):
            opened.__exit__(None, None, None)
        # Each later frame must wait for what the stream did before its capture.
        with pytest.raises(vkview.UsageError, match="after the capture has ended"):
            canvas.frame(stream=first).__enter__()
    if is_followed:
        frame(3)
    assert view.close() == 0, "no frame is in use"
    words = ("TurnLost", "dropped", "leaked")
    assert not [record for record in caplog.records if any(word in record.message for word in words)]


def test_an_exception_gives_the_frame_back(view, torch):
    canvas = view.canvas(SHAPE)
    for _ in range(10):
        with pytest.raises(ZeroDivisionError), canvas.frame() as t:
            torch.from_dlpack(t).fill_(1)
            1 / 0
    assert view.draw() is False
    with pytest.raises(vkview.ClosedError):
        torch.from_dlpack(t)


def test_cupy_and_numba_write_a_frame(view, cupy):
    canvas = view.canvas(SHAPE)
    with cupy.cuda.Stream(non_blocking=True) as stream, canvas.frame(stream=stream) as t:
        cupy.from_dlpack(t)[:] = 77
    view.draw()
    assert (view.pixels() == 77).all()
    cuda = pytest.importorskip("numba.cuda")
    with canvas.frame() as t:
        cuda.as_cuda_array(t).copy_to_device(cuda.device_array(SHAPE, "uint8"))
    assert view.draw()


def test_points_of_torch(view, torch):
    points = view.tensor((1000, 3))
    mine = torch.from_dlpack(points)
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(1_000_000)
        mine.fill_(0.0)
        view.points(points, size=2)
    view.draw()
    assert view.pixels()[..., :3].any(-1).sum() == 4


def test_a_temporary_stream_lives_until_the_frame_ends(view, cupy):
    canvas = view.canvas(SHAPE)
    for value in range(100):
        with canvas.frame(stream=cupy.cuda.Stream(non_blocking=True)) as t:
            cupy.from_dlpack(t)[:] = value
        view.draw()
        assert (view.pixels() == value).all(), value


def test_the_per_thread_default_stream_is_refused(view):
    with view.canvas(SHAPE).frame() as t, pytest.raises(vkview.UsageError, match="per-thread"):
        t.__dlpack__(stream=2)

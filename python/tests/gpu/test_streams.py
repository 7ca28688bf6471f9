"""The copy of `View.image` is ordered on both sides: it sees what was enqueued before it, and nothing of what comes after.

The work is slow, runs on a stream that is not the default one, and its memory is reused at once by torch's caching allocator. The
negative controls leave out one wait and must see wrong frames, because otherwise the test would prove nothing.
"""

import numpy as np
import pytest
import vkview

SIZE = (1920, 1080)
FRAMES = 10_000
#: The number of frames of a negative control, which must see at least one wrong frame.
CONTROL_FRAMES = 3200
#: Clock cycles of the GPU, about 50 us.
SLEEP = 100_000


def colors(view, torch):
    """Returns the drawn color of each value. The host waits for every step."""
    seen = {}
    for value in (40, 90, 150, 220):
        t = torch.full((SIZE[1], SIZE[0], 4), value, dtype=torch.uint8, device="cuda")
        t[..., 3] = 255
        torch.cuda.synchronize()
        view.image(t)
        view.draw()
        pixels = view.pixels()
        assert (pixels == pixels[0, 0]).all()
        seen[value] = pixels[0, 0].copy()
    return seen


def wrong_frames(view, torch, frames, every=1):
    """Shows `frames` frames, checks every `every`-th one, and returns the numbers of stale and of torn ones."""
    expected = colors(view, torch)
    values = list(expected)
    stream = torch.cuda.Stream()
    picture = torch.empty((SIZE[1], SIZE[0], 4), dtype=torch.uint8, device="cuda")
    stale = torn = 0
    for frame in range(frames):
        value = values[frame % len(values)]
        with torch.cuda.stream(stream):
            t = torch.empty((SIZE[1], SIZE[0], 4), dtype=torch.uint8, device="cuda")
            address = t.data_ptr()
            torch.cuda._sleep(SLEEP)
            t.fill_(value)
            t[..., 3] = 255
            view.image(t)
            del t
            # The allocator returns the same memory, because the stream is the same.
            garbage = torch.full((SIZE[1], SIZE[0], 4), 7, dtype=torch.uint8, device="cuda")
            assert garbage.data_ptr() == address
            del garbage
        view.draw()
        if (frame + 1) % every:
            continue
        # Compared on the GPU, because copying 10 000 pictures to the host takes minutes.
        view.read(picture)
        if (picture != picture[0, 0]).any():
            torn += 1
        elif np.abs(picture[0, 0].cpu().numpy().astype(int) - expected[value]).max() > 1:
            stale += 1
    return stale, torn


@pytest.fixture
def large(torch):
    try:
        view = vkview.View(*SIZE, headless=True, backend="cuda")
    except vkview.UnavailableError as error:
        pytest.skip(f"no CUDA: {error}")
    with view:
        yield view


#: Checking a frame waits for it. With fewer checks, more frames are in flight, so that copies wait
#: for slots and run late.
PILE = 16


@pytest.mark.parametrize("every", [1, PILE])
def test_no_frame_is_stale_or_torn(large, torch, every):
    assert wrong_frames(large, torch, FRAMES, every) == (0, 0)


@pytest.mark.parametrize("wait", ["before", "after"])
def test_without_a_wait_frames_are_wrong(large, torch, wait):
    large._leave_out_wait(wait)
    stale, torn = wrong_frames(large, torch, CONTROL_FRAMES, PILE)
    assert stale + torn > 0

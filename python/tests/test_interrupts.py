"""KeyboardInterrupt and SystemExit that are raised during a call."""

import logging
import os
import signal
import subprocess
import sys

import fakes
import pytest
from pictures import HEIGHT, WIDTH, noise


class Raises(logging.Handler):
    """A log handler in which an exception is raised."""

    def __init__(self, exception):
        super().__init__()
        self.exception = exception
        self.seen = 0

    def emit(self, record):
        self.seen += 1
        if self.exception is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
        raise self.exception("in a handler")


@pytest.fixture
def raises():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    handlers = []
    def add(exception):
        handlers.append(Raises(exception))
        logging.getLogger("vkview").addHandler(handlers[-1])
        return handlers[-1]
    yield add
    for handler in handlers:
        logging.getLogger("vkview").removeHandler(handler)
    signal.signal(signal.SIGINT, before)


def logs(view):
    """Returns a call that passes a log record to Python."""
    view.image(noise(4))
    return view.pixels


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_a_record_is_handled_is_not_held_back(view, raises, exception):
    call, handler = logs(view), raises(exception)
    with pytest.raises(exception):
        call()
    assert handler.seen == 1


def test_a_fault_of_a_handler_is_reported_and_fails_no_call(view, raises, monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    call, handler = logs(view), raises(RuntimeError)
    assert call().shape == (HEIGHT, WIDTH, 4)
    assert handler.seen == 1 and [one.exc_type for one in reported] == [RuntimeError]


def test_an_interrupt_while_a_tensor_is_taken_stays_one(view):
    class Interrupted(fakes.Dlpack):
        def __dlpack__(self, **arguments):
            raise KeyboardInterrupt
    class Interface:
        @property
        def __array_interface__(self):
            raise KeyboardInterrupt
    for tensor in (Interrupted(device=(1, 0)), Interface()):
        with pytest.raises(KeyboardInterrupt):
            view.image(tensor)


@pytest.mark.usefixtures("software_driver")
def test_an_interrupted_frame_is_given_back():
    """The interrupt comes in the call that begins the frame. A view whose frame exceeds the time limit leaves the log record for it."""
    code = """
import logging, numpy, time, vkview
class Interrupted(logging.Handler):
    def emit(self, record): raise KeyboardInterrupt
def wait_for_the_slow_frame():
    end = time.monotonic() + 60
    while True:
        try: return view.pixels()
        except vkview.DriverError: assert time.monotonic() < end
view, slow = (vkview.View(side, side, headless=True, backend="host") for side in (8, 512))
canvas = view.canvas((8, 8, 4))
frame = canvas.frame()
slow.points(numpy.random.default_rng(1).random((200_000, 3), "float32") - 0.5, size=64)
slow.draw()
del slow
handler = Interrupted()
logging.getLogger("vkview").addHandler(handler)
try: frame.__enter__()
except KeyboardInterrupt: print("interrupted")
logging.getLogger("vkview").removeHandler(handler)
wait_for_the_slow_frame()
assert view.draw() is False
# A slot that is lent still would refuse it.
with canvas.frame() as t: numpy.asarray(t)[:] = 7
assert view.draw() and (view.pixels() == 7).all()
print("went on")
"""
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ | {"VKVIEW_TIMEOUT": "1"}, capture_output=True, text=True,
                           timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "interrupted\nwent on\n"), ended

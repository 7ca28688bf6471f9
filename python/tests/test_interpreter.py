"""Calls that release the interpreter lock (GIL) while they work."""

import sys
import threading
import time

import numpy as np
import pytest
import vkview
from pictures import noise

#: Seconds until a test gives up, fewer than `NEVER`.
LONG = 30
#: The switch interval in seconds, after which a thread is forced to release the interpreter.
NEVER = 300


def lets_others_run(call, prepare):
    """Returns whether another thread runs during `call`. That thread may wake up too late, so calls are repeated, for at most `LONG`.

    `call` gets the result of `prepare`, with the only reference to it.
    """
    gate, passed = threading.Lock(), threading.Lock()
    ran = ended = False
    def run():
        nonlocal ran
        while True:
            gate.acquire()
            ran = True
            passed.release()
            if ended:
                return
    gate.acquire()
    passed.acquire()
    thread = threading.Thread(target=run)
    interval = sys.getswitchinterval()
    # Set before the thread starts, so that the thread runs only when a call releases the
    # interpreter.
    sys.setswitchinterval(NEVER)
    try:
        thread.start()
        end = time.perf_counter() + LONG
        while True:
            prepared = [prepare()]
            ran = False
            gate.release()
            call(prepared.pop())
            seen = ran
            # Waits for the thread, which can run now if it could not before.
            passed.acquire()
            if seen or time.perf_counter() > end:
                return seen
    finally:
        ended = True
        gate.release()
        sys.setswitchinterval(interval)
        thread.join()


@pytest.mark.parametrize("call", [
    lambda view, pixels: view.image(pixels),
    lambda view, _: view.draw(),
    lambda view, _: view.finish(),
    lambda view, _: view.pixels(),
], ids=["image", "draw", "finish", "pixels"])
def test_the_interpreter_runs_while_a_view_works(view, call):
    view.image(noise(4))
    view.draw()
    # The arrays are created before the call, because numpy releases the interpreter as well.
    assert lets_others_run(lambda pixels: call(view, pixels), lambda: noise(4))


def test_the_interpreter_runs_while_a_canvas_is_dropped():
    """Dropping a canvas waits until its slots are no longer used."""
    with vkview.View(1024, 1024, headless=True, backend="host") as view:
        def drawn():
            canvas = view.canvas((1024, 1024, 4))
            with canvas.frame() as t:
                np.asarray(t)[:] = 1
            view.draw()
            return canvas
        def drop(canvas):
            del canvas
        assert lets_others_run(drop, drawn)

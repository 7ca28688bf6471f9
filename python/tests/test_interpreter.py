"""Calls that leave the interpreter to others."""

import sys
import threading
import time

import numpy as np
import pytest
import vkview
from pictures import noise

#: Seconds until a test gives up. Less than `NEVER`.
LONG = 30
#: Seconds after which a thread is made to let go of the interpreter.
NEVER = 300


def lets_others_run(call, prepare):
    """Whether another thread runs while `call` does. It may wake up too late: calls are made until it does, or for `LONG`.

    `call` takes what `prepare` gives, and is the only one to know it.
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
    # Before the thread begins, so that it is given the interpreter by those alone that let go of it.
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
            # It runs now at the latest.
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
    # Made before: numpy lets others run as well.
    assert lets_others_run(lambda pixels: call(view, pixels), lambda: noise(4))


def test_the_interpreter_runs_while_a_canvas_is_dropped():
    """Its slots are waited for."""
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

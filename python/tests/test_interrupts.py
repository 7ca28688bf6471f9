"""Exceptions that are no faults: Ctrl-C, and the end of the program."""

import logging
import signal
import sys

import fakes
import pytest
from pictures import HEIGHT, WIDTH, noise


class Raises(logging.Handler):
    """A handler of logs in which an exception arrives."""

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
    """Has the next call hand a record on."""
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

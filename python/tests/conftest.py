"""The fixture of a view on the CPU backend, for the tests in this folder. Those in gpu/ have their own."""

import pytest
import vkview
from pictures import HEIGHT, WIDTH


@pytest.fixture
def view():
    with vkview.View(WIDTH, HEIGHT, headless=True, backend="host") as made:
        yield made
    # There are messages only with VKVIEW_VALIDATION=1, which CI sets if the validation layer is
    # installed.
    assert made._validation_messages() == []

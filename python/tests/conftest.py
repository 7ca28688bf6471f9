"""A view on the CPU backend, for the tests beside this file. Those in gpu/ have their own."""

import pytest
import vkview
from pictures import HEIGHT, WIDTH


@pytest.fixture
def view():
    with vkview.View(WIDTH, HEIGHT, headless=True, backend="host") as made:
        yield made
    # Of VKVIEW_VALIDATION=1, which CI sets where the layer is installed.
    assert made._validation_messages() == []

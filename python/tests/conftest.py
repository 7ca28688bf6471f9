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


@pytest.fixture(scope="session")
def software_driver():
    """For tests whose frame must exceed a time limit, which a GPU draws too fast for, and tests whose child crashes in the exit handlers
    of NVIDIA's driver."""
    with vkview.View(8, 8, headless=True, backend="host") as made:
        name = made.device_name
    if "llvmpipe" not in name:
        pytest.skip(f"this needs software Vulkan, and the device is {name}")

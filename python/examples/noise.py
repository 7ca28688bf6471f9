"""Random frames, made by torch on the GPU and shown in a window. One device copy a frame; nothing goes through the host."""

import torch
import vkview

with vkview.View(1280, 720) as view:
    while view.running:
        view.image(torch.rand((720, 1280, 4), device="cuda", dtype=torch.float16))
        view.draw()

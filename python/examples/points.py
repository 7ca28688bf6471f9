"""Points of a simulation: torch moves them in memory of the view, which draws them."""

import torch
import vkview

COUNT, DT = 1_000_000, 0.01

with vkview.View(1280, 720) as view:
    points = view.tensor((COUNT, 3), "float32")
    position = torch.from_dlpack(points)
    position.normal_()
    velocity = torch.cross(position, torch.tensor([0.0, 1.0, 0.0], device="cuda").expand_as(position), dim=1)
    view.points(points)
    while view.running:
        # All fall towards the middle, softened there.
        distance = position.square().sum(1, keepdim=True) + 0.05
        velocity -= DT * position / distance**1.5
        position += DT * velocity
        view.show(points)
        view.draw()

"""Points of a simulation: torch moves them in memory of the view, which draws them. Drag to rotate, scroll to zoom.

    python points.py [FILE.png [STEPS]]
"""

import sys

import torch
import vkview

COUNT, DT = 1_000_000, 0.01
file = sys.argv[1] if len(sys.argv) > 1 else "points.png"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 500

with vkview.View(1280, 720, title="points") as view:
    points = view.tensor((COUNT, 4), "float32")
    # The same memory: the view draws what torch writes here.
    mine = torch.from_dlpack(points)
    position = mine[:, :3]
    position.normal_()
    up = torch.tensor([0.0, 1.0, 0.0], device=mine.device)
    velocity = torch.cross(position, up.expand_as(position), dim=1)
    for step in range(steps):
        if not view.running:
            break
        # All points fall towards the center, with a softened force. The color shows the speed.
        distance = position.square().sum(1, keepdim=True) + 0.05
        velocity -= DT * position / distance**1.5
        position += DT * velocity
        mine[:, 3] = velocity.norm(dim=1) / 3
        view.points(points, size=1, yaw=0.005 * step, pitch=0.4, distance=6)
        view.draw()
    view.save(file)

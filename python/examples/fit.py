"""A small network in torch that learns an image: each step is shown, and every 100 steps the picture replaces the saved file.

    python fit.py [FILE.png]
"""

import sys

import torch
import vkview

SIZE = 512
file = sys.argv[1] if len(sys.argv) > 1 else "fit.png"
y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIZE, device="cuda")] * 2, indexing="ij")
places = torch.stack([x, y], -1)
# The target image: rings of three colors.
radius = places.norm(dim=-1, keepdim=True)
target = 0.5 + 0.5 * torch.sin(radius * torch.tensor([12.0, 17.0, 23.0], device="cuda"))

features = torch.cat([places, *[f(places * 2**k * 3.0) for k in range(5) for f in (torch.sin, torch.cos)]], -1)
net = torch.nn.Sequential(
    torch.nn.Linear(features.shape[-1], 128), torch.nn.GELU(),
    torch.nn.Linear(128, 128), torch.nn.GELU(),
    torch.nn.Linear(128, 3), torch.nn.Sigmoid(),
).cuda()
optimizer = torch.optim.Adam(net.parameters(), 3e-3)
alpha = torch.ones_like(radius)

with vkview.View(SIZE, SIZE, title="fit") as view:
    for step in range(2000):
        if not view.running:
            break
        fitted = net(features)
        loss = (fitted - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        view.image(torch.cat([fitted.detach(), alpha], -1))
        view.draw()
        if step % 100 == 99:
            view.save(file)
            print(f"loss {loss.item():.5f} after {step + 1} steps")

"""A tensor that Vulkan draws into and torch reads: the picture never leaves the GPU."""

import torch
import vkview

HEIGHT, WIDTH = 1080, 1920
field = torch.rand((HEIGHT // 8, WIDTH // 8), device="cuda")
picture = torch.empty((HEIGHT, WIDTH, 4), dtype=torch.uint8, device="cuda")

with vkview.View(WIDTH, HEIGHT, headless=True) as view:
    for step in range(100):
        # A diffusing field, scaled up and colored by Vulkan.
        field = (field + field.roll(1, 0) + field.roll(-1, 0) + field.roll(1, 1) + field.roll(-1, 1)) / 5
        view.image((field - field.min()) / (field.max() - field.min()), colormap="viridis")
        view.draw()
        view.read(picture)
        # On the current stream, and therefore after the copy.
        brightness = picture[..., :3].float().mean() / 255
    print(f"mean brightness {brightness.item():.3f}")

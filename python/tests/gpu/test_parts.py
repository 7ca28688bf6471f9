"""Parts, planes and columns of tensors on the GPU: the picture is that of a contiguous copy."""

import pytest
import vkview

WIDTH, HEIGHT = 256, 128
PARTS = {
    "crop": lambda x: x[5 : 5 + HEIGHT, 7 : 7 + WIDTH],
    "rows": lambda x: x[: 2 * HEIGHT : 2, :WIDTH],
    "channels": lambda x: x[:HEIGHT, :WIDTH].contiguous()[..., :3],
    "channel": lambda x: x[:HEIGHT, :WIDTH].contiguous()[..., 1],
    "planes": lambda x: x[:HEIGHT, :WIDTH].permute(2, 0, 1).contiguous().permute(1, 2, 0),
    "part of planes": lambda x: x[:, :WIDTH].permute(2, 0, 1).contiguous()[1:, 3 : 3 + HEIGHT].permute(1, 2, 0),
}


def shown(view, tensor, **arguments):
    view.image(tensor, **arguments)
    view.draw()
    return view.pixels()


def whole(torch, dtype="uint8"):
    x = torch.randint(0, 256, (2 * HEIGHT, 2 * WIDTH, 4), device="cuda")
    return x.to(torch.uint8) if dtype == "uint8" else (x / 255).to(getattr(torch, dtype))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("part", PARTS)
def test_parts_of_images_of_torch(view, torch, part, dtype):
    x = PARTS[part](whole(torch, dtype))
    assert not x.is_contiguous()
    expected = shown(view, x.contiguous())
    assert expected[..., 0].std() > 10
    view.image(torch.zeros_like(x.contiguous()))
    view.draw()
    assert (shown(view, x) == expected).all()


@pytest.mark.parametrize("part", ["crop", "rows", "channels", "channel"])
def test_parts_of_host_memory_are_shown_by_a_view_on_cuda(view, torch, part):
    x = PARTS[part](whole(torch).cpu())
    assert not x.is_contiguous()
    assert (shown(view, x.numpy()) == shown(view, x.contiguous().numpy())).all()


def test_parts_of_cupy(view, cupy):
    x = cupy.random.randint(0, 256, (2 * HEIGHT, 2 * WIDTH, 4)).astype(cupy.uint8)
    for part in (x[5 : 5 + HEIGHT, 7 : 7 + WIDTH], x[: 2 * HEIGHT : 2, :WIDTH]):
        assert (shown(view, part) == shown(view, cupy.ascontiguousarray(part))).all()
    with pytest.raises(vkview.LayoutError, match=r"cupy\.ascontiguousarray"):
        view.image(x[::-1])


def test_other_strides_of_torch_are_refused_with_its_call(view, torch):
    x = whole(torch)
    for tensor in (x.permute(1, 0, 2), x[::2, ::2], x[..., :1].expand(-1, -1, 3), x[:, 1:, 1:]):
        with pytest.raises(vkview.LayoutError, match=r"with \.contiguous\(\)"):
            view.image(tensor)
        view.image(tensor.contiguous())


@pytest.mark.parametrize("on_host", [False, True])
def test_the_picture_is_read_into_a_part_and_nothing_beside_it(view, torch, on_host):
    expected = torch.from_numpy(shown(view, whole(torch)[:HEIGHT, :WIDTH].contiguous()))
    target = torch.full((2 * HEIGHT, 2 * WIDTH, 4), 7, dtype=torch.uint8, device="cpu" if on_host else "cuda")
    part = target[5 : 5 + HEIGHT, 7 : 7 + WIDTH]
    view.read(part)
    assert bool((part.cpu() == expected).all())
    part.fill_(7)
    assert bool((target == 7).all())


@pytest.mark.parametrize("where", ["cuda", "host", "both"])
def test_columns_and_tensors_of_their_own(view, torch, where):
    points = torch.rand((100_000, 9), device="cuda") * 2 - 1
    points[:, 3:].abs_()
    if where == "host":
        points = points.cpu()
    for name, columns, count in [("values", slice(3, 4), 4), ("colors", slice(3, 6), 6)]:
        view.points(points[:, :count].contiguous(), size=3)
        view.draw()
        expected = view.pixels()
        assert expected[..., :3].std() > 10
        own = points[:, columns]
        if where == "both":
            own = own.cpu()
        for first in (points[:, :3], points[:, :3].contiguous()):
            for second in (own, own.contiguous()):
                view.points(first, size=3, **{name: second})
                view.draw()
                # Of several points at the same depth, any one may be visible.
                assert (view.pixels() != expected).any(-1).mean() < 1e-3
    view.points(points[::2, :3])


def wrong_colors(view, torch, frames):
    """Shows points whose colors are written late, on a separate stream, and overwritten at once. Returns the number of wrong frames."""
    positions = torch.zeros((1, 3), device="cuda").repeat(200_000, 1)
    stream = torch.cuda.Stream()
    wrong = 0
    torch.cuda.synchronize()
    for frame in range(frames):
        value = (frame % 4 + 1) / 4
        with torch.cuda.stream(stream):
            colors = torch.empty((len(positions), 3), device="cuda")
            torch.cuda._sleep(100_000)
            colors.fill_(value)
            view.points(positions, colors=colors, size=4)
            colors.fill_(0)
        view.draw()
        seen = view.pixels()[HEIGHT // 2, WIDTH // 2]
        wrong += int(abs(int(seen[0]) - round(value * 255)) > 1)
    return wrong


def test_colors_are_ordered_as_the_points_are(view, torch):
    assert wrong_colors(view, torch, 400) == 0
    view._leave_out_wait("before")
    assert wrong_colors(view, torch, 400) > 0
    view._leave_out_wait(None)
    assert wrong_colors(view, torch, 100) == 0

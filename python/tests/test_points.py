"""Points, and the camera that shows them."""

import numpy as np
import pytest
import vkview
from pictures import HEIGHT, WIDTH, noise, shown
from vkview import DTypeError, ShapeError


def lit(pixels):
    """Returns the rows and columns of the pixels that are not black."""
    return np.argwhere(pixels[..., :3].any(-1)).tolist()


def seen(view, points, **look):
    view.points(np.asarray(points, np.float32), **look)
    assert view.draw()
    return view.pixels()


def test_a_point_is_drawn_where_it_is(view):
    assert lit(seen(view, [[0, 0, 0]], size=2)) == [[7, 11], [7, 12], [8, 11], [8, 12]]
    # x points to the right, y points up.
    row, column = lit(seen(view, [[0.5, 0.7, 0]], size=1))[0]
    assert column > WIDTH // 2 and row < HEIGHT // 2
    # The edge of the picture is at tan(0.4) times the distance.
    edge = 3 * np.tan(0.4)
    assert lit(seen(view, [[0, edge * 0.99, 0]], size=1))[0][0] == 0
    assert lit(seen(view, [[0, edge * 1.2, 0]], size=1)) == []
    # Points behind the camera, at its position, and with values that are not finite.
    assert lit(seen(view, [[0, 0, 4], [0, 0, 3], [np.nan, 0, 0], [np.inf, 0, 0]])) == []


def test_the_camera_goes_round_its_target(view):
    middle = lit(seen(view, [[5, 6, 7]], target=(5, 6, 7), yaw=1, pitch=0.5, distance=9))
    assert middle == [[7, 11], [7, 12], [8, 11], [8, 12]]
    # After a quarter turn to the right, z points to the left.
    assert lit(seen(view, [[0, 0, 0.9]], size=1, yaw=np.pi / 2))[0][1] < WIDTH // 2 - 3
    # Seen from above, z points down.
    assert lit(seen(view, [[0, 0, 0.9]], size=1, pitch=1.5))[0][0] > HEIGHT // 2 + 3


def test_the_nearest_point_is_seen_with_its_color(view):
    red, blue = [0, 0, 0.5, 1, 0, 0], [0, 0, -0.5, 0, 0, 1]
    for points in ([red, blue], [blue, red]):
        assert seen(view, points, size=4)[8, 12].tolist() == [255, 0, 0, 255]
        assert seen(view, points, size=4, yaw=np.pi)[8, 12].tolist() == [0, 0, 255, 255]
    for green in ((0, 1, 0), [0, 1, 0], np.array([0, 1, 0])):
        assert seen(view, [[0, 0, 0]], color=green)[8, 12].tolist() == [0, 255, 0, 255]
    values = seen(view, [[0, 0, 0, 0.0]])[8, 12], seen(view, [[0, 0, 0, 1.0]])[8, 12]
    assert np.abs(np.array(values).astype(int) - [[68, 1, 84, 255], [253, 231, 37, 255]]).max() <= 4


def test_many_points_fill_the_picture(view):
    points = np.random.default_rng(0).uniform(-3, 3, (200_000, 3))
    assert len(lit(seen(view, points, size=3))) == WIDTH * HEIGHT
    # The previous picture is cleared.
    assert len(lit(seen(view, [[0, 0, 0]], size=1))) == 1


def test_points_of_the_view_are_shown_again(view):
    mine = view.tensor((2, 3))
    view.points(mine, size=1)
    view.draw()
    assert len(lit(view.pixels())) == 1
    np.asarray(mine)[1] = [0.5, 0, 0]
    view.show(mine)
    view.draw()
    assert len(lit(view.pixels())) == 2
    # An image can be shown after that.
    assert (shown(view, noise(4)) == noise(4)).all()


def test_values_and_colors_may_be_tensors_of_their_own(view):
    points = np.random.default_rng(1).uniform(-1, 1, (500, 9)).astype(np.float32)
    points[:, 3:] = abs(points[:, 3:])
    xyz = np.ascontiguousarray(points[:, :3])
    for name, columns in [("values", slice(3, 4)), ("colors", slice(3, 6))]:
        own = np.ascontiguousarray(points[:, columns])
        expected = seen(view, np.concatenate([xyz, own], 1), size=3)
        assert len(np.unique(expected.reshape(-1, 4), axis=0)) > 50
        assert (seen(view, [[0, 0, 0]]) != expected).any()
        for first, second in [(xyz, own), (points[:, :3], own), (xyz, points[:, columns]), (points[:, :3], points[:, columns])]:
            view.points(first, size=3, **{name: second})
            view.draw()
            assert (view.pixels() == expected).all()
    view.points(xyz, values=points[:, 3], size=3)
    view.draw()
    values = view.pixels()
    assert (values == seen(view, points[:, :4], size=3)).all()
    # Every second point of a part of a larger tensor.
    assert (seen(view, points[::2, :6]) == seen(view, points[::2, :6].copy())).all()
    # `show` omits values and colors.
    view.show(xyz)
    view.draw()
    assert (view.pixels() == seen(view, xyz)).all()


N = 8
XYZ = np.zeros((N, 3), np.float32)


@pytest.mark.parametrize("points, own, error, reason", [
    (XYZ, {"colors": XYZ[1:]}, ShapeError, r"colors of shape \(7, 3\) for 8 points: it must be \(8, 3\)"),
    (XYZ, {"colors": np.zeros((N, 4), np.float32)}, ShapeError, r"\(8, 3\)"),
    (XYZ, {"colors": XYZ.astype(np.uint8)}, DTypeError, r"colors of uint8.*/ 255"),
    (XYZ, {"values": XYZ}, ShapeError, r"it must be \(8,\)"),
    (XYZ, {"values": np.zeros(N)}, DTypeError, "values of float64"),
    (np.zeros((N, 6), np.float32), {"colors": XYZ}, ShapeError, r"t\[:, :3\]"),
    (XYZ, {"colors": XYZ[::-1]}, vkview.LayoutError, "ascontiguousarray"),
    (XYZ, {"colors": 3}, vkview.TensorError, "not a tensor"),
    (XYZ, {"colors": XYZ, "values": XYZ[:, 0]}, ValueError, "not both"),
])
def test_values_and_colors_that_cannot_be(view, points, own, error, reason):
    before = seen(view, [[0, 0, 0]])
    with pytest.raises(error, match=reason):
        view.points(points, **own)
    assert view.draw() is False
    assert (view.pixels() == before).all()


@pytest.mark.parametrize("points, error", [
    (np.zeros((4, 2), np.float32), ShapeError), (np.zeros((4, 5), np.float32), ShapeError),
    (np.zeros(3, np.float32), ShapeError), (np.zeros((0, 3), np.float32), ShapeError),
    (np.zeros((4, 3), np.float64), DTypeError), (np.zeros((4, 3), np.uint8), DTypeError),
    (np.zeros((8, 3), np.float32)[::-1], vkview.LayoutError),
])
def test_points_that_cannot_be(view, points, error):
    with pytest.raises(error):
        view.points(points)


@pytest.mark.parametrize("camera", [{"distance": 0}, {"distance": -1}, {"yaw": float("nan")}, {"field_of_view": 0},
                                    {"field_of_view": 4}, {"size": 0}, {"size": 65}, {"size": -1},
                                    {"size": 2**40}, {"target": (0, float("inf"), 0)}])
def test_cameras_that_cannot_be(view, camera):
    with pytest.raises(ValueError):
        view.points(np.zeros((4, 3), np.float32), **camera)

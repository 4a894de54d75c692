"""Every picture can be drawn, says what it was given, and changes nothing that it was given."""

from __future__ import annotations

import copy

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from minim2f import plots
from minim2f.data.sample import Sample

CATEGORIES = [
    {"id": 3, "name": "car", "isthing": 1},
    {"id": 187, "name": "sky-other-merged", "isthing": 0, "color": [170, 215, 245]},
    {"id": 149, "name": "road", "isthing": 0},
]
RNG = np.random.default_rng(0)
SKY, ROAD = {"id": 1, "category_id": 187}, {"id": 2, "category_id": 149}
CAR, CARS = {"id": 3, "category_id": 3}, {"id": 4, "category_id": 3, "iscrowd": 1}


def photo(height: int = 24, width: int = 32) -> torch.Tensor:
    return torch.from_numpy(RNG.integers(0, 256, (3, height, width), dtype=np.uint8))


def street() -> tuple[torch.Tensor, list[dict]]:
    """Sky above a road with two cars and a strip of void: a (24, 32) map and its segments."""
    ids = torch.zeros(24, 32, dtype=torch.int64)
    ids[:10], ids[12:] = 1, 2
    ids[13:20, 2:12], ids[13:20, 16:30] = 3, 4
    return ids, [SKY, ROAD, CAR, CARS]


def axes(size: float = 3.0):
    return plots.figure(size=size, aspect=0.75)[1][0, 0]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def pixels(ax) -> np.ndarray:
    """What the axes show of the image: (H, W, 3) floats."""
    return np.asarray(ax.images[0].get_array())


@pytest.fixture(autouse=True)
def no_open_figures():
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


# ------------------------------------------------------------------------- colours


def seen_by(colors: list, kind: str) -> np.ndarray:
    """Colours (n, 3) in CIELAB as somebody sees them: Machado, Oliveira, Fernandes 2009."""
    simulation = {
        "all cones": np.eye(3),
        "no red cones": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "no green cones": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "no blue cones": [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    }
    srgb = np.array(colors)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.array(simulation[kind]).T).clip(0, 1)
    xyz = linear @ np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ).T / [0.9505, 1.0, 1.089]  # fmt: skip
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("kind", ["all cones", "no red cones", "no green cones", "no blue cones"])
def test_twelve_colors_differ_for_everybody(kind) -> None:
    lab = seen_by([plots.query_color(q) for q in range(12)], kind)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[~np.eye(12, dtype=bool)]
    assert apart.min() > 10  # a difference of 2.3 is just noticeable


def test_colors_of_queries_never_repeat() -> None:
    colors = [plots.query_color(q) for q in range(133)]
    assert len(set(colors)) == 133
    assert np.min(colors) >= 0 and np.max(colors) <= 1


# ------------------------------------------------------------------------- what is drawn


def test_image_is_shown_as_it_is() -> None:
    image = photo()
    for same in (image, image.permute(1, 2, 0).numpy()):
        ax = axes()
        plots.draw_image(ax, same, "a title")
        np.testing.assert_allclose(pixels(ax), image.permute(1, 2, 0) / 255, atol=1e-6)
        assert ax.get_title() == "a title"


def test_segments_carry_names_and_outlines() -> None:
    ax = axes()
    plots.draw_segments(ax, photo(), *street(), CATEGORIES)
    assert sorted(texts(ax)) == ["car", "car (crowd)", "road", "sky"]
    assert len(ax.collections) == 4
    for text in ax.texts:  # a name lies on its own segment
        x, y = (round(v) for v in text.get_position())
        index = {"sky": 1, "road": 2, "car": 3, "car (crowd)": 4}[text.get_text()]
        assert street()[0][y, x] == index


def test_names_can_be_left_out_and_vanish_where_there_is_no_room() -> None:
    ids, segments = street()
    ids[23, 31] = 5
    ax = axes()
    plots.draw_segments(ax, photo(), ids, [*segments, {"id": 5, "category_id": 3}], CATEGORIES)
    assert texts(ax).count("car") == 1
    ax = axes()
    plots.draw_segments(ax, photo(), *street(), CATEGORIES, names=False)
    assert texts(ax) == []


def test_color_means_class_and_shades_tell_instances_apart() -> None:
    grey = torch.full((3, 24, 32), 128, dtype=torch.uint8)
    ax = axes()
    plots.draw_segments(ax, grey, *street(), CATEGORIES)
    drawn = pixels(ax)
    expected = 0.35 * 128 / 255 + 0.65 * np.array([170, 215, 245]) / 255
    np.testing.assert_allclose(drawn[2, 2], expected, atol=1e-6)  # the category's own colour
    expected = 0.35 * 128 / 255 + 0.65 * np.array(plots.query_color(2))
    np.testing.assert_allclose(drawn[22, 2], expected, atol=1e-6)  # third category, third colour
    assert np.abs(drawn[15, 5] - drawn[15, 20]).max() > 0.05  # two cars
    void = drawn[10:12]
    assert np.ptp(void, axis=-1).max() < 1e-6  # grey


def test_surest_instance_is_on_top_and_scores_are_written() -> None:
    grey = torch.full((3, 24, 32), 128, dtype=torch.uint8)
    masks = np.zeros((2, 24, 32), bool)
    masks[0, 2:20, 2:20] = masks[1, 10:23, 10:30] = True
    sure = [CAR | {"score": 0.934}, SKY | {"score": 0.5}]
    first, second = axes(), axes()
    plots.draw_instances(first, grey, masks, sure, CATEGORIES)
    plots.draw_instances(second, grey, masks[::-1], sure[::-1], CATEGORIES)
    assert sorted(texts(first)) == ["car\n0.93", "sky\n0.50"]
    assert len(first.collections) == 2
    np.testing.assert_allclose(pixels(first), pixels(second))
    overlap, only_car, only_sky = pixels(first)[[15, 5, 21], [15, 5, 28]]
    assert np.linalg.norm(overlap - only_car) < np.linalg.norm(overlap - only_sky)


def test_mask_is_as_opaque_as_it_is_probable() -> None:
    black = torch.zeros(3, 24, 32, dtype=torch.uint8)
    ax = axes()
    plots.draw_mask(ax, black, torch.tensor([[0.0, 0.4], [0.6, 1.0]]), "#ff0000")
    drawn = pixels(ax)
    red = drawn[[0, 0, 23, 23], [0, 31, 0, 31], 0]
    assert (np.diff(red) > 0.1).all()
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 4  # four flat cells
    (outline,) = ax.collections[0].get_paths()
    assert outline.vertices[:, 1] == pytest.approx(11.5)  # between the rows 0.4 and 0.6


def test_attention_shows_cells_and_what_is_allowed() -> None:
    weights = torch.tensor([[0.1, 0.2, 0.0], [0.1, 0.6, 0.0]])
    ax = axes()
    plots.draw_attention(ax, photo(24, 33), weights.requires_grad_(), allowed=weights > 0.1)
    assert len(ax.collections) == 1
    assert ax.collections[0].get_paths()[0].vertices[:, 0].min() == pytest.approx(10.5)
    flat = torch.full((3, 24, 33), 100, dtype=torch.uint8)
    plots.draw_attention(ax := axes(), flat, weights)
    assert not ax.collections
    brightness = pixels(ax).sum(axis=-1)
    assert np.unravel_index(brightness.argmax(), (24, 33)) == (12, 11)
    assert np.ptp(brightness[12:, 11:22]) == 0


def test_curves_are_labelled_at_their_ends_without_overlap() -> None:
    x = np.arange(10)
    curves = {"loss": (x, x * 0.1), "other": (x, x * 0.1 + 0.001), "broken": (x, x * np.nan)}
    stopped = np.where(x < 5, 0.3, np.nan)
    ax = axes()
    plots.draw_curves(ax, curves | {"stopped": (torch.tensor(x), stopped)}, "step", "loss")
    assert ax.get_xlabel() == "step" and ax.get_ylabel() == "loss"
    labels = {text.get_text(): text for text in ax.texts}
    assert set(labels) == {"loss", "other", "stopped"}
    assert labels["stopped"].xy == (4, 0.3)
    places = {name: ax.transData.transform(text.xy)[1] for name, text in labels.items()}
    lifts = {name: text.xyann[1] * ax.figure.dpi / 72 for name, text in labels.items()}
    apart = places["other"] + lifts["other"] - places["loss"] - lifts["loss"]
    assert apart * 72 / ax.figure.dpi == pytest.approx(11)
    assert len({str(line._dash_pattern) for line in ax.lines}) == 4


# ------------------------------------------------------------------------- pages


def row(kinds: tuple = ("truth", "semantic", "instance", "panoptic")) -> dict:
    ids, segments = street()
    masks = torch.stack([ids == 3, ids == 4])
    drawn = {kind: (ids, segments) for kind in kinds} | {"image": photo()}
    return drawn | ({"instance": (masks, segments[2:])} if "instance" in kinds else {})


def test_compare_has_a_row_per_picture_and_one_legend() -> None:
    fig = plots.compare([row(), row()], CATEGORIES)
    assert len(fig.axes) == 2 * 5
    titles = [ax.get_title() for ax in fig.axes]
    assert titles == ["image", "truth", "semantic", "instance", "panoptic"] + [""] * 5
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["car", "sky", "road"]
    assert to_rgb(legend.get_patches()[0].get_facecolor()) == plots.query_color(0)


def test_compare_draws_what_there_is() -> None:
    fig = plots.compare([row(("panoptic",))], CATEGORIES)
    assert [ax.get_title() for ax in fig.axes] == ["image", "panoptic"]


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_compare_draws_one_result(task) -> None:
    ids, segments = street()
    masks = np.stack([ids.numpy() == s["id"] for s in segments])
    drawn = masks if task == "instance" else ids.numpy()
    fig = plots.compare([{"image": photo(), task: (drawn, segments)}], CATEGORIES, size=5.0)
    assert [ax.get_title() for ax in fig.axes] == ["image", task]
    assert {text.split("\n")[0] for text in texts(fig.axes[1])} >= {"car", "road", "sky"}


def test_contact_sheet_has_the_truth_beneath_each_picture() -> None:
    ids, segments = street()
    samples = [
        Sample.from_panoptic(photo(), ids, segments, CATEGORIES, k, f"{k}.png") for k in range(5)
    ]
    fig = plots.contact_sheet(samples, CATEGORIES, columns=3)
    filled = [ax for ax in fig.axes if ax.images]
    assert len(filled) == 2 * 5
    picture = filled[0]
    beneath = [ax for ax in filled if ax.collections]
    assert len(beneath) == 5
    assert beneath[0].get_position().x0 == pytest.approx(picture.get_position().x0)
    assert beneath[0].get_position().y1 < picture.get_position().y0
    assert len(fig.legends) == 1


def test_save_writes_the_whole_file_or_none(tmp_path) -> None:
    fig = plots.compare([row(("truth",))], CATEGORIES)
    path = tmp_path / "new" / "folder" / "demo.png"
    assert plots.save(fig, path, dpi=50) == path
    small = Image.open(path).size
    plots.save(fig, str(path), dpi=100)
    assert Image.open(path).width == pytest.approx(2 * small[0], abs=2)
    with pytest.raises(ValueError):
        plots.save(fig, path.with_suffix(".nonsense"))
    assert [file.name for file in path.parent.iterdir()] == ["demo.png"]


# ------------------------------------------------------------------------- odd and wrong input


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (24, 32), (300, 400)])
def test_nothing_and_little_can_be_drawn(shape) -> None:
    image, void, one = photo(*shape), np.zeros(shape, int), np.ones(shape, int)
    for ids, segments in ((void, []), (void, [SKY]), (one, [SKY])):
        plots.draw_segments(axes(), image, ids, segments, CATEGORIES)
        masks = np.stack([ids == 1] * len(segments)) if segments else np.zeros((0, *shape), bool)
        plots.draw_instances(axes(), image, masks, segments, CATEGORIES)
        fig = plots.compare([{"image": image, "truth": (ids, segments)}], CATEGORIES)
        fig.canvas.draw()
    plots.draw_mask(axes(), image, np.zeros((1, 1), bool), plots.query_color(0))
    plots.draw_attention(axes(), image, np.zeros((1, 1)), allowed=np.ones((1, 1), bool))
    plots.draw_curves(axes(), {}, "x", "y")


def test_input_is_not_changed() -> None:
    given = [row(), row()]
    image, (ids, segments) = photo(), street()
    before = copy.deepcopy((given, image, ids, segments, CATEGORIES))
    plots.compare(given, CATEGORIES)
    weights = torch.rand(3, 4)
    kept = weights.clone()
    plots.draw_mask(axes(), image, weights, "red")
    plots.draw_attention(axes(), image, weights, allowed=weights > 0.5)
    array = image.permute(1, 2, 0).numpy()
    plots.draw_segments(axes(), array, ids.numpy(), segments, CATEGORIES)
    plots.draw_instances(axes(), array, np.stack([ids == 1]), segments[:1], CATEGORIES)
    assert torch.equal(weights, kept) and torch.equal(image, before[1])
    assert torch.equal(ids, before[2]) and (segments, CATEGORIES) == before[3:]
    for now, then in zip(given, before[0]):
        assert torch.equal(now["image"], then["image"])
        for kind in ("truth", "semantic", "instance", "panoptic"):
            assert torch.equal(now[kind][0], then[kind][0]) and now[kind][1] == then[kind][1]


@pytest.mark.parametrize("categories", [(), [{"id": k} for k in range(200)]])
def test_classes_without_names_are_numbered(categories) -> None:
    image, (ids, segments) = photo(), street()
    ax = axes(6.0)
    plots.draw_segments(ax, image, ids, segments, categories)
    assert {"class 187", "class 149", "class 3"} <= set(texts(ax))
    ax = axes(6.0)
    plots.draw_instances(ax, image, torch.stack([ids == 1]), [SKY | {"score": 0.5}], categories)
    assert texts(ax)[0].startswith("class 187")
    fig = plots.compare([{"image": image, "truth": (ids, segments)}], categories)
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend == ["class 3", "class 149", "class 187"]
    nothing = plots.compare([{"image": image, "truth": (ids * 0, [])}], categories)
    assert not nothing.legends[0].get_texts()


def test_wrong_input_is_refused_in_a_sentence() -> None:
    image, (ids, segments) = photo(), street()
    with pytest.raises(ValueError, match="uint8"):
        plots.draw_image(axes(), image / 255)
    with pytest.raises(ValueError, match=r"\(24, 32\)"):
        plots.draw_image(axes(), image[0])
    with pytest.raises(ValueError, match="as large as the image"):
        plots.draw_segments(axes(), image, ids[:5], segments, CATEGORIES)
    with pytest.raises(ValueError, match=r"ids \[4\]"):
        plots.draw_segments(axes(), image, ids, segments[:3], CATEGORIES)
    with pytest.raises(ValueError, match="category id 149"):
        plots.draw_segments(axes(), image, ids, segments, CATEGORIES[:2])
    with pytest.raises(ValueError, match="one for each segment"):
        plots.draw_instances(axes(), image, torch.stack([ids == 3]), segments, CATEGORIES)
    with pytest.raises(ValueError, match="sigmoid"):
        plots.draw_mask(axes(), image, torch.tensor([[-3.0, 5.0]]), "red")
    with pytest.raises(ValueError, match="NaN"):
        plots.draw_attention(axes(), image, torch.full((2, 2), torch.nan))

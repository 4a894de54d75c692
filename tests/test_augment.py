"""A picture and its truth move together, by the published numbers, and only by the given dice."""

from __future__ import annotations

import colorsys
import copy
import dataclasses
import json
import random

import numpy as np
import pytest
import torch
from PIL import Image

from minim2f.data.augment import (
    color_jitter,
    drop_empty,
    flip,
    large_scale_jitter,
    random_crop,
    resize,
    resize_and_crop,
)
from minim2f.data.sample import Sample
from minim2f.data.scenes import Scenes

CATEGORIES = [{"id": 7, "name": "a", "isthing": 1}, {"id": 9, "name": "b", "isthing": 0}]


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tint(ids: torch.Tensor) -> torch.Tensor:
    """An image (3, H, W) whose colours are the ids, and grey 128 where they are void."""
    colour = torch.stack([ids % 256, ids // 256 % 256, ids // 65536]).to(torch.uint8)
    return torch.where(ids == 0, torch.tensor(128, dtype=torch.uint8), colour)


def panoptic(height: int = 60, width: int = 90) -> Sample:
    """Blocks of 30 x 30 pixels with ids of all three bytes; the fourth is void, the fifth a crowd.

    Each block is smaller at the lower right, where the picture ends.
    """
    colours = [(200, 10, 30), (20, 220, 90), (60, 5, 250), (0, 0, 0), (240, 230, 0), (9, 90, 180)]
    blocks = torch.tensor([r + 256 * g + 65536 * b for r, g, b in colours])
    ys, xs = torch.arange(height) // 30, torch.arange(width) // 30
    ids = blocks[(ys[:, None] * 3 + xs) % 6]
    segments = [
        {"id": id, "category_id": 7, "iscrowd": int(k == 4)}
        for k, id in enumerate(blocks.tolist())
        if id and (ids == id).any()
    ]
    return Sample.from_panoptic(tint(ids), ids, segments, CATEGORIES, 5, "blocks.png")


def overlapping() -> Sample:
    """Two instances that overlap; the later one is drawn over the first."""
    masks = torch.zeros(2, 40, 40, dtype=torch.bool)
    masks[0, 5:25, 5:25] = True
    masks[1, 15:35, 15:35] = True
    ids = torch.where(masks[1], 2, masks[0].long())
    rle = {"size": [40, 40], "counts": "0"}
    segments = [
        {"id": k, "category_id": 7, "iscrowd": 0, "area": 400, "segmentation": rle} for k in (1, 2)
    ]
    labels = torch.zeros(2, dtype=torch.int64)
    return Sample(tint(ids), labels, masks, ids, segments, 5, "two.png")


def crop_pad(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """A window of the picture at its own size."""
    return resize_and_crop(sample, tuple(sample.ids.shape), top, left, (height, width))


def nothing(height: int = 20, width: int = 30) -> Sample:
    ids = torch.zeros(height, width, dtype=torch.int64)
    return Sample.from_panoptic(tint(ids), ids, [], CATEGORIES, 5, "void.png")


EVERY_CHANGE = {
    "flip": lambda sample, g: flip(sample),
    "larger": lambda sample, g: resize(sample, 77, 131),
    "smaller": lambda sample, g: resize(sample, 13, 17),
    "window": lambda sample, g: crop_pad(sample, -4, -3, 40, 50),
    "jitter": lambda sample, g: large_scale_jitter(sample, 64, g),
    "crop": lambda sample, g: random_crop(sample, (40, 48), g),
    "color": color_jitter,
}
every_change = pytest.mark.parametrize("change", EVERY_CHANGE.values(), ids=list(EVERY_CHANGE))


def same(a: Sample, b: Sample) -> bool:
    maps = ("image", "labels", "masks", "ids")
    return all(torch.equal(getattr(a, m), getattr(b, m)) for m in maps) and (
        (a.segments, a.image_id, a.file_name) == (b.segments, b.image_id, b.file_name)
    )


# --- every change ------------------------------------------------------------------------------


@every_change
@pytest.mark.parametrize("seed", range(4))
def test_masks_ids_and_segments_say_the_same(change, seed):
    before = panoptic()
    after = change(before, dice(seed))
    trained = [s["id"] for s in before.segments if not s["iscrowd"]]
    assert after.image.shape[1:] == after.ids.shape == after.masks.shape[1:]
    assert torch.equal(after.labels, before.labels)
    for mask, id in zip(after.masks, trained, strict=True):
        assert torch.equal(mask, after.ids == id)
    if change is not color_jitter:  # it leaves the listed segments alone
        assert {s["id"] for s in after.segments} == set(after.ids.unique().tolist()) - {0}
        assert json.loads(json.dumps(after.segments)) == after.segments
        for segment in after.segments:
            ys, xs = np.nonzero(after.ids.numpy() == segment["id"])
            box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert (segment["area"], segment["bbox"]) == (len(xs), box)
            assert segment["category_id"] == 7


@every_change
def test_types_stay_and_the_input_is_left_alone(change):
    for before in (panoptic(), overlapping(), Scenes("train", length=1)[0]):
        kept = copy.deepcopy(before)
        after = change(before, dice())
        assert same(before, kept)
        for name in ("image", "masks", "ids"):
            assert getattr(after, name).dtype == getattr(before, name).dtype
        assert (after.image_id, after.file_name) == (before.image_id, before.file_name)


@every_change
def test_only_the_given_generator_decides(change):
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = change(panoptic(), dice(3))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[1:]
    torch.manual_seed(2), random.seed(2), np.random.seed(2)
    assert same(first, change(panoptic(), dice(3)))


@pytest.mark.parametrize("name", ["jitter", "crop", "color"])
def test_other_dice_give_another_picture(name):
    results = [EVERY_CHANGE[name](panoptic(), dice(seed)).image for seed in range(4)]
    assert any(not torch.equal(results[0], other) for other in results[1:])


@every_change
def test_pictures_at_the_edge_of_reason(change):
    grey = panoptic()
    grey.image = torch.full_like(grey.image, 90)
    for sample in (nothing(), nothing(1, 1), panoptic(1, 1), panoptic(2, 3000), grey):
        for seed in range(8):
            after = change(sample, dice(seed))
            assert after.masks.shape == (len(sample.masks), *after.image.shape[1:])
            assert after.ids.max() > 0 or not after.segments
    assert change(nothing(), dice()).labels.shape == (0,)


@every_change
def test_overlapping_masks_still_overlap(change):
    after = change(overlapping(), dice(1))
    assert (after.masks[0] & after.masks[1]).any()
    assert (after.masks[0] & (after.ids == 2)).any()  # ids show one of them only
    if change is not color_jitter:
        assert not any("segmentation" in segment for segment in after.segments)


@pytest.mark.parametrize("name", ["larger", "smaller", "window", "jitter", "crop", "flip"])
@pytest.mark.parametrize("seed", range(6))
def test_the_truth_lies_where_the_image_shows_it(name, seed):
    """Colours are ids: they may differ on the line between two blocks, and nowhere else."""
    after = EVERY_CHANGE[name](panoptic(), dice(seed))
    ids = np.pad(after.ids.numpy(), 2, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(ids, (5, 5))
    inside = torch.from_numpy((around == after.ids.numpy()[..., None, None]).all((2, 3)))
    assert inside.any()
    assert torch.equal(after.image[:, inside], tint(after.ids)[:, inside])


# --- one by one --------------------------------------------------------------------------------


def test_flip_mirrors_and_twice_is_nothing():
    before = resize(panoptic(), 50, 70)  # with area and bbox
    after = flip(before)
    assert torch.equal(after.image[:, 4, 0], before.image[:, 4, -1])
    assert torch.equal(after.ids[4, 0], before.ids[4, -1])
    assert same(flip(after), before)


def test_a_scene_measured_again_is_listed_as_before():
    scene = Scenes("train", length=1)[0]
    assert same(flip(flip(scene)), scene)
    assert same(resize(scene, *scene.ids.shape), scene)
    assert same(crop_pad(scene, 0, 0, *scene.ids.shape), scene)


@pytest.mark.parametrize("size", [(31, 47), (96, 96), (150, 201), (9, 300)])
def test_resize_is_pillows(size):
    """detectron2 resizes with Pillow: bilinear with antialias, and nearest for the truth."""
    scene = Scenes("train", length=1)[0]
    after = resize(scene, *size)
    image = Image.fromarray(scene.image.permute(1, 2, 0).numpy())
    theirs = np.array(image.resize(size[::-1], Image.BILINEAR), np.int16)
    assert np.abs(after.image.permute(1, 2, 0).numpy() - theirs).max() <= 1
    ids = Image.fromarray(scene.ids.numpy().astype(np.int32))
    differ = after.ids.numpy() != np.array(ids.resize(size[::-1], Image.NEAREST))
    # Halfway between two pixels both are nearest, and Pillow's choice is a matter of rounding.
    ys, xs = (96 * (2 * np.arange(length) + 1) % (2 * length) == 0 for length in size)
    assert not differ[~ys][:, ~xs].any() and (~ys).mean() > 0.6 and (~xs).mean() > 0.6


def test_window_by_hand():
    ids = torch.tensor([[1, 1, 2], [1, 1, 2]])
    segments = [{"id": 1, "category_id": 7}, {"id": 2, "category_id": 9, "segmentation": "rle"}]
    image = torch.arange(18, dtype=torch.uint8).view(3, 2, 3)
    before = Sample.from_panoptic(image, ids, segments, CATEGORIES, 5, "six.png")
    after = crop_pad(before, -1, 1, 2, 3)
    assert after.ids.tolist() == [[0, 0, 0], [1, 2, 0]]
    assert after.image[1].tolist() == [[128, 128, 128], [7, 8, 128]]
    assert after.masks.tolist() == [
        [[False, False, False], [True, False, False]],
        [[False, False, False], [False, True, False]],
    ]
    assert after.segments == [
        {"id": 1, "category_id": 7, "area": 1, "bbox": [0, 1, 1, 1]},
        {"id": 2, "category_id": 9, "area": 1, "bbox": [1, 1, 1, 1]},
    ]


def test_what_the_window_leaves_out():
    """The mask stays, empty, until drop_empty; the listed segment goes at once."""
    before = panoptic(30, 60)  # two blocks side by side
    after = crop_pad(before, 0, 30, 30, 30)
    assert [len(after.labels), len(after.masks), len(after.segments)] == [2, 2, 1]
    assert after.masks.flatten(1).sum(1).tolist() == [0, 900]
    left = drop_empty(after)
    assert [len(left.labels), len(left.masks), len(left.segments)] == [1, 1, 1]
    assert torch.equal(left.masks[0], after.masks[1])
    assert same(drop_empty(left), left)
    assert drop_empty(nothing()).masks.shape == (0, 20, 30)


@pytest.mark.parametrize("place", [(60, 0), (-10, 0), (0, 90), (0, -20)])
def test_a_window_beside_the_picture_is_refused(place):
    with pytest.raises(ValueError, match="shows nothing of a picture of .60, 90."):
        crop_pad(panoptic(), *place, 10, 20)


def test_sizes_that_cannot_be_are_refused():
    for wrong in (
        lambda: resize(panoptic(), 0, 5),
        lambda: crop_pad(panoptic(), 0, 0, 5, -1),
        lambda: large_scale_jitter(panoptic(), 0, dice()),
        lambda: random_crop(panoptic(), (5, 0), dice()),
        lambda: random_crop(panoptic(), (5, 5), dice(), short_side=0),
    ):
        with pytest.raises(ValueError, match="1 (pixel )?is the least"):
            wrong()
    for range in ((0, 1), (2, 1)):
        with pytest.raises(ValueError, match="0 < low <= high"):
            large_scale_jitter(panoptic(), 8, dice(), *range)


# --- the published recipes ---------------------------------------------------------------------


def test_large_scale_jitter_covers_the_range_of_scales():
    """A white picture of 64 x 32 in a window of 64: the longer side shows the scale, up to 1."""
    white = nothing(64, 32)
    white.image.fill_(255)
    generator = dice()
    shown = [(large_scale_jitter(white, 64, generator).image[0] == 255) for _ in range(600)]
    heights = torch.tensor([mask.any(1).sum() for mask in shown]) / 64
    widths = torch.tensor([mask.any(0).sum() for mask in shown]) / 64
    assert abs(heights.min() - 0.1) < 0.02
    assert abs((heights < 1).float().mean() - 0.9 / 1.9) < 0.06  # uniform from 0.1 to 2
    assert abs(((0.5 <= heights) & (heights < 0.75)).float().mean() - 0.25 / 1.9) < 0.05
    assert widths.max() == 1 and widths[heights < 1].max() <= 0.5  # the aspect stays
    assert all(mask[0, 0] for mask in shown)  # padded on the right and below only


def test_large_scale_jitter_draws_one_share_for_both_axes():
    """The image's colours are its coordinates, so a crop of it tells where it was taken."""
    line = torch.arange(256, dtype=torch.uint8)
    rows, columns = line[:, None].expand(256, 256), line[None].expand(256, 256)
    sample = nothing(256, 256)
    sample.image = torch.stack([rows, columns, rows])
    generator = dice()
    corners = torch.stack(
        [
            large_scale_jitter(sample, 256, generator, low=2, high=2).image[:2, 0, 0]
            for _ in range(60)
        ]
    ).int()
    assert torch.equal(corners[:, 0], corners[:, 1])
    assert corners.min() < 15 and corners.max() > 113  # of 0 ... 128


def test_large_scale_jitter_at_scale_one_fits_the_window():
    after = large_scale_jitter(panoptic(60, 90), 45, dice(), low=1, high=1)
    assert same(after, crop_pad(resize(panoptic(60, 90), 30, 45), 0, 0, 45, 45))


def test_random_crop_takes_sixteen_scales():
    """A white picture of 40 x 40 in a window of 100 shows its resized side, where it is smaller."""
    white = nothing(40, 40)
    white.image.fill_(255)
    generator = dice()
    crops = [random_crop(white, (100, 100), generator, short_side=50) for _ in range(300)]
    sides = [(crop.image[0] == 255).any(0).sum().item() for crop in crops]
    assert set(sides) == {25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100}
    assert all(crop.image[0, 0, 0] == 255 for crop in crops)
    padded = crops[sides.index(25)]
    assert (padded.image[:, 25:] == 128).all() and (padded.image[:, :, 25:] == 128).all()


def test_random_crop_measures_by_the_windows_shorter_side():
    sizes = {random_crop(panoptic(), (16, 32), dice(seed)).image.shape for seed in range(20)}
    assert sizes == {(3, 16, 32)}
    white = nothing(40, 10)
    white.image.fill_(255)
    generator = dice()
    crops = [random_crop(white, (200, 20), generator).image[0] == 255 for _ in range(200)]
    heights = {crop.any(1).sum().item() for crop in crops}
    assert min(heights) == 40 and max(heights) == 80  # 4 times 20 at most, not 4 times 2.0 * 20


def test_random_crop_draws_both_places():
    line = torch.arange(200, dtype=torch.uint8)
    rows, columns = line[:, None].expand(200, 200), line[None].expand(200, 200)
    sample = nothing(200, 200)
    sample.image = torch.stack([rows, columns, rows])
    corners = [random_crop(sample, (20, 20), dice(n), 200).image[:2, 0, 0] for n in range(80)]
    rows, columns = torch.stack(corners).float().T
    assert abs(torch.corrcoef(torch.stack([rows, columns]))[0, 1]) < 0.5


def hsv(image: torch.Tensor) -> np.ndarray:
    """(N, 3): hue, saturation, value of each pixel, by Python's own colorsys."""
    return np.array([colorsys.rgb_to_hsv(*p) for p in (image / 255).flatten(1).T.tolist()])


def test_color_jitter_leaves_one_picture_in_sixteen_alone():
    before = panoptic(4, 4)
    after = [color_jitter(before, dice(seed)) for seed in range(400)]
    for sample in after:
        assert same(dataclasses.replace(sample, image=before.image), before)
    untouched = np.mean([torch.equal(sample.image, before.image) for sample in after])
    assert abs(untouched - 1 / 16) < 0.04


def test_color_jitter_of_grey_is_grey_within_the_published_range():
    """Saturation and hue mean nothing to grey: (100 +- 32) * (0.5 ... 1.5) is left."""
    grey = nothing(1, 1)
    grey.image = torch.full_like(grey.image, 100)
    results = torch.stack([color_jitter(grey, dice(seed)).image.flatten() for seed in range(1500)])
    assert (results == results[:, :1]).all()
    assert 34 <= results.min() <= 50 and 180 <= results.max() <= 198


def test_color_jitter_clips():
    for value in (0, 255):
        flat = nothing(2, 2)
        flat.image = torch.full_like(flat.image, value)
        results = torch.stack([color_jitter(flat, dice(seed)).image for seed in range(100)])
        assert (results == value).float().mean() > 0.3
        assert (results.float() - value).abs().max() < 160  # nothing wraps around


def test_hue_turns_by_36_degrees_at_most_and_saturation_by_half():
    """A colour far from the clips: hue moves by the jitter alone, and so does saturation.

    Brightness changes saturation too; contrast does not. So pictures of unchanged value are taken.
    """
    pixel = nothing(1, 1)
    pixel.image = torch.tensor([150, 100, 80], dtype=torch.uint8).view(3, 1, 1)
    before = hsv(pixel.image)[0]
    after = np.array([hsv(color_jitter(pixel, dice(seed)).image)[0] for seed in range(1500)])
    turned = (after[:, 0] - before[0] + 0.5) % 1 - 0.5
    assert 0.09 < turned.max() < 0.105 and -0.105 < turned.min() < -0.09
    assert abs((np.abs(turned) < 0.004).mean() - 0.5) < 0.07  # half of them keep their hue
    ratio = after[after[:, 2] == before[2]][:, 1] / before[1]
    assert 0.48 < ratio.min() < 0.55 and 1.45 < ratio.max() < 1.52


def test_saturation_is_hsvs():
    from minim2f.data.color import _saturation

    image = torch.randint(0, 256, (3, 20, 20), generator=dice(), dtype=torch.uint8)
    image[:, 0] = 0
    for seed in range(6):
        hue, saturation, value = hsv(image).T
        factor = 0.5 + torch.rand((), generator=dice(seed)).item()
        wanted = np.minimum(saturation * factor, 1)
        theirs = [colorsys.hsv_to_rgb(*p) for p in zip(hue, wanted, value)]
        ours = _saturation(image / 255, dice(seed)).flatten(1).T
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)

"""One prediction read three ways, on hand-computed cases; odd pictures; files."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import minim2f
from minim2f.data.images import to_image
from minim2f.inference import as_result, instances, panoptic, semantic_scores
from minim2f.ops import enlarge, reference
from minim2f.ops.enlarge import Enlarged
from minim2f.prediction import predict, predict_many, predict_masks

THINGS = torch.tensor([True, False])  # class 0 is a thing, class 1 is stuff
IN, OUT = 9.0, -9.0  # mask logits well inside and outside


def classes(*rows):
    """Logits whose softmax is the given probabilities."""
    return torch.tensor(rows).log()


def half(*columns):
    """(4, 4) mask logits, inside at the given columns."""
    mask = torch.full((4, 4), OUT)
    mask[:, list(columns)] = IN
    return mask


# ---- semantic --------------------------------------------------------------------------------


def test_semantic_sums_class_times_mask_without_no_object():
    scores = semantic_scores(
        classes([0.5, 0.2, 0.3], [0.1, 0.8, 0.1]), torch.tensor([[[0.0]], [[IN]]])
    )
    inside = 1 / (1 + np.exp(-IN))
    assert scores[:, 0, 0].tolist() == pytest.approx([0.25 + 0.1 * inside, 0.1 + 0.8 * inside])


# ---- instance --------------------------------------------------------------------------------


def test_instances_may_repeat_a_query_and_score_class_times_mask():
    logits = torch.stack([half(0, 1), torch.full((4, 4), 0.1)])
    scores, labels, masks = instances(classes([0.6, 0.3, 0.1], [0.05, 0.2, 0.75]), logits, top_k=3)
    assert labels.tolist() == [0, 1, 1]
    inside, weak = 1 / (1 + np.exp(-IN)), 1 / (1 + np.exp(-0.1))
    assert scores.tolist() == pytest.approx([0.6 * inside, 0.3 * inside, 0.2 * weak], rel=1e-5)
    assert (
        torch.equal(masks[0], half(0, 1) > 0) and torch.equal(masks[1], masks[0]) and masks[2].all()
    )


def test_instances_keep_things_after_the_top_k_were_chosen():
    logits = torch.stack([half(0), half(1)])
    scores, labels, _ = instances(classes([0.1, 0.8, 0.1], [0.3, 0.6, 0.1]), logits, 3, THINGS)
    assert labels.tolist() == [0]  # of the three best pairs only one is a thing
    assert scores[0].item() == pytest.approx(0.3, rel=1e-3)


def test_an_empty_mask_scores_zero():
    scores, _, masks = instances(classes([0.9, 0.05, 0.05]), torch.full((1, 4, 4), OUT), 1)
    assert scores.tolist() == [0] and not masks.any()


# ---- panoptic --------------------------------------------------------------------------------


def test_panoptic_on_a_hand_made_picture():
    """Two things, one of them unsure, and stuff in two pieces that becomes one segment."""
    rows = classes(
        [0.9, 0.05, 0.05],  # thing on column 0
        [0.7, 0.2, 0.1],  # thing on column 1, below 0.8: left out
        [0.03, 0.94, 0.03],  # stuff on column 2
        [0.05, 0.85, 0.1],  # stuff on column 3: merged
        [0.05, 0.05, 0.9],  # no object
    )
    logits = torch.stack([half(0), half(1), half(2), half(3), half(0, 1, 2, 3)])
    ids, segments = panoptic(rows, logits, THINGS)
    assert ids.tolist() == [[1, 0, 2, 2]] * 4
    assert [(s["id"], s["class"], s["isthing"]) for s in segments] == [(1, 0, True), (2, 1, False)]
    assert [s["score"] for s in segments] == pytest.approx([0.9, 0.94])


def test_two_things_of_a_class_stay_two():
    rows = classes([0.9, 0.05, 0.05], [0.9, 0.05, 0.05])
    ids, _ = panoptic(rows, torch.stack([half(0, 1), half(2, 3)]), THINGS)
    assert ids.tolist() == [[1, 1, 2, 2]] * 4


def test_a_query_that_loses_more_than_a_fifth_of_its_mask_is_dropped():
    sure, hidden = [0.95, 0.03, 0.02], [0.85, 0.1, 0.05]
    rows = classes(sure, hidden)
    ids, segments = panoptic(rows, torch.stack([half(0, 1), half(1, 2, 3)]), THINGS)
    assert ids.tolist() == [[1, 1, 0, 0]] * 4 and len(segments) == 1  # kept 2 of 3 columns: 0.67
    ids, segments = panoptic(rows, torch.stack([half(0, 1), half(1, 2, 3)]), THINGS, 0.8, 0.6)
    assert ids.tolist() == [[1, 1, 2, 2]] * 4


def test_won_pixels_below_one_half_stay_void():
    logits = torch.full((1, 4, 4), -0.5)  # nobody else competes, so the query wins all pixels
    logits[0, :, :2] = IN
    ids, _ = panoptic(classes([0.9, 0.05, 0.05]), logits, THINGS)
    assert ids.tolist() == [[1, 1, 0, 0]] * 4


def test_nothing_found_is_all_void():
    ids, segments = panoptic(classes([0.1, 0.1, 0.8]), half(0)[None], THINGS)
    assert not ids.any() and segments == []


# ---- segment ---------------------------------------------------------------------------------

CATEGORIES = (
    {"id": 3, "name": "car", "isthing": 1},
    {"id": 187, "name": "sky-other-merged", "isthing": 0},
    {"id": 193, "name": "grass-merged", "isthing": 0},
)


@pytest.fixture(scope="module")
def model():
    """Random, but so sure of itself that each way of reading it finds something."""
    torch.manual_seed(1)
    model = minim2f.Mask2Former(minim2f.preset("tiny", num_classes=3, categories=CATEGORIES)).eval()
    model.decoder.class_head.weight.data *= 40
    model.decoder.class_head.bias.data[-1] = -20
    return model


def picture(height=70, width=101):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_results_describe_their_own_maps(model, task):
    result = minim2f.segment(model, picture(), task=task)
    if (
        task == "panoptic"
    ):  # queries of a random model win too little of their masks: let one win all
        one = dataclasses.replace(model.config, num_queries=1)
        torch.manual_seed(1)
        sure = minim2f.Mask2Former(one)
        sure.decoder.class_head.bias.data[0] = 20
        sure.decoder.mask_head[-1].weight.data.zero_()
        sure.pixel_decoder.mask_features.bias.data.fill_(1e3)
        sure.decoder.mask_head[-1].bias.data.fill_(1.0)
        result = minim2f.segment(sure, picture(), task=task)
    assert result.ids.shape == (70, 101) and result.ids.dtype == np.int32
    assert result.segments
    known = {c["id"]: c for c in CATEGORIES}
    for segment, mask in zip(result.segments, result.masks, strict=True):
        assert segment["area"] == mask.sum() > 0
        x, y, w, h = segment["box"]
        assert mask[y : y + h, x : x + w].sum() == mask.sum()
        assert (
            mask[y].any()
            and mask[:, x].any()
            and mask[y + h - 1].any()
            and mask[:, x + w - 1].any()
        )
        assert 0 <= segment["score"] <= 1
        assert segment["isthing"] == bool(known[segment["category_id"]]["isthing"])
        if task != "instance":
            assert ((result.ids == segment["id"]) == mask).all()
    assert set(np.unique(result.ids)) <= {0} | {s["id"] for s in result.segments}
    if task == "semantic":
        assert result.ids.all() and len({s["category_id"] for s in result.segments}) == len(
            result.segments
        )
    if task == "instance":
        scores = [s["score"] for s in result.segments]
        assert scores == sorted(scores, reverse=True)
        assert all(s["isthing"] for s in result.segments)


# ---- by strips of rows -----------------------------------------------------------------------


def whole_semantic(class_logits, mask_logits):
    """What each way of reading means, written down for full-size maps that are all there."""
    scores = semantic_scores(class_logits, mask_logits)
    labels = scores.argmax(0)
    share = scores.max(0).values / scores.sum(0)
    present = labels.unique()
    found = [(k, share[labels == k].double().mean().item()) for k in present.tolist()]
    return labels == present[:, None, None], found


def whole_instance(class_logits, mask_logits, top_k=100):
    p = class_logits.softmax(-1)[:, :-1]
    scores, order = p.flatten().topk(min(top_k, p.numel()))
    queries, labels = order // p.shape[1], order % p.shape[1]
    scores, queries, labels = (t[labels == 0] for t in (scores, queries, labels))  # the thing
    logits = mask_logits[queries].double()
    masks = logits > 0
    inside = (logits.sigmoid() * masks).sum((1, 2)) / (masks.sum((1, 2)) + 1e-6)
    scores, order = (scores * inside).sort(descending=True, stable=True)
    masks, labels = masks[order], labels[order]
    kept = masks.flatten(1).any(1)
    return masks[kept], list(zip(labels[kept].tolist(), scores[kept].tolist()))


def whole_panoptic(class_logits, mask_logits):
    scores, labels = class_logits.softmax(-1).max(-1)
    kept = (labels < class_logits.shape[-1] - 1) & (scores > 0.8)
    scores, labels, masks = scores[kept], labels[kept].tolist(), mask_logits[kept].sigmoid()
    winner = (scores[:, None, None] * masks).argmax(0)
    found, stuff = [], {}
    for q, label in enumerate(labels):
        whole, won = masks[q] >= 0.5, winner == q
        if not (won & whole).any() or won.sum().item() / whole.sum().item() < 0.8:
            continue
        if label in stuff:
            mask, _, score = found[stuff[label]]
            found[stuff[label]] = mask | (won & whole), label, max(score, scores[q].item())
            continue
        if label > 0:
            stuff[label] = len(found)
        found.append((won & whole, label, scores[q].item()))
    empty = torch.zeros(0, *mask_logits.shape[1:], dtype=torch.bool)
    masks = torch.stack([mask for mask, _, _ in found]) if found else empty
    return masks, [(label, score) for _, label, score in found]


WHOLE = {"semantic": whole_semantic, "instance": whole_instance, "panoptic": whole_panoptic}


def blobs(seed, h, w, n=12):
    """Class logits, of which most are sure, and small smooth mask logits (n, h, w)."""
    torch.manual_seed(seed)
    class_logits = torch.randn(n, 4) * 6
    coarse = torch.randn(n, 3, 3) * 4 - 1.5
    return class_logits, F.interpolate(coarse[None], size=(h, w), mode="bilinear")[0]


# Padded input, the picture in it, and the picture as it was given: enlarged, reduced, odd, thin.
SIZES = [
    ((96, 128), (96, 128), (96, 128)),
    ((96, 128), (90, 127), (211, 301)),
    ((96, 128), (96, 97), (31, 33)),
    ((32, 352), (7, 333), (10, 500)),
    ((320, 32), (311, 5), (467, 7)),
    ((32, 32), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("rows", [9, 64, 10**6])
@pytest.mark.parametrize("task", WHOLE)
@pytest.mark.parametrize(("padded", "inner", "size"), SIZES)
def test_strips_give_what_the_whole_gives(padded, inner, size, task, rows, monkeypatch):
    monkeypatch.setattr(enlarge, "NUMBERS", 12 * size[1] * rows)
    config, seen = minim2f.preset("tiny", num_classes=3, categories=CATEGORIES), 0
    for seed in range(3):
        class_logits, small = blobs(seed, padded[0] // 4, padded[1] // 4)
        masks = Enlarged(small, padded, inner, size)
        whole = masks.whole()
        for given in (masks, whole):
            result = as_result(class_logits, given, config, task)
            expected, found = WHOLE[task](class_logits, whole)
            assert (result.masks == expected.numpy()).all()
            assert [s["category_id"] for s in result.segments] == [
                CATEGORIES[label]["id"] for label, _ in found
            ]
            scores = [score for _, score in found]
            assert [s["score"] for s in result.segments] == pytest.approx(scores, rel=1e-5)
        seen += len(found)
    assert size == (1, 1) or seen


@pytest.mark.parametrize(("padded", "inner", "size"), SIZES)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_strips_are_two_bilinear_resizings(padded, inner, size, kind, monkeypatch):
    monkeypatch.setattr(enlarge, "NUMBERS", 5 * size[1] * 4)
    small = torch.randn(5, padded[0] // 4, padded[1] // 4, dtype=kind)
    masks, some = Enlarged(small, padded, inner, size), torch.tensor([3, 0])
    large = F.interpolate(small[None], size=padded, mode="bilinear")[..., : inner[0], : inner[1]]
    large = F.interpolate(large, size=size, mode="bilinear")[0]
    tolerance = 1e-5 if kind == torch.float32 else 1e-12
    torch.testing.assert_close(masks.whole(), large, rtol=0, atol=tolerance)
    for rows, logits in masks.strips(some):
        torch.testing.assert_close(logits, large[some, rows], rtol=0, atol=tolerance)
    with reference():
        torch.testing.assert_close(masks.whole(), large, rtol=0, atol=0)


@pytest.mark.parametrize("task", WHOLE)
@pytest.mark.parametrize("size", [(70, 101), (1, 1), (10, 2000), (300, 200)])
def test_segment_reads_what_predict_gives(model, task, size):
    image = picture(*size)
    result = minim2f.segment(model, image, task)
    again = as_result(*predict(model, to_image(image)), model.config, task)
    assert (result.ids == again.ids).all() and (result.masks == again.masks).all()
    assert result.segments == again.segments and result.ids.shape == size


MIXED = [(96, 70), (90, 60), (48, 35), (96, 96), (96, 70), (90, 60), (50, 2)]
TOGETHER = {1: [1] * 7, 2: [2, 1, 1, 2, 1], 3: [3, 1, 2, 1], 9: [3, 1, 2, 1]}


@pytest.mark.parametrize("batch_size", TOGETHER)
def test_neighbours_of_one_padded_size_go_through_together_and_nothing_changes(batch_size):
    model = minim2f.load("tiny")
    scenes = minim2f.data.open_dataset("scenes", "val", length=len(MIXED))
    images = [scene.image[:, :h, :w].contiguous() for scene, (h, w) in zip(scenes, MIXED)]
    together = []
    model.register_forward_pre_hook(lambda _, inputs: together.append(len(inputs[0])))
    found = list(predict_many(model, images, batch_size))
    assert together == TOGETHER[batch_size]
    assert [id(image) for image, _ in found] == [id(image) for image in images]
    segments = 0
    for image, (class_logits, masks) in found:
        alone = predict_masks(model, image)
        torch.testing.assert_close(class_logits, alone[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(masks.whole(), alone[1].whole(), rtol=1e-4, atol=1e-3)
        for task in WHOLE:
            result = as_result(class_logits, masks, model.config, task)
            expected = as_result(*alone, model.config, task)
            assert (result.ids == expected.ids).all()
            segments += len(result.segments)
            for one, other in zip(result.segments, expected.segments, strict=True):
                assert one | {"score": pytest.approx(other["score"], abs=1e-5)} == other
    assert segments > 20


def test_no_picture_is_read_before_its_batch_needs_it(model):
    read = []

    def files():
        for size in MIXED:
            assert not torch.is_inference_mode_enabled()  # who keeps a picture may train on it
            read.append(size)
            yield to_image(picture(*size))

    after = [len(read) for _ in predict_many(model, files(), batch_size=2)]
    assert after == [2, 2, 4, 5, 6, 6, 7]  # one more than the batch where the size changes
    read.clear()
    assert [len(read) for _ in predict_many(model, files())] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_has_a_picture(model, batch_size):
    with pytest.raises(ValueError, match="needs 1 or more"):
        list(predict_many(model, [to_image(picture())], batch_size))


class Largest(TorchDispatchMode):
    """The most numbers that any floating-point tensor had."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                self.numbers = max(self.numbers, tensor.numel())
        return out


@pytest.mark.parametrize("task", WHOLE)
def test_no_full_size_logits_are_made(model, task, monkeypatch):
    monkeypatch.setattr(enlarge, "NUMBERS", 2**14)
    logits = predict_masks(model, to_image(picture(400, 600)))
    with Largest() as largest:
        as_result(*logits, model.config, task)
    assert 0 < largest.numbers < 2 * 2**14  # all of them are 16 x 240,000
    with Largest() as largest:
        logits[1].whole()
    assert largest.numbers == 16 * 240_000


@pytest.mark.parametrize("task", WHOLE)
def test_odd_pictures_and_models(task):
    torch.manual_seed(0)
    plain = minim2f.Mask2Former(minim2f.preset("tiny", num_classes=3))
    for size in ((1, 1), (10, 2000), (2000, 10)):
        result = minim2f.segment(plain, picture(*size), task)
        assert result.ids.shape == size and result.masks.shape == (len(result.segments), *size)
        assert {s["category_id"] for s in result.segments} <= {0, 1, 2}
    plain.decoder.class_head.bias.data[-1] = 1e4  # nothing but "no object"
    result = minim2f.segment(plain, picture(), task, score_threshold=0.5)
    if task != "semantic":
        assert result.segments == [] and not result.ids.any()
        assert result.masks.shape == (0, 70, 101) and result.masks.dtype == bool


def test_score_threshold_and_top_k(model):
    some = minim2f.segment(model, picture(), "instance", score_threshold=0.5)
    assert all(s["score"] >= 0.5 for s in some.segments)
    assert len(minim2f.segment(model, picture(), "instance", top_k=2).segments) <= 2
    assert not minim2f.segment(model, picture(), "panoptic", score_threshold=1.0).segments


def test_without_categories_a_class_index_is_the_category():
    torch.manual_seed(0)
    plain = minim2f.Mask2Former(minim2f.preset("tiny", num_classes=3))
    result = minim2f.segment(plain, picture(), "semantic")
    assert {s["category_id"] for s in result.segments} <= {0, 1, 2}
    assert [c["name"] for c in plain.config.classes] == ["class 0", "class 1", "class 2"]
    assert [c["id"] for c in plain.config.classes] == [0, 1, 2]
    assert all(c["isthing"] for c in plain.config.classes)


def test_classes_are_the_categories_where_there_are_some(model):
    assert model.config.classes == model.config.categories == tuple(CATEGORIES)


def test_train_mode_is_kept_and_does_not_matter(model):
    calm = minim2f.segment(model, picture()).ids
    model.train()
    assert (minim2f.segment(model, picture()).ids == calm).all()
    assert model.training
    model.eval()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (31, 33), (300, 500)])
def test_any_size(model, size):
    assert minim2f.segment(model, picture(*size)).ids.shape == size


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_any_mode_from_file(model, tmp_path, mode):
    image = Image.fromarray(picture(40, 50))
    if mode == "I;16":
        image = Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16) * 257))
    else:
        image = (
            image.convert("RGB").convert(mode) if mode != "LA" else image.convert("L").convert("LA")
        )
    path = tmp_path / ("picture.tiff" if mode == "CMYK" else "picture.png")
    image.save(path)
    assert minim2f.segment(model, path).ids.shape == (40, 50)
    assert minim2f.segment(model, str(path), "semantic").ids.shape == (40, 50)


def test_exif_rotation_is_obeyed(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to show it upright
    Image.fromarray(picture(40, 50)).save(tmp_path / "phone.jpg", exif=exif)
    assert minim2f.segment(model, tmp_path / "phone.jpg").ids.shape == (50, 40)


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_a_broken_file_is_named(model, tmp_path, content):
    path = tmp_path / "holiday.jpg"
    if content is None:
        Image.fromarray(picture()).save(path)
        content = path.read_bytes()[:300]
    path.write_bytes(content)
    with pytest.raises(ValueError, match="holiday.jpg"):
        minim2f.segment(model, path)


def test_mistakes_are_named(model, tmp_path):
    with pytest.raises(ValueError, match="task is 'boxes'"):
        minim2f.segment(model, picture(), task="boxes")
    with pytest.raises(FileNotFoundError, match="nowhere.png"):
        minim2f.segment(model, tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="cannot make an image"):
        minim2f.segment(model, 7)


# ---- checkpoints -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "folder"])
def test_save_and_load_give_the_same_model(model, tmp_path, name):
    file = minim2f.save(model, tmp_path / name)
    again = minim2f.load(tmp_path / name)
    assert again.config == model.config and not again.training
    own = model.state_dict()
    assert all(torch.equal(own[k], v) for k, v in again.state_dict().items())
    assert [f.name for f in file.parent.iterdir()] == [file.name]  # nothing half-written beside it


def test_half_is_half_the_size_and_loads_as_float32(model, tmp_path):
    whole, half = (
        minim2f.save(model, tmp_path / str(h), half=h).stat().st_size for h in (False, True)
    )
    assert half < 0.52 * whole
    assert next(minim2f.load(tmp_path / "True").parameters()).dtype == torch.float32


def test_files_that_do_not_fit_are_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="no model at"):
        minim2f.load(tmp_path / "nowhere")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"junk")
    with pytest.raises(ValueError, match="junk.safetensors is not a whole safetensors file"):
        minim2f.load(junk)
    save_file({"a": torch.zeros(1)}, junk)
    with pytest.raises(ValueError, match="minim2f.save did not write it"):
        minim2f.load(junk)

    file = minim2f.save(model, tmp_path / "m.safetensors")
    tensors = load_file(file)
    tensors["surplus.weight"] = torch.zeros(1)
    tensors["decoder.class_head.bias"] = torch.zeros(9)
    del tensors["decoder.norm.bias"]
    config = json.dumps(dataclasses.asdict(model.config))
    save_file(tensors, file, metadata={"minim2f.config": config})
    with pytest.raises(ValueError) as error:
        minim2f.load(file)
    for part in ("surplus: surplus.weight", "missing: decoder.norm.bias", "(9,) instead of (4,)"):
        assert part in str(error.value)

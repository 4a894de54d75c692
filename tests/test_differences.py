"""Appendix C names real tests, chapters and files; and the small facts that its rows rest on."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import minim2f
from minim2f.book.chapter import NOTEBOOKS, ROOT, Chapter, chapters, in_name
from minim2f.inference import panoptic, semantic_scores
from minim2f.metrics import MeanIoU
from minim2f.prediction import input_size
from minim2f.training.recipe import SEMANTIC, TrainConfig, make_optimizer

# ---- the page --------------------------------------------------------------------------------

TEST = re.compile(r"\[test ([\w ]+)\]\(\.\./tests/(test_\w+\.py)\)")
CELLS = re.compile(r"(?<!\\)\|")


def page() -> Chapter:
    return chapters(numbers=["C"])[0]


@cache
def rows() -> list[list[str]]:
    """The cells of each row, as the page shows them."""
    tables = [
        output["data"]["text/markdown"]
        for cell in page().code
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    ]
    lines = [line for text in tables for line in text.splitlines()[2:]]
    return [[part.strip() for part in CELLS.split(line)[1:-1]] for line in lines]


def sources(row: list[str]) -> list[str]:
    return row[-1].split(" · ")


def test_every_row_speaks_of_all_four_and_names_a_source():
    assert len(rows()) > 70
    for row in rows():
        assert len(row) == 6 and all(row), row
        linked = [word for word in sources(row) if word.startswith("[")]
        assert linked, f"the row {row[0]!r} has neither a test nor a chapter nor a file"
        assert all(word in linked or re.fullmatch(r"\d+|[A-Z]", word) for word in sources(row)), row


def test_every_test_that_is_named_exists():
    named = [pair for row in rows() for pair in TEST.findall(row[-1])]
    assert len(named) == sum(row[-1].count("[test ") for row in rows()) > 60
    for sentence, file in named:
        name = f"test_{sentence.replace(' ', '_')}"
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text("utf-8"), f"{file}: {name}"


def test_every_chapter_that_is_named_is_there_or_planned():
    readme = (ROOT / "README.md").read_text("utf-8")
    for row in rows():
        for word in sources(row):
            if linked := re.fullmatch(r"\[(\d+|[A-Z])\]\((\w+\.ipynb)\)", word):
                assert (NOTEBOOKS / linked[2]).exists(), word
                assert linked[2].startswith(f"{in_name(linked[1])}_"), word
            elif re.fullmatch(r"\d+|[A-Z]", word):
                line = rf"^\| {in_name(word)} \|.*\| planned \|$"
                assert re.search(line, readme, re.MULTILINE), (
                    f"chapter {word} of the row {row[0]!r} is no link: build appendix C again"
                )


def test_each_simplification_of_the_notes_has_a_row():
    ends = [re.search(r"\(([a-j](?:, [a-j])*)\)$", row[0]) for row in rows()]
    letters = {letter for end in ends if end for letter in end[1].split(", ")}
    assert letters == set("abcdefghij")


def test_values_of_transformers_were_read_when_the_page_was_built():
    printed = "".join(o.get("text", "") for cell in page().code for o in cell.outputs)
    assert "values read; other than in" in printed


# ---- ours ------------------------------------------------------------------------------------


def test_pictures_get_the_published_size():
    """detectron2's rule: the shortest side, unless the longest would pass its limit; rounded."""
    config = minim2f.preset("r50")
    assert input_size(480, 640, config) == (800, 1067)
    assert input_size(640, 427, config) == (1199, 800)
    assert input_size(400, 1200, config) == (444, 1333)


def test_the_recipe_is_the_published_one():
    recipe = TrainConfig()
    assert (recipe.steps, recipe.batch_size) == (368_750, 16)
    assert (recipe.learning_rate, recipe.weight_decay) == (1e-4, 0.05)
    assert (recipe.backbone_multiplier, recipe.clip_norm) == (0.1, 0.01)
    assert (recipe.crop, recipe.flip, recipe.warmup) == (1024, 0.5, 0)
    drops = [t for t in range(1, recipe.steps) if recipe.rate(t) < 0.5 * recipe.rate(t - 1)]
    assert np.allclose(drops, [327_778, 355_092], atol=recipe.steps * 5e-4)
    assert (SEMANTIC.steps, SEMANTIC.crop, SEMANTIC.schedule) == (160_000, 512, "poly")


def test_one_of_two_level_embeddings_decays():
    model = minim2f.Mask2Former(minim2f.preset("tiny", pixel_decoder="msdeform"))
    groups = make_optimizer(model, TrainConfig()).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay[id(model.pixel_decoder.level_embed)] == 0.05
    assert decay[id(model.decoder.level_embed.weight)] == 0


def test_an_invented_class_lowers_miou():
    """detectron2 takes the mean over the classes of the truth: 0.75 here, where ours is half."""
    quality = MeanIoU([{"id": 1}, {"id": 2}])
    one, two = {"id": 1, "category_id": 1}, {"id": 2, "category_id": 2}
    quality.update(np.array([[1, 1, 1, 2]]), [one, two], np.array([[1, 1, 1, 1]]), [one])
    assert quality.compute()["miou"] == pytest.approx(0.75 / 2)


def test_resizing_sums_is_not_summing_resized_masks():
    """A sigmoid lies between: so a semantic-only model of the official code has other borders."""
    classes, masks = torch.randn(20, 8), 6 * torch.randn(20, 24, 32)

    def resized(maps):
        return F.interpolate(maps[None], (64, 96), mode="bilinear")[0]

    ours = semantic_scores(classes, resized(masks)).argmax(0)
    theirs = resized(semantic_scores(classes, masks)).argmax(0)
    assert 0.001 < (ours != theirs).float().mean() < 0.5


# ---- Transformers ----------------------------------------------------------------------------

SEEN = (5, 24)  # later versions may differ; then the rows want a new look


def require(holds: bool, row: str) -> None:
    """A fact about Transformers: false in a version that was read, it is an error of the page."""
    version = pytest.importorskip("transformers").__version__
    if not holds and tuple(map(int, version.split(".")[:2])) > SEEN:
        pytest.skip(f"not so in Transformers {version}: look again at the row {row!r}")
    assert holds, row


@pytest.fixture(scope="module")
def images():
    return pytest.importorskip("transformers.models.mask2former.image_processing_mask2former")


@pytest.fixture(scope="module")
def processor(images):
    return images.Mask2FormerImageProcessor()


@pytest.fixture(scope="module")
def modeling():
    return pytest.importorskip("transformers.models.mask2former.modeling_mask2former")


def small(**changes):
    transformers = pytest.importorskip("transformers")
    backbone = transformers.SwinConfig(
        image_size=64, embed_dim=24, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    return transformers.Mask2FormerConfig(
        backbone_config=backbone, num_labels=3, num_queries=5, hidden_dim=32, feature_size=32,
        mask_feature_size=32, encoder_layers=1, decoder_layers=3, dim_feedforward=32,
        encoder_feedforward_dim=32, train_num_points=64, **changes,
    )  # fmt: skip


def model_of(config, modeling):
    torch.manual_seed(0)
    return modeling.Mask2FormerForUniversalSegmentation(config).eval()


def output(modeling, classes, masks):
    """Their output object, of class probabilities (N, K+1) and mask logits (N, h, w)."""
    return modeling.Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=torch.tensor(classes).log()[None], masks_queries_logits=masks[None]
    )


def columns(*parts, inside=9.0, outside=-9.0):
    """Mask logits (N, 8, 8): each query has some of eight columns."""
    masks = torch.full((len(parts), 8, 8), outside)
    for mask, part in zip(masks, parts):
        mask[:, part] = inside
    return masks


def segments_of(images, probabilities, scores, labels, fuse=()):
    """Their map and segments, at the size of the masks."""
    scores, labels = torch.tensor(scores), torch.tensor(labels)
    return images.compute_segments(probabilities.clone(), scores, labels, 0.5, 0.8, set(fuse))


THING_AND_STUFF = torch.tensor([True, False])


def test_theirs_stretches_to_multiples_of_32(processor):
    picture = np.full((100, 150, 3), 255, np.uint8)
    size = {"shortest_edge": 100, "longest_edge": 150}
    batch = processor(picture, size=size, return_tensors="pt")
    require(batch["pixel_values"].shape[2:] == (128, 160), "to a multiple of 32")
    require(bool((batch["pixel_values"] > 2).all()), "to a multiple of 32")  # white everywhere
    ours = minim2f.Mask2Former(minim2f.preset("tiny")).batch([torch.full((3, 100, 150), 255)])
    assert ours.shape[2:] == (128, 160) and not ours[:, :, 100:].any()


def test_their_void_is_a_target_unless_named(processor):
    picture, truth = np.zeros((32, 32, 3), np.uint8), np.full((32, 32), 255, np.uint8)
    truth[:16] = 1
    options = dict(do_resize=False, return_tensors="pt")
    every = processor(picture, segmentation_maps=truth, **options)
    named = processor(picture, segmentation_maps=truth, ignore_index=255, **options)
    require(every["class_labels"][0].tolist() == [1, 255], "void in the truth")
    require(named["class_labels"][0].tolist() == [1], "void in the truth")


def test_their_padded_masks_hold_the_ignored_number(processor):
    pictures = [np.zeros((32, side, 3), np.uint8) for side in (32, 64)]
    truths = [np.ones((32, side), np.uint8) for side in (32, 64)]
    options = dict(do_resize=False, ignore_index=255, return_tensors="pt")
    masks = processor(pictures, segmentation_maps=truths, **options)["mask_labels"]
    require(masks[0].shape == (1, 32, 64) and masks[0].max() == 255, "padding and void")


def test_their_pixel_mask_changes_nothing(modeling):
    model = model_of(small(), modeling)
    picture = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        a = model(picture, pixel_mask=torch.ones(1, 64, 64)).masks_queries_logits
        b = model(picture, pixel_mask=torch.zeros(1, 64, 64)).masks_queries_logits
    require(torch.equal(a, b), "does the network know the padding?")


def test_their_norms_learn_and_ours_do_not():
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        theirs = transformers.ResNetBackbone(transformers.ResNetConfig(layer_type="bottleneck"))
        ours = minim2f.Mask2Former(minim2f.preset("r50")).backbone
    norms = [m for m in theirs.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    learned = sum(p.numel() for norm in norms for p in norm.parameters())
    count = sum(p.numel() for p in theirs.parameters()) - sum(p.numel() for p in ours.parameters())
    require(learned == count == 53_120, "batch norms of a ResNet")
    require(all(norm.track_running_stats for norm in norms), "batch norms of a ResNet")


def test_their_dropout_would_skip_layers(modeling):
    config = small(dropout=0.1)
    decoder = modeling.Mask2FormerMaskedAttentionDecoder(config)
    require(decoder.layerdrop == config.dropout == 0.1, "dropout")


def test_their_matcher_goes_on_with_nan(modeling):
    matcher = modeling.Mask2FormerHungarianMatcher(2.0, 5.0, 5.0, num_points=16)
    masks, classes = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 4)
    masks[0, 0] = torch.nan
    [(queries, segments)] = matcher(masks, classes, [torch.ones(2, 8, 8)], [torch.tensor([0, 1])])
    require(sorted(queries.tolist()) == [1, 2] and len(segments) == 2, "NaN in the cost")


def test_their_auxiliary_losses_stay(modeling):
    """Without them it runs only where hidden states are asked for, and has the same loss."""
    truth = dict(mask_labels=[torch.ones(1, 64, 64)], class_labels=[torch.tensor([0])])
    picture, losses, stopped = torch.randn(1, 3, 64, 64), [], []
    for auxiliary in (True, False):
        model = model_of(small(use_auxiliary_loss=auxiliary), modeling)
        with torch.no_grad():
            torch.manual_seed(0)
            losses.append(model(picture, output_hidden_states=True, **truth).loss)
            try:
                model(picture)
            except TypeError:
                stopped.append(auxiliary)
    require(stopped == [False], "losses of the other predictions")
    require(torch.equal(*losses), "losses of the other predictions")


def test_their_masks_are_made_at_384(modeling, processor):
    found = output(modeling, [[0.9, 0.1]], columns([0, 1]))
    semantic = processor.post_process_semantic_segmentation(found)[0]
    instance = processor.post_process_instance_segmentation(found)[0]["segmentation"]
    whole = processor.post_process_panoptic_segmentation(found, label_ids_to_fuse={0})[0]
    shapes = {tuple(maps.shape) for maps in (semantic, instance, whole["segmentation"])}
    require(shapes == {(384, 384)}, "size of the masks")


def test_their_map_lets_later_instances_overwrite(modeling, processor):
    found = output(modeling, [[0.9, 0.1], [0.8, 0.2]], columns([0, 1, 2], [2, 3]))
    one = processor.post_process_instance_segmentation(found, target_sizes=[(8, 8)])[0]
    both = processor.post_process_instance_segmentation(
        found, target_sizes=[(8, 8)], return_binary_maps=True
    )[0]
    shared = both["segmentation"].sum(0) == 2
    assert shared.any()
    require(bool((one["segmentation"][shared] == 1).all()), "instances that overlap")


def test_their_mask_threshold_of_instances_does_nothing(modeling, processor):
    found = output(modeling, [[0.9, 0.1], [0.8, 0.2]], torch.randn(2, 8, 8))
    maps = [
        processor.post_process_instance_segmentation(
            found, threshold=0.1, mask_threshold=cut, overlap_mask_area_threshold=cut
        )[0]["segmentation"]
        for cut in (0.01, 0.99)
    ]
    require(torch.equal(*maps), "instances: mask and overlap thresholds")


def test_theirs_weighs_masks_before_it_measures_them(images):
    """Of class score 0.85, a mask of 0.55 everywhere is a mask here, and none there: 0.47."""
    probabilities = torch.full((1, 8, 8), 0.55)
    _, theirs = segments_of(images, probabilities, [0.85], [0])
    classes = torch.tensor([[0.85, 0.05, 0.1]]).log()
    _, ours = panoptic(classes, probabilities.logit(), THING_AND_STUFF)
    require(theirs == [], "panoptic: what counts as a mask")
    assert len(ours) == 1


def test_theirs_keeps_pixels_outside_of_the_mask(images):
    """Nobody else competes, so the query wins the half where it is unsure, too."""
    masks = columns([0, 1, 2, 3], outside=-0.5)
    theirs, _ = segments_of(images, masks.sigmoid(), [0.9], [0])
    ours, _ = panoptic(torch.tensor([[0.9, 0.05, 0.05]]).log(), masks, THING_AND_STUFF)
    require(bool((theirs == 1).all()), "panoptic: pixels won outside of the own mask")
    assert (ours[:, :4] == 1).all() and not ours[:, 4:].any()


def test_theirs_may_give_one_number_to_two_segments(images):
    """Sky, car, sky again, car: the second car gets the first one's number."""
    masks = columns([0, 1], [2, 3], [4, 5], [6, 7])
    _, found = segments_of(images, masks.sigmoid(), [0.9] * 4, [1, 0, 1, 0], fuse={1})
    require([s["id"] for s in found] == [1, 2, 1, 2], "panoptic: pieces of one stuff class")
    classes = torch.tensor([[0.04, 0.9, 0.06], [0.9, 0.04, 0.06]] * 2).log()
    ids, ours = panoptic(classes, masks, THING_AND_STUFF)
    assert [s["id"] for s in ours] == [1, 2, 3] and ids[0].tolist() == [1, 1, 2, 2, 1, 1, 3, 3]


def test_their_empty_map_is_minus_one(modeling, processor):
    found = output(modeling, [[0.1, 0.9]], columns([0, 1]))
    result = processor.post_process_panoptic_segmentation(found, label_ids_to_fuse={0})[0]
    require(bool((result["segmentation"] == -1).all()), "panoptic: nothing found")
    assert result["segments_info"] == []

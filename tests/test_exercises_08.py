"""The solutions of chapter 8 against the library, and other right ways to solve its exercises."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import minim2f
from minim2f import Mask2Former, preset
from minim2f.book import exercises
from minim2f.book.exercise import verdict
from minim2f.book.experiments.ch08 import until
from minim2f.data import open_dataset
from minim2f.model.mask2former import Prediction


def masks_by_einsum(embeddings, pixel_features):
    return torch.einsum("bnc,bchw->bnhw", embeddings, pixel_features)


def masks_by_broadcasting(embeddings, pixel_features):
    return (embeddings[..., None, None] * pixel_features[:, None]).sum(2)


def masks_by_grouped_convolution(embeddings, pixel_features):
    b, n, c = embeddings.shape
    kernels = embeddings.reshape(b * n, c, 1, 1)
    maps = F.conv2d(pixel_features.reshape(1, b * c, *pixel_features.shape[2:]), kernels, groups=b)
    return maps.reshape(b, n, *pixel_features.shape[2:])


def masks_in_a_loop(embeddings, pixel_features):
    pairs = zip(embeddings, pixel_features)
    return torch.stack([(e @ f.flatten(1)).unflatten(1, f.shape[1:]) for e, f in pairs])


def heads_by_functions(X, norm, class_head, mask_head):
    z = F.layer_norm(X, X.shape[-1:], *norm)
    embeddings = z
    for number, layer in enumerate(mask_head):
        embeddings = F.linear(embeddings.relu() if number else embeddings, *layer)
    return F.linear(z, *class_head), embeddings


def keep_in_a_loop(embedding, pixel_features, k):
    parts = [weight * channel for weight, channel in zip(embedding, pixel_features)]
    return sum(sorted(parts, key=lambda part: -part.abs().mean())[:k])


def first_good_in_a_loop(mask_logits, masks, threshold):
    answer = []
    for g, mask in enumerate(masks):
        first = len(mask_logits)
        for layer in reversed(range(len(mask_logits))):
            inside = mask_logits[layer, g].sigmoid() > 0.5
            if (inside & mask).sum() / (inside | mask).sum() >= threshold:
                first = layer
        answer.append(first)
    return torch.tensor(answer)


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("8.1", masks_by_einsum),
        ("8.1", masks_by_broadcasting),
        ("8.1", masks_by_grouped_convolution),
        ("8.2", heads_by_functions),
        ("8.3", keep_in_a_loop),
        ("8.4", first_good_in_a_loop),
    ],
)
def test_other_right_answers_to_chapter_8_are_accepted(exercise_id, answer) -> None:
    assert verdict(exercises.find(exercise_id), answer).startswith("✔")


def test_a_loop_over_the_pictures_is_refused() -> None:
    said = verdict(exercises.find("8.1"), masks_in_a_loop)
    assert said.startswith("✘ 8.1 the exercise asks for no loops"), said


def four_predictions_only(mask_logits, masks, threshold):
    return exercises.find("8.4").reference(mask_logits, masks, threshold).clamp(max=3)


def the_best_prediction(mask_logits, masks, threshold):
    inside = mask_logits > 0
    iou = (inside & masks).sum((2, 3)) / (inside | masks).sum((2, 3))
    return torch.where((iou >= threshold).any(0), iou.argmax(0), len(iou))


def columns_flattened(embeddings, pixel_features):
    flat = pixel_features.transpose(2, 3).flatten(2)
    return (embeddings @ flat).unflatten(2, pixel_features.shape[2:])


def masks_transposed(embeddings, pixel_features):
    return masks_by_einsum(embeddings, pixel_features).transpose(2, 3)


def weights_not_transposed(X, norm, class_head, mask_head):
    z = F.layer_norm(X, X.shape[-1:], *norm)
    embeddings = z
    for number, (weight, bias) in enumerate(mask_head):
        embeddings = (embeddings.relu() if number else embeddings) @ weight + bias
    return z @ class_head[0] + class_head[1], embeddings


def a_smaller_eps(X, norm, class_head, mask_head):
    centred = X - X.mean(-1, keepdim=True)
    z = centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt() * norm[0] + norm[1]
    embeddings = z
    for number, layer in enumerate(mask_head):
        embeddings = F.linear(embeddings.relu() if number else embeddings, *layer)
    return F.linear(z, *class_head), embeddings


def first_channels(embedding, pixel_features, k):
    return torch.einsum("c,chw->hw", embedding[:k], pixel_features[:k])


@pytest.mark.parametrize(
    ("exercise_id", "answer", "words"),
    [
        ("8.1", columns_flattened, "flatten columns"),
        ("8.1", masks_transposed, "rows and columns are exchanged"),
        ("8.2", weights_not_transposed, "(out, in)"),
        ("8.2", a_smaller_eps, "1e-5 is wanted"),
        ("8.3", first_channels, "the first k channels"),
        ("8.4", four_predictions_only, "more than four predictions"),
        ("8.4", the_best_prediction, "the first that is good enough"),
    ],
)
def test_wrong_answers_of_a_first_reader_get_words(exercise_id, answer, words) -> None:
    said = verdict(exercises.find(exercise_id), answer)
    assert said.startswith("✘") and words in said, said


@torch.no_grad()
def test_solutions_of_chapter_8_equal_the_library() -> None:
    torch.manual_seed(0)
    model = Mask2Former(preset("tiny")).eval()
    decoder = model.decoder
    torch.nn.init.uniform_(decoder.norm.weight)
    torch.nn.init.uniform_(decoder.norm.bias)
    X, features = torch.randn(2, 5, 64), torch.randn(2, 64, 6, 8)
    theirs = decoder.heads(X, 0)
    layers = decoder.norm, decoder.class_head, [decoder.mask_head[i] for i in (0, 2, 4)]
    norm, class_head = ((layer.weight, layer.bias) for layer in layers[:2])
    mask_head = [(layer.weight, layer.bias) for layer in layers[2]]
    mine = exercises.find("8.2").reference(X, norm, class_head, mask_head)
    torch.testing.assert_close(mine, theirs)
    masks = exercises.find("8.1").reference(mine[1], features)
    torch.testing.assert_close(masks, Prediction(*theirs, features).mask_logits)


@torch.no_grad()
def test_the_umbrella_needs_as_many_channels_as_the_hint_says() -> None:
    model, scene = minim2f.load("tiny"), open_dataset("scenes", split="val")[9]
    prediction = model(model.batch([scene.image]))
    parts = prediction.mask_embeddings[0, 3], prediction.pixel_features[0]
    keep, whole = exercises.find("8.3").reference, prediction.mask_logits[0, 3] > 0
    wrong = [int(((keep(*parts, k) > 0) != whole).sum()) for k in range(16, 65)]
    assert wrong[0] > 1 and max(wrong[32 - 16 :]) <= 1
    assert wrong[24 - 16] > 1 and max(wrong[25 - 16 :]) <= 1  # the folded answer says 25


@torch.no_grad()
def test_the_experiment_looks_at_the_prediction_that_it_names() -> None:
    torch.manual_seed(0)
    model = Mask2Former(preset("tiny")).eval()
    images = torch.randn(1, 3, 64, 64)
    every = model(images)
    for layer, wanted in enumerate([*every.auxiliary, every]):
        with until(model, layer):
            assert model(images).mask_embeddings.equal(wanted.mask_embeddings)
    assert len(model(images).auxiliary) == 3

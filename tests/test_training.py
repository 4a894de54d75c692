"""Points, matching, losses, recipe and loop: golden numbers, brute force, and odd inputs."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import minim2f
from minim2f.data import Sample
from minim2f.model.position import pixel_centres
from minim2f.training import points as P
from minim2f.training.batches import collate
from minim2f.training.loop import train
from minim2f.training.losses import Criterion, class_loss, dice_loss, mask_loss
from minim2f.training.matching import (
    Target,
    assign,
    match,
    matching_cost,
    pairwise_bce,
    pairwise_dice,
)
from minim2f.training.recipe import TINY, TrainConfig, make_optimizer

CONFIG = minim2f.preset("tiny", num_classes=3, num_queries=5, num_points=64)


def target(*labels, size=64):
    masks = torch.zeros(len(labels), size, size, dtype=torch.bool)
    for g in range(len(labels)):
        masks[g, 8 * g : 8 * g + 20, 4 * g : 4 * g + 30] = True
    return Target(torch.tensor(labels, dtype=torch.int64), masks)


def prediction(model_seed=0, batch=2, config=CONFIG):
    torch.manual_seed(model_seed)
    model = minim2f.Mask2Former(config)
    return model(torch.randn(batch, 3, 64, 64))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- points ----------------------------------------------------------------------------------


def test_sample_reads_pixel_centres_exactly_and_half_way_points_as_means():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    at = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [0.5, 0.25]]])
    torch.testing.assert_close(P.sample(maps, at)[0, 0], torch.tensor([1, 2, 3, 2.5, 1.5]))


def test_outside_is_zero_so_the_very_corner_is_a_quarter():
    maps = torch.ones(1, 1, 2, 2)
    assert P.sample(maps, torch.zeros(1, 1, 2)).item() == pytest.approx(0.25)


def test_pixel_centres_read_the_whole_map_in_order():
    maps = torch.randn(2, 3, 4, 5)
    centres = pixel_centres(4, 5, maps).expand(2, -1, -1)
    torch.testing.assert_close(P.sample(maps, centres), maps.flatten(2))


def test_uncertain_points_lie_where_the_logit_is_small():
    ramp = torch.linspace(-10, 10, 64).expand(1, 64, 64)  # zero in the middle column
    points = P.uncertain(ramp, 400, generator=generator())
    assert points.shape == (1, 400, 2)
    near = (points[0, :, 0] - 0.5).abs() < 0.15  # 3 x 400 points: the nearest 300 lie within 1/8
    # a few lie at the rim, where the zeros outside make logits small too (as in the official code)
    assert near[:300].float().mean() > 0.9 and near[300:].float().mean() < 0.5


def test_points_follow_the_generator():
    logits = torch.randn(3, 16, 16)
    a, b = (P.uncertain(logits, 50, generator=generator(1)) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, P.uncertain(logits, 50, generator=generator(2)))


# ---- costs and losses: the specification's golden numbers ------------------------------------


X = torch.tensor([[2.0, -1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
T = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])


def test_golden_class_loss():
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 1.0], [3.0, 0.0, 0.0]])
    assert class_loss(logits, torch.tensor([1, 2, 0]), 0.1).item() == pytest.approx(
        F.cross_entropy(logits, torch.tensor([1, 2, 0]), torch.tensor([1, 1, 0.1])).item()
    )
    assert class_loss(logits, torch.tensor([1, 2, 0]), 0.1).item() == pytest.approx(0.2925887)


def test_golden_mask_losses():
    assert mask_loss(X[:1], T[:1], 1).item() == pytest.approx(0.2954811)
    assert dice_loss(X[:1], T[:1], 1).item() == pytest.approx(0.1417034)
    assert mask_loss(X[1:], T[1:], 1).item() == pytest.approx(0.6931472)
    assert dice_loss(X[1:], T[1:], 1).item() == pytest.approx(2 / 3)
    assert mask_loss(X, T, 2).item() == pytest.approx(0.4943141)
    assert dice_loss(X, T, 2).item() == pytest.approx(0.4041850)


def test_pairwise_costs_hold_the_losses_on_their_diagonal():
    bce, dice = pairwise_bce(X, T), pairwise_dice(X, T)
    for i in range(2):
        assert bce[i, i].item() == pytest.approx(mask_loss(X[i : i + 1], T[i : i + 1], 1).item())
        assert dice[i, i].item() == pytest.approx(dice_loss(X[i : i + 1], T[i : i + 1], 1).item())


def test_matching_cost_is_the_double_loop():
    torch.manual_seed(0)
    classes, x, t = (
        torch.randn(6, 4).double(),
        torch.randn(6, 30).double(),
        torch.rand(3, 30).double(),
    )
    labels = torch.tensor([2, 0, 2])
    cost = matching_cost(classes, x, labels, t)
    for n in range(6):
        for g in range(3):
            p = classes[n].exp() / classes[n].exp().sum()
            bce = (t[g] * (1 + (-x[n]).exp()).log() + (1 - t[g]) * (1 + x[n].exp()).log()).mean()
            s = 1 / (1 + (-x[n]).exp())
            dice = 1 - (2 * (s * t[g]).sum() + 1) / (s.sum() + t[g].sum() + 1)
            assert cost[n, g].item() == pytest.approx(
                (5 * bce + 5 * dice - 2 * p[labels[g]]).item()
            )


def test_extreme_logits_stay_finite():
    x = torch.tensor([[1e4, -1e4, 0.0]])
    t = torch.tensor([[1.0, 0.0, 1.0]])
    assert pairwise_bce(x, t).isfinite().all() and pairwise_dice(x, t).isfinite().all()
    assert matching_cost(x, x, torch.tensor([0]), t).isfinite().all()


# ---- assignment ------------------------------------------------------------------------------


@pytest.mark.parametrize("n, g", [(5, 3), (4, 4), (6, 5), (1, 1)])
def test_assign_is_as_cheap_as_brute_force(n, g):
    for seed in range(10):
        cost = torch.randn(n, g, generator=generator(seed), dtype=torch.float64)
        queries, segments = assign(cost)
        best = min(
            sum(cost[q, k].item() for k, q in enumerate(order))
            for order in permutations(range(n), g)
        )
        assert cost[queries, segments].sum().item() == pytest.approx(best)
        assert sorted(segments.tolist()) == list(range(g)) and len(set(queries.tolist())) == g


def test_more_segments_than_queries_leaves_the_dearest_out():
    queries, segments = assign(torch.tensor([[5.0, 1.0, 9.0]]))
    assert queries.tolist() == [0] and segments.tolist() == [1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_cost_that_is_not_finite_is_named(bad):
    with pytest.raises(ValueError, match="cost of query 1 for segment 0"):
        assign(torch.tensor([[0.0, 1.0], [bad, 0.0]]))


def test_a_label_outside_the_classes_is_named():
    with pytest.raises(ValueError, match=r"0 \.\.\. 2"):
        matching_cost(torch.zeros(2, 4), torch.zeros(2, 8), torch.tensor([3]), torch.zeros(1, 8))


def test_matching_on_points_of_the_product_is_sampling_the_drawn_masks():
    """F_pixel sampled and then multiplied gives what drawing all masks and sampling them gives."""
    out = prediction()
    targets = [target(0, 1), target(2)]
    ours = match(out, targets, CONFIG, generator())
    points = generator()
    for b, t in enumerate(targets):
        at = torch.rand(1, CONFIG.num_points, 2, generator=points)
        logits = P.sample(out.mask_logits[b : b + 1], at)[0]
        masks = P.sample(t.masks[None].float(), at)[0]
        queries, segments = assign(
            matching_cost(out.class_logits[b], logits, t.labels, masks).detach()
        )
        assert torch.equal(ours[b][0], queries) and torch.equal(ours[b][1], segments)


# ---- criterion -------------------------------------------------------------------------------


def test_terms_weights_and_their_number():
    terms = Criterion(CONFIG)(prediction(), [target(0, 1), target(2)], generator())
    names = {
        f"{n}{s}" for n in ("loss_ce", "loss_mask", "loss_dice") for s in ("", "_0", "_1", "_2")
    }
    assert set(terms) == names
    published = minim2f.preset("r50")
    per_output = published.class_weight + published.mask_weight + published.dice_weight
    assert per_output * (published.num_layers + 1) == 120
    assert (published.num_points, published.eos_coef) == (12544, 0.1)


def test_the_criterion_is_the_written_out_official_one():
    """Same draws in the same order; all masks drawn, matched ones picked afterwards."""
    out, targets = prediction(), [target(0, 1), target(2)]
    ours = Criterion(CONFIG)(out, targets, generator(7))
    rng = generator(7)
    for suffix, p in [("", out)] + [(f"_{i}", a) for i, a in enumerate(out.auxiliary)]:
        classes = torch.full((2, 5), 3)
        xs, ts = [], []
        pairs = match(p, targets, CONFIG, rng)
        for b, (q, s) in enumerate(pairs):
            classes[b, q] = targets[b].labels[s]
            xs.append(p.mask_logits[b, q])
            ts.append(targets[b].masks[s].float())
        xs, ts = torch.cat(xs), torch.cat(ts)
        draws = torch.rand(3, 192, 2, generator=rng)
        values = F.grid_sample(xs[:, None], 2 * draws[:, None] - 1, align_corners=False)[:, 0, 0]
        best = (-values.abs()).topk(48, dim=1).indices
        chosen = torch.stack([draws[i, best[i]] for i in range(3)])
        chosen = torch.cat([chosen, torch.rand(3, 16, 2, generator=rng)], 1)
        x = F.grid_sample(xs[:, None], 2 * chosen[:, None] - 1, align_corners=False)[:, 0, 0]
        t = F.grid_sample(ts[:, None], 2 * chosen[:, None] - 1, align_corners=False)[:, 0, 0]
        torch.testing.assert_close(ours["loss_mask" + suffix], 5 * mask_loss(x, t, 3))
        torch.testing.assert_close(ours["loss_dice" + suffix], 5 * dice_loss(x, t, 3))
        torch.testing.assert_close(
            ours["loss_ce" + suffix], 2 * class_loss(p.class_logits, classes)
        )


def test_same_generator_same_loss():
    out, targets = prediction(), [target(0, 1), target(2)]
    a, b, c = (sum(Criterion(CONFIG)(out, targets, generator(s)).values()) for s in (1, 1, 2))
    assert a == b and a != c


def test_no_object_may_weigh_nothing():
    config = dataclasses.replace(CONFIG, eos_coef=0.0)
    terms = Criterion(config)(prediction(), [target(), target()], generator())
    assert sum(terms.values()) == 0  # nothing was asked for, and nothing is NaN


@pytest.mark.parametrize(
    "targets",
    [
        [target(), target(2)],
        [target(), target()],
        [target(0, 1, 2, 0, 1, 2, 0), target(1)],  # more segments than the five queries
    ],
    ids=["one picture without objects", "no objects at all", "more objects than queries"],
)
def test_odd_batches_have_finite_losses_and_gradients(targets):
    torch.manual_seed(0)
    model = minim2f.Mask2Former(CONFIG)
    terms = Criterion(CONFIG)(model(torch.randn(2, 3, 64, 64)), targets, generator())
    loss = sum(terms.values())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    if not any(len(t.labels) for t in targets):
        assert terms["loss_mask"] == 0 and terms["loss_dice"] == 0 and terms["loss_ce"] > 0


def test_a_mask_without_pixels_is_legal_and_pushes_towards_emptiness():
    empty = target(1)
    empty.masks[:] = False
    terms = Criterion(CONFIG)(prediction(batch=1), [empty], generator())
    assert all(v.isfinite() for v in terms.values())
    assert terms["loss_dice"] > 4  # 5 (1 - 1 / (sum s + 1)): nearly 5


def test_a_single_query():
    config = dataclasses.replace(CONFIG, num_queries=1)
    terms = Criterion(config)(prediction(config=config), [target(0, 1), target(2)], generator())
    assert all(v.isfinite() for v in terms.values())


def test_all_pixels_instead_of_points_needs_no_randomness():
    config = dataclasses.replace(CONFIG, num_points=None)
    out, targets = prediction(config=config), [target(0, 1), target(2)]
    a, b = (Criterion(config)(out, targets, generator(s)) for s in (1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    few = Criterion(CONFIG)(out, targets, generator())
    assert few["loss_mask"] != a["loss_mask"]


def test_deep_supervision_off_leaves_three_terms():
    config = dataclasses.replace(CONFIG, deep_supervision=False)
    terms = Criterion(config)(prediction(config=config), [target(0, 1), target(2)], generator())
    assert set(terms) == {"loss_ce", "loss_mask", "loss_dice"}


def test_num_masks_divides_the_mask_losses_only():
    out, targets = prediction(), [target(0, 1), target(2)]
    one, two = (Criterion(CONFIG)(out, targets, generator(), n) for n in (1, 2))
    torch.testing.assert_close(one["loss_dice"], 2 * two["loss_dice"])
    assert one["loss_ce"] == two["loss_ce"]


def test_wrong_number_of_targets_is_named():
    with pytest.raises(ValueError, match="1 targets for a batch of 2"):
        Criterion(CONFIG)(prediction(), [target(0)], generator())


def test_the_expected_loss_at_the_start_for_133_classes():
    """Spec section 4: about 150 to 190 for ten predictions."""
    torch.manual_seed(0)
    model = minim2f.Mask2Former(
        minim2f.preset("tiny", num_classes=133, num_layers=9, num_queries=100)
    )
    terms = Criterion(model.config)(model(torch.randn(2, 3, 64, 64)), [target(5, 70), target(132)])
    assert 130 < sum(terms.values()).item() < 210


# ---- recipe ----------------------------------------------------------------------------------


def test_optimizer_groups_are_the_official_ones():
    model = minim2f.Mask2Former(minim2f.preset("tiny"))
    adam = make_optimizer(model, TrainConfig())
    of = {id(p): group for group in adam.param_groups for p in group["params"]}
    assert len(of) == len(list(model.parameters()))
    norms = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.Embedding)
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            group = of[id(parameter)]
            assert group["lr"] == (1e-5 if module_name.startswith("backbone") else 1e-4)
            assert group["weight_decay"] == (0 if isinstance(module, norms) else 0.05)
    assert adam.defaults["betas"] == (0.9, 0.999)


def test_schedules():
    step = TrainConfig(steps=1000)
    assert [step.rate(t) for t in (0, 888, 889, 962, 963, 999)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    poly = TrainConfig(steps=1000, schedule="poly", warmup=9)
    assert poly.rate(0) == pytest.approx(0.1) and poly.rate(500) == pytest.approx(0.5**0.9)
    assert 0 < poly.rate(999) < 0.003


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"schedule": "cosine"}])
def test_recipe_mistakes_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig(**wrong)


# ---- loop ------------------------------------------------------------------------------------

CATEGORIES = [{"id": i, "name": f"c{i}", "isthing": 1} for i in (3, 7, 9)]


class Squares(list):
    """Four pictures with one bright square each; the class is the colour."""

    categories = CATEGORIES

    def __init__(self):
        for n in range(4):
            ids = torch.zeros(64, 64, dtype=torch.int64)
            ids[8 * n : 8 * n + 24, 16:48] = 1
            image = torch.full((3, 64, 64), 90, dtype=torch.uint8)
            image[n % 3][ids == 1] = 250
            segment = {"id": 1, "category_id": CATEGORIES[n % 3]["id"], "iscrowd": 0}
            self.append(Sample.from_panoptic(image, ids, [segment], CATEGORIES, n, f"square {n}"))


def short(**changes):
    return dataclasses.replace(TINY, steps=2, batch_size=2, **changes)


def small_model(seed=0):
    torch.manual_seed(seed)
    return minim2f.Mask2Former(minim2f.preset("tiny", num_classes=3, num_layers=2, num_points=64))


def test_collate_pads_masks_with_the_images():
    square = Squares()[0]
    wide = dataclasses.replace(
        square,
        image=torch.zeros(3, 40, 80, dtype=torch.uint8),
        masks=torch.ones(1, 40, 80, dtype=bool),
    )
    images, targets = collate(small_model(), [square, wide])
    assert images.shape == (2, 3, 64, 96)
    assert all(isinstance(t, Target) and t.masks.shape == (1, 64, 96) for t in targets)
    assert targets[1].masks.sum() == 40 * 80


def test_training_lowers_the_loss_and_ends_in_eval_mode():
    model = small_model()
    history = train(
        model, Squares(), dataclasses.replace(TINY, steps=40, batch_size=4), progress=False
    )
    first, last = (sum(h["loss"] for h in part) / 5 for part in (history[:5], history[-5:]))
    assert last < 0.6 * first
    assert not model.training and {"loss", "norm", "loss_ce_0"} <= set(history[0])


def test_same_seed_same_weights():
    def run(seed):
        model = small_model()
        train(model, Squares(), short(seed=seed), progress=False)
        return model.state_dict()

    a, b, c = run(1), run(1), run(2)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_after_step_is_called_with_the_steps_done():
    seen = []
    train(small_model(), Squares(), short(), progress=False, after_step=seen.append)
    assert seen == [1, 2]


def test_wrong_number_of_classes_and_empty_data_are_named():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="3 categories, the model 5 classes"):
        train(minim2f.Mask2Former(minim2f.preset("tiny", num_classes=5)), Squares(), short())
    nothing = Squares()
    nothing.clear()
    with pytest.raises(ValueError, match="empty"):
        train(small_model(), nothing, short())


def test_a_loss_that_is_not_finite_stops_training_and_is_named():
    model = small_model()
    model.decoder.class_head.bias.data[0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        train(model, Squares(), short(), progress=False)


def test_two_real_pictures_are_learnt(coco_mini):
    """The loss on two coco-mini pictures falls to less than 0.6 of its start within 30 steps."""
    from minim2f.data import open_dataset
    from minim2f.data.augment import resize
    from minim2f.data.sample import SampleList

    photos = open_dataset(coco_mini, "train")
    two = SampleList([resize(photos[i], 64, 96) for i in (0, 1)], photos.categories)
    torch.manual_seed(0)
    model = minim2f.Mask2Former(minim2f.preset("tiny", num_classes=133))
    recipe = dataclasses.replace(TINY, steps=30, batch_size=2, warmup=5)
    history = train(model, two, recipe, progress=False)
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]

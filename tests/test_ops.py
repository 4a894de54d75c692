"""Every fast way against its slow way, values and gradients; `reference` runs the slow ones."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import minim2f
from minim2f.ops import deformable, reference, strips
from minim2f.ops.deformable import as_fractions, softmax_of_few
from minim2f.ops.norm import FrozenNorm
from minim2f.ops.sampling import mask_logits_at, matched_masks, sample, sample_rows
from minim2f.ops.softplus import softplus
from minim2f.ops.strips import Strips
from minim2f.training.losses import Criterion
from minim2f.training.matching import Target


def network(**kind) -> Strips:
    torch.manual_seed(0)
    return Strips(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, 5)).to(**kind)


def values_and_gradients(run, network: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    out = run(network, x)
    (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
    found = [out, x.grad, *(p.grad for p in network.parameters())]
    network.zero_grad()
    return found


@pytest.mark.parametrize("shape", [(7, 6), (2, 5, 6), (2, 3, 4, 6), (1, 6), (0, 6)])
def test_strips_are_the_layers_themselves(shape, monkeypatch):
    monkeypatch.setattr(strips, "NUMBERS", 4 * 32)  # four rows, and a last strip that is shorter
    ours, x = network(dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    fast = values_and_gradients(Strips.__call__, ours, x)
    slow = values_and_gradients(nn.Sequential.forward, ours, x)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_nothing_wide_is_kept_and_nothing_at_all_without_a_gradient(monkeypatch):
    monkeypatch.setattr(strips, "NUMBERS", 4 * 32)
    ours, x, kept = network(), torch.randn(40, 6), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        out = ours(x)
        assert out.requires_grad and max(t.numel() for t in kept) <= x.numel()
        kept.clear()
        nn.Sequential.forward(ours, x)
        assert max(t.numel() for t in kept) == 40 * 32
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), out)


def test_strips_have_the_names_of_the_layers():
    ours = network()
    plain = nn.Sequential(*copy.deepcopy(list(ours)))
    assert list(ours.state_dict()) == list(plain.state_dict())


def test_strips_follow_autocast():
    ours, x = network(), torch.randn(40, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = ours(x)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert x.grad.isfinite().all()


# ---- both ways of each operation -------------------------------------------------------------


def both_ways(run, *inputs: torch.Tensor) -> None:
    """Values, and the gradients of all inputs, agree to the last few digits of float64."""
    inputs = [x.double().requires_grad_() for x in inputs]
    fast = run(*inputs)
    with reference():
        slow = run(*inputs)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
    towards = torch.randn_like(fast)
    for a, b in zip(*(torch.autograd.grad(x, inputs, towards) for x in (fast, slow))):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_frozen_norm_and_its_gradient():
    norm = FrozenNorm(5).double()
    for name, buffer in norm.named_buffers():
        buffer.uniform_(0.5, 2)
    both_ways(norm, torch.randn(2, 5, 3, 4))


def test_softmax_of_few_and_its_gradient():
    both_ways(softmax_of_few, torch.randn(2, 7, 3, 12))


def test_offsets_as_fractions_and_their_gradient():
    offsets = torch.randn(2, 7, 3, 2, 4, 2)
    both_ways(lambda o: as_fractions(o, [(3, 5), (6, 10)]), offsets)
    assert torch.equal(
        as_fractions(torch.ones(1, 1, 1, 1, 1, 2), [(4, 5)]).flatten(), torch.tensor([1 / 5, 1 / 4])
    )  # x by the width, y by the height


def test_softplus_far_from_zero_and_beyond():
    x = torch.tensor([-1e30, -90.0, -1.0, 0.0, 1.0, 90.0, 1e30, torch.inf, -torch.inf, torch.nan])
    for kind in (torch.float32, torch.float64):
        tiny = 4 * torch.finfo(kind).eps
        expected = F.softplus(x.to(kind))
        torch.testing.assert_close(
            softplus(x.to(kind)), expected, rtol=tiny, atol=tiny, equal_nan=True
        )


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_wide_maps_are_read_alike_by_both_ways(kind):
    maps = torch.randn(3, 256, 7, 9).to(kind)
    at = torch.rand(3, 500, 2) * 1.4 - 0.2  # some points lie outside
    at[:, :4] = torch.tensor([[0, 0], [1, 1], [0, 1], [0.5, 1e-7]])
    rows = sample_rows(maps, at)
    assert rows.dtype == torch.promote_types(kind, torch.float32)
    torch.testing.assert_close(rows, sample(maps, at), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [10, 500, 1500])  # 1,000 pixels, and 100,000 numbers
def test_sampling_first_and_drawing_first_give_the_same_logits(count):
    embeddings, features = torch.randn(2, 100, 256), torch.randn(2, 256, 25, 40) / 16
    at = torch.rand(2, count, 2)
    drawn = torch.einsum("bnc,bchw->bnhw", embeddings, features)
    found = mask_logits_at(embeddings, features, at)
    torch.testing.assert_close(found, sample(drawn, at), rtol=1e-4, atol=1e-5)


def test_matched_masks_of_all_predictions_and_their_gradients():
    none = (torch.tensor([], dtype=torch.int64),) * 2
    first = [(torch.tensor([4, 0]), torch.tensor([1, 0])), none, (torch.tensor([2]),) * 2]
    second = [(torch.tensor([1, 3]), torch.tensor([0, 1])), none, (torch.tensor([2]),) * 2]
    embeddings, features = torch.randn(2, 3, 5, 8), torch.randn(3, 8, 4, 6)
    both_ways(lambda e, f: matched_masks(list(e), f, [first, second]), embeddings, features)


# ---- reference -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r50", "swin_t"])
def test_within_reference_no_fast_way_is_taken(name, monkeypatch):
    """The parts that only the fast ways have fail; a whole training step needs none of them."""
    config = minim2f.preset(name, num_queries=5, num_layers=3, num_classes=3, num_points=200)
    model = minim2f.Mask2Former(config)
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, :30], masks[1, 40:] = True, True
    targets = [Target(torch.tensor([0, 2]), masks)]

    def step():
        sum(Criterion(config)(model(torch.randn(1, 3, 64, 64)), targets).values()).backward()

    def fail(*args, **kwargs):
        raise AssertionError("a fast way was taken")

    monkeypatch.setattr(deformable, "_Reads", fail)
    monkeypatch.setattr(strips, "again", fail)
    monkeypatch.setattr(torch, "addcmul", fail)
    monkeypatch.setattr("minim2f.ops.sampling.F.embedding_bag", fail)
    with reference():
        step()
        with reference():
            pass
        step()  # the inner one did not end the outer one
    with pytest.raises(AssertionError, match="a fast way"):
        step()  # and the outer one did end

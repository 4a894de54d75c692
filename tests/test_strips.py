"""Strips against the layers themselves, and the window attention against PyTorch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from minim2f.ops import strips
from minim2f.model.swin import attend
from minim2f.ops.strips import Strips, again


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


def test_window_attention_is_that_of_pytorch_with_its_gradients():
    q, k, v = torch.randn(3, 2, 4, 3, 9, 8, dtype=torch.float64).unbind()
    bias = torch.randn(1, 3, 9, 9, dtype=torch.float64)
    inputs = [t.clone().requires_grad_() for t in (q, k, v, bias)]
    ours = again(attend, *inputs)
    theirs = F.scaled_dot_product_attention(*inputs[:3], attn_mask=inputs[3])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad((x * weights).sum(), inputs) for x in (ours, theirs))):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)

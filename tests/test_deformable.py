"""Deformable attention: slow equals fast, values and gradients; the initial directions."""

from __future__ import annotations

import pytest
import torch

import minim2f
from minim2f.model.deformable import DeformableAttention
from minim2f.model.pixel_decoder import DeformablePixelDecoder
from minim2f.model.position import pixel_centres
from minim2f.ops.deformable import attend, attend_slow

SIZES = [(1, 2), (2, 3), (4, 5)]


def inputs(batch=2, queries=3, heads=2, depth=4, points=2):
    """Values, locations (some outside of the map) and weights, in float64."""
    length = sum(h * w for h, w in SIZES)
    values = torch.randn(batch, length, heads, depth, dtype=torch.float64)
    locations = torch.rand(batch, queries, heads, 3, points, 2, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(batch, queries, heads, 3, points, dtype=torch.float64)
    return [t.requires_grad_() for t in (values, locations, weights)]


@pytest.mark.parametrize("mkl", [True, False])
def test_fast_is_slow(mkl, monkeypatch):
    if not mkl:  # as on a GPU, a Mac or an ARM processor
        monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    values, locations, weights = inputs()
    slow, fast = (f(values, SIZES, locations, weights) for f in (attend_slow, attend))
    torch.testing.assert_close(fast, slow)
    direction = torch.randn_like(slow)
    for a, b in zip(
        torch.autograd.grad((slow * direction).sum(), (values, locations, weights)),
        torch.autograd.grad((fast * direction).sum(), (values, locations, weights)),
    ):
        torch.testing.assert_close(a, b)


def test_the_sum_is_the_sum_of_transformers():
    m2f = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
    values, locations, weights = inputs()
    theirs = m2f.multi_scale_deformable_attention(values, SIZES, locations, weights)
    torch.testing.assert_close(attend(values, SIZES, locations, weights).flatten(2), theirs)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_in_float32(kind):
    tensors = [t.detach().to(kind).requires_grad_() for t in inputs()]
    out = attend(tensors[0], SIZES, *tensors[1:])
    exact = attend_slow(tensors[0].double(), SIZES, *(t.double() for t in tensors[1:]))
    assert out.dtype == kind
    torch.testing.assert_close(out.double(), exact, rtol=1e-2, atol=1e-2)
    for gradient in torch.autograd.grad(out.sum(), tensors):
        assert gradient.dtype == kind and gradient.isfinite().all()


def test_no_pictures_give_no_reads():
    values, locations, weights = inputs(batch=0)
    assert attend(values, SIZES, locations, weights).shape == (0, 3, 2, 4)


def test_gradients_are_the_finite_differences():
    values, locations, weights = inputs(batch=1, queries=2, depth=3)
    assert torch.autograd.gradcheck(
        lambda v, l, w: attend(v, SIZES, l, w), (values, locations, weights), eps=1e-7, atol=1e-5
    )


def test_a_point_far_outside_reads_zero():
    values, locations, weights = inputs()
    assert not attend(values, SIZES, locations * 0 + 9, weights).any()


def test_a_pixel_centre_reads_that_pixel():
    """One point on the finest level, at the centre of pixel (row 2, column 3)."""
    values = torch.randn(1, 28, 1, 5)
    locations = torch.full((1, 1, 1, 3, 1, 2), 9.0)
    locations[..., 2, 0, :] = torch.tensor([3.5 / 5, 2.5 / 4])
    read = attend(values, SIZES, locations, torch.ones(1, 1, 1, 3, 1))
    torch.testing.assert_close(read[0, 0, 0], values[0, 2 + 6 + 2 * 5 + 3, 0])


def test_initial_offsets_look_in_eight_directions():
    """Spec 2.2: (1,0), (1,1), (0,1), ... times 1 to 4 pixels, the same on all levels."""
    attention = DeformableAttention(64)
    bias = attention.offsets.bias.view(8, 3, 4, 2)
    expected = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, direction in enumerate(expected):
        for point in range(4):
            wanted = torch.tensor(direction) * (point + 1.0)
            for level in range(3):
                torch.testing.assert_close(bias[head, level, point], wanted, atol=1e-5, rtol=0)
    assert not attention.offsets.weight.any() and not attention.weights.weight.any()


def test_reference_points_are_pixel_centres():
    """Spec 2.2: for levels (1, 2) and (2, 4)."""
    like = torch.zeros(1)
    points = torch.cat([pixel_centres(1, 2, like), pixel_centres(2, 4, like)]).tolist()
    assert points[:3] == [[0.25, 0.5], [0.75, 0.5], [0.125, 0.25]]
    assert points[-1] == [0.875, 0.75]


def test_arithmetic_of_the_published_sizes():
    """Spec 1.1: an encoder layer has 732,192 parameters."""
    decoder = DeformablePixelDecoder([256, 512, 1024, 2048], 256)
    assert sum(p.numel() for p in decoder.layers[0].parameters()) == 732_192
    assert sum(p.numel() for p in decoder.parameters()) == 6_035_904


def test_level_embedding_reaches_queries_and_not_values():
    """With offsets and weights blind to their query, the level embedding has no way out."""
    torch.manual_seed(0)
    decoder = DeformablePixelDecoder([8, 16, 32, 64], 64).eval()
    sizes = {"res2": (8, 16), "res3": (16, 8), "res4": (32, 4), "res5": (64, 2)}
    features = {n: torch.randn(1, c, s, s) for n, (c, s) in sizes.items()}
    before = decoder(features)[0]
    decoder.level_embed.data += 5
    torch.testing.assert_close(decoder(features)[0], before)


def test_the_presets_have_the_published_parameter_counts():
    counts = {
        "r50": 43_983_878, "r101": 62_923_782, "swin_t": 47_435_264, "swin_s": 68_753_168,
        "swin_b": 106_917_822, "swin_l": 215_535_610,
    }  # fmt: skip
    for name, count in counts.items():
        with torch.device("meta"):
            model = minim2f.Mask2Former(minim2f.preset(name))
        assert sum(p.numel() for p in model.parameters()) == count, name

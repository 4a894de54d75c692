"""The solutions of chapter 3 against torchvision, and other right ways to solve its exercises."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck
from torchvision.models.swin_transformer import ShiftedWindowAttention
from torchvision.ops import FrozenBatchNorm2d

from minim2f.book import exercises
from minim2f.book.exercise import verdict
from minim2f.book.experiments import ch03


def solve(exercise_id: str, *arguments: object) -> object:
    return exercises.find(exercise_id).reference(*arguments)


def test_a_folded_norm_equals_torchvisions_frozen_one() -> None:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 5, 3, bias=False), FrozenBatchNorm2d(5)
    for numbers in norm.buffers():
        numbers.uniform_(0.1, 2)
    x = torch.randn(2, 3, 6, 7)
    numbers = norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps
    mine = F.conv2d(x, *solve("3.1", convolution.weight, *numbers))
    torch.testing.assert_close(mine, norm(convolution(x)))


@torch.no_grad()
def test_the_bottleneck_equals_torchvisions_without_norms() -> None:
    torch.manual_seed(0)
    shortcut = nn.Conv2d(8, 12, 1, 2, bias=False)
    for block in (
        Bottleneck(8, 3, 2, shortcut, norm_layer=nn.Identity),
        Bottleneck(12, 3, norm_layer=nn.Identity),
    ):
        layers = [block.conv1, block.conv2, block.conv3, block.downsample]
        kernels = [layer.weight if layer else None for layer in layers]
        x = torch.randn(2, block.conv1.in_channels, 9, 8)
        torch.testing.assert_close(solve("3.2", x, *kernels, block.stride), block(x))


@torch.no_grad()
def test_attention_in_windows_equals_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = ShiftedWindowAttention(8, [3, 3], [0, 0], 2)
    bias = solve("3.4", theirs.relative_position_bias_table, 3, 3)
    torch.testing.assert_close(bias[None], theirs.get_relative_position_bias())

    def attend(cells: torch.Tensor) -> torch.Tensor:
        q, k, v = theirs.qkv(cells).unflatten(2, (3, 2, -1)).transpose(1, 3).unbind(2)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return theirs.proj(found.transpose(1, 2).flatten(2))

    x = torch.randn(2, 7, 5, 8)
    torch.testing.assert_close(solve("3.3", x, 3, attend), theirs(x))


def test_relative_bias_of_an_oblong_window_equals_torchvisions() -> None:
    theirs = ShiftedWindowAttention(8, [2, 5], [0, 0], 4)
    mine = solve("3.4", theirs.relative_position_bias_table, 2, 5)
    torch.testing.assert_close(mine[None], theirs.get_relative_position_bias())


def fold_by_a_matrix(kernels, mean, var, weight, bias, eps):
    scale = torch.diag(weight * (var + eps).rsqrt())
    return torch.einsum("oc,cikl->oikl", scale, kernels), bias - scale @ mean


def windows_by_permute(x, window, attend):
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % window, 0, -h % window))
    rows, columns = x.shape[1] // window, x.shape[2] // window
    x = x.view(b, rows, window, columns, window, c).permute(0, 1, 3, 2, 4, 5)
    x = attend(x.reshape(-1, window * window, c))
    x = x.view(b, rows, columns, window, window, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, rows * window, columns * window, c)[:, :h, :w]


def windows_column_by_column(x, window, attend):
    """The windows in another order: columns of windows outside, pictures inside."""
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % window, 0, -h % window))
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).permute(3, 1, 0, 2, 4, 5)
    x = attend(x.flatten(3, 4).flatten(0, 2)).view(x.shape).permute(2, 1, 3, 0, 4, 5)
    return x.flatten(3, 4).flatten(1, 2)[:, :h, :w]


def windows_of_a_map_that_fits(x, window, attend):
    """As a first draft: no filling up."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // window, window, w // window, window, c).permute(0, 1, 3, 2, 4, 5)
    x = attend(x.reshape(-1, window**2, c)).reshape(x.shape)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)


def windows_filled_up_crosswise(x, window, attend):
    b, h, w, c = x.shape
    down, right = (window - h % window) % window, (window - w % window) % window
    return windows_of_a_map_that_fits(F.pad(x, (0, 0, 0, down, 0, right)), window, attend)[
        :, :h, :w
    ]


def windows_one_after_the_other(x, window, attend):
    def each(cells):
        return torch.stack([attend(one[None])[0] for one in cells])

    return windows_by_permute(x, window, each)


def fold_two_divisions(kernels, mean, var, weight, bias, eps):
    deviation = torch.sqrt(var + eps)
    return kernels * (weight / deviation).view(-1, 1, 1, 1), bias - mean / deviation


def bias_of_a_square(table, height, width):
    return table[slow_index(height)].permute(2, 0, 1)


def slow_index(window):
    cells = [(y, x) for y in range(window) for x in range(window)]
    rows = torch.zeros(len(cells), len(cells), dtype=torch.long)
    for i, (y, x) in enumerate(cells):
        for j, (key_y, key_x) in enumerate(cells):
            down, right = y - key_y + window - 1, x - key_x + window - 1
            rows[i, j] = down * (2 * window - 1) + right
    return rows


def windows_by_split(x, window, attend):
    """Right numbers, but cut in a loop, and a call for each window."""
    h, w = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -w % window, 0, -h % window))
    bands = []
    for band in x.split(window, 1):
        parts = band.split(window, 2)
        bands.append(torch.cat([attend(p.flatten(1, 2)).view(p.shape) for p in parts], 2))
    return torch.cat(bands, 1)[:, :h, :w]


def bias_by_loops(table, height, width):
    cells = [(y, x) for y in range(height) for x in range(width)]
    wide = 2 * width - 1
    rows = [[(y - v + height - 1) * wide + x - u + width - 1 for v, u in cells] for y, x in cells]
    return table[torch.tensor(rows)].movedim(2, 0)


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("3.1", fold_by_a_matrix),
        ("3.3", windows_by_permute),
        ("3.3", windows_column_by_column),
        ("3.4", bias_by_loops),
    ],
)
def test_another_right_answer_is_accepted(exercise_id, answer) -> None:
    said = verdict(exercises.find(exercise_id), answer)
    assert said.startswith("✔"), said


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("3.1", fold_two_divisions, "the norm multiplies x − mean by its weight"),
        ("3.3", windows_of_a_map_that_fits, "window does not divide every height and width"),
        ("3.3", windows_filled_up_crosswise, "right and bottom are swapped in F.pad"),
        ("3.3", windows_one_after_the_other, "call attend once"),
        ("3.4", bias_of_a_square, "the window need not be square"),
    ],
)
def test_a_reader_s_mistake_earns_words(exercise_id, answer, hint) -> None:
    said = verdict(exercises.find(exercise_id), answer)
    assert said.startswith(f"✘ {exercise_id} {hint}"), said


def test_windows_cut_in_a_loop_are_refused() -> None:
    said = verdict(exercises.find("3.3"), windows_by_split)
    assert said.startswith("✘ 3.3 no cutting in a loop"), said


def test_the_side_of_influence_and_its_displacement_by_hand() -> None:
    heat = torch.zeros(9, 9)
    heat[4, 4], heat[4, 6], heat[1, 4] = 0.5, 0.3, 0.2
    assert [ch03.side(heat, 4, share) for share in (0.4, 0.6, 0.9)] == [1, 5, 7]
    assert ch03.displacement(heat, 4) == pytest.approx((0.3 * 2 - 0.2 * 3) / 2)


def test_influence_ends_where_the_receptive_field_does() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3, stride=4, padding=1)
    heat = ch03.influence(lambda x: {"res2": convolution(x)}, torch.randn(2, 3, 32, 32), 2)
    assert heat.sum().item() == pytest.approx(1) and (heat > 0).sum() == 9
    assert (heat[15:18, 15:18] > 0).all()

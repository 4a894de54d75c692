"""check, scope, watch and walkthrough: every row of the documented tensor table."""

from __future__ import annotations

import pytest
import torch

import minim2f
from minim2f.shapes import ShapeError, check, scope, watch
from minim2f.training.matching import Target


def test_returns_the_tensor_itself():
    x = torch.zeros(2, 256, 25, 32)
    assert check("P5", x, "B C H/32 W/32") is x


def test_symbols_keep_their_size_within_a_scope():
    with scope():
        check("images", torch.zeros(2, 3, 64, 96), "B 3 H W")
        check("P5", torch.zeros(2, 8, 2, 3), "B C H/32 W/32")
        with pytest.raises(ShapeError, match=r"P4.*\(2, 8, H/16, W/16\).*H/16 is 4, found 5"):
            check("P4", torch.zeros(2, 8, 5, 6), "B C H/16 W/16")


def test_calls_outside_of_a_scope_do_not_know_each_other():
    check("a", torch.zeros(2), "B")
    check("b", torch.zeros(3), "B")


def test_a_symbol_is_solved_from_arithmetic():
    with scope():
        check("res5", torch.zeros(1, 2, 3), "B H/32 K+1")
        check("images", torch.zeros(64, 2), "H K")


@pytest.mark.parametrize(
    "shape, symbols, message",
    [
        ((2, 3), "B C H", "3 dimensions expected, 2 found"),
        ((2, 3), "B B", "B is 2, found 3"),
        ((2, 5), "B 4", "4 is 4, found 5"),
        ((2, 6), "B H*W", "unknown symbols H and W"),
        ((2, 0), "B K+1", "cannot be 0"),
        ((2, 5), "B 2*K", "cannot be 5 for any whole K"),
        ((2,), "print(1)", "not a shape term"),
        ((2,), "B-", "not a shape term"),
    ],
)
def test_errors_name_tensor_expectation_and_finding(shape, symbols, message):
    with pytest.raises(ShapeError) as error:
        check("mask", torch.zeros(shape), symbols)
    assert message in str(error.value).replace("'", "")
    if "term" not in message:
        assert "mask" in str(error.value) and str(shape) in str(error.value)


def test_a_size_that_does_not_divide_is_named():
    with pytest.raises(ShapeError, match="H/32 is 3.125: not a whole number"):
        check("P5", torch.zeros(3), "H/32", H=100)


def test_watch_records_names_shapes_and_tensors():
    x = torch.rand(2, 3)
    with watch() as rows:
        check("x", x, "B C")
    check("y", x, "B C")
    assert [(r.name, r.symbols, r.shape) for r in rows] == [("x", "B C", (2, 3))]
    assert torch.equal(rows["x"].tensor, x)
    assert "x" in str(rows) and "(B, C)" in str(rows) and "(2, 3)" in str(rows)
    with pytest.raises(KeyError, match="no tensor named"):
        rows["z"]


# The source document's table for an 800 x 1024 picture, N = 100, C = 256, with the batch in front.
DOCUMENTED = {
    "images": (1, 3, 800, 1024),
    "res3": (1, 512, 100, 128),
    "res4": (1, 1024, 50, 64),
    "res5": (1, 2048, 25, 32),
    "P3": (1, 256, 100, 128),
    "P4": (1, 256, 50, 64),
    "P5": (1, 256, 25, 32),
    "F_pixel": (1, 256, 200, 256),
    "X_0": (1, 100, 256),  # object queries
    "M'_0": (1, 100, 200, 256),  # mask predicted from X_0
    "M_0": (1, 100, 800),  # the same, resized to P5 and thresholded
    "Q_1": (1, 100, 256),
    "K_1": (1, 800, 256),
    "V_1": (1, 800, 256),
    "A_1": (1, 100, 256),  # after masked attention, residual and norm
    "S_1": (1, 100, 256),  # after self-attention, residual and norm
    "X_1": (1, 100, 256),
    "K_2": (1, 50 * 64, 256),
    "K_3": (1, 100 * 128, 256),
    "K_4": (1, 800, 256),  # round-robin: back to P5
    "X_9": (1, 100, 256),
    "E_object": (1, 100, 256),
    "E'_object": (1, 100, 256),
    "class_logits": (1, 100, 134),
    "mask_logits": (1, 100, 200, 256),
}


@pytest.fixture(scope="module")
def table():
    torch.manual_seed(0)
    model = minim2f.Mask2Former(minim2f.preset("r50", pixel_decoder="fpn")).eval()
    return minim2f.walkthrough(model, torch.randn(1, 3, 800, 1024))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_row_of_the_documented_table(table, name):
    assert table[name].shape == DOCUMENTED[name]


def test_the_table_also_has_res2_and_comes_in_the_order_of_data_flow(table):
    assert table["res2"].shape == (1, 256, 200, 256)
    names = [row.name for row in table]
    road = ["images", "res2", "res5", "P5", "P3", "F_pixel", "X_0", "M_0", "Q_1", "X_1", "X_9"]
    assert sorted(road, key=names.index) == road


# On an 64 x 96 picture with three segments, and one with five: what the training adds.
TRAINING = {
    "mask logits to match": (16, 512),
    "masks to match": (5, 512),
    "cost": (16, 5),
    "true classes": (2, 16),
    "matched masks": (8, 16, 24),
    "loss points": (8, 512, 2),
    "logits at points": (8, 512),
    "masks at points": (8, 512),
    "losses": (3,),
}
ENCODER = {
    "pixels": (2, 126, 64),
    "positions": (1, 126, 64),
    "offsets_1": (2, 126, 8, 3, 4, 2),
    "locations_3": (2, 126, 8, 3, 4, 2),
    "weights_6": (2, 126, 8, 3, 4),
    "encoded_6": (2, 126, 64),
}


@pytest.fixture(scope="module")
def training_table():
    config = minim2f.preset("tiny", pixel_decoder="msdeform")
    targets = [
        Target(torch.zeros(count, dtype=torch.int64), torch.ones(count, 64, 96)) for count in (3, 5)
    ]
    return minim2f.walkthrough(minim2f.Mask2Former(config), torch.zeros(2, 3, 64, 96), targets)


@pytest.mark.parametrize("name", [*ENCODER, *TRAINING])
def test_with_targets_the_walk_goes_on_through_matching_and_losses(training_table, name):
    assert training_table[name].shape == (ENCODER | TRAINING)[name]


def test_both_pictures_are_matched_in_the_order_of_data_flow(training_table):
    names = [row.name for row in training_table]
    assert [row.shape for row in training_table if row.name == "cost"] == [(16, 3), (16, 5)]
    road = ["pixels", "encoded_6", "P5", "X_0", "mask_logits", "cost", "loss points", "losses"]
    assert sorted(road, key=names.index) == road


def test_an_image_size_that_is_no_multiple_of_32_is_refused():
    model = minim2f.Mask2Former(minim2f.preset("tiny"))
    with pytest.raises(ShapeError, match="multiples of 32"):
        model(torch.zeros(1, 3, 100, 96))

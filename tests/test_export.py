"""Models as graphs: written once, run at other sizes, in PyTorch and in ONNX Runtime."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch.nn.parallel import scatter_gather

import minim2f
from minim2f.checkpoints import graph
from minim2f.cli import main
from minim2f.model import transformer_decoder
from minim2f.model.transformer_decoder import attention_mask
from minim2f.ops.attention import attention
from minim2f.ops.deformable import attend_by_level, attend_slow

MISSING = [name for name in ("onnx", "onnxscript", "onnxruntime") if not find_spec(name)]
OLD = torch.__version__.startswith("2.6.")  # it cannot resize to a size that is a formula
needs_onnx = pytest.mark.skipif(
    bool(MISSING) or OLD,
    reason="needs PyTorch 2.7 or newer" if OLD else f"needs {', '.join(MISSING)}: minim2f[onnx]",
)

# Full widths; one decoder layer on each level. Swin, whose blocks take long, has the plain pixel
# decoder, since deformable attention is r50's.
SHORT = {"num_layers": 3, "num_classes": 7, "num_queries": 4}
MODELS = {
    "tiny": (lambda: minim2f.load("tiny"), [(1, 3, 64, 64), (2, 3, 64, 96)]),
    "r50": (
        lambda: minim2f.Mask2Former(minim2f.preset("r50", **SHORT)),
        [(1, 3, 64, 96), (3, 3, 128, 64)],
    ),
    "swin_t": (
        lambda: minim2f.Mask2Former(
            minim2f.preset("swin_t", pixel_decoder="fpn", scales=(32,), **SHORT)
        ),
        [(1, 3, 256, 256), (2, 3, 320, 256)],
    ),
}


def draw(model: minim2f.Mask2Former, shape: tuple[int, ...]) -> tuple[torch.Tensor, tuple]:
    """Images and what the model makes of them, drawn anew until no query's mask is in doubt.

    Masked attention asks whether a number is below 0. Where it is 0 but for rounding, two exact
    programs answer differently, and all that follows differs.
    """
    nearest = []

    def watched(mask_embeddings, small_features):
        logits = (mask_embeddings @ small_features).abs()
        nearest.append(logits.min() / logits.max())
        return attention_mask(mask_embeddings, small_features)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(transformer_decoder, "attention_mask", watched)
        while not nearest or min(nearest) < 1e-5:
            nearest.clear()
            images = torch.randn(shape)
            out = model(images)
    return images, (out.class_logits, out.mask_logits)


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    """A model, its graph, and images with what the model makes of them, fast ways and all."""
    build, shapes = MODELS[request.param]
    torch.manual_seed(0)
    model = build().eval()
    return model, graph.to_graph(model), [draw(model, shape) for shape in shapes]


@pytest.fixture
def written_once(case, monkeypatch):
    """`export` within it takes the graph that is there: to follow a model takes seconds."""
    monkeypatch.setattr(graph, "to_graph", lambda model: case[1])


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_one_pt2_file_takes_all_sizes(case, written_once, tmp_path):
    model, _, pairs = case
    file = minim2f.export(model, tmp_path / "out.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["out.pt2"]
    run = torch.export.load(file).module()
    with torch.no_grad():
        for images, expected in pairs:
            assert_same(run(images), expected)
        batch, channels, height, width = pairs[0][0].shape
        for shape in ((batch, channels, height + 4, width), (batch, 4, height, width)):
            with pytest.raises((AssertionError, RuntimeError, ValueError)):
                run(torch.zeros(shape))


@needs_onnx
def test_one_onnx_file_takes_all_sizes(case, written_once, tmp_path):
    import onnxruntime

    model, _, pairs = case
    file = minim2f.export(model, tmp_path / "out.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["images"]
    names = ["class_logits", "mask_logits"]
    for images, expected in pairs:
        found = session.run(names, {"images": images.numpy()})
        assert_same(map(torch.from_numpy, found), expected)
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        height, width = pairs[0][0].shape[2:]
        session.run(names, {"images": torch.zeros(1, 3, height + 4, width).numpy()})


def test_a_model_in_training_is_exported_as_it_predicts(tmp_path):
    torch.manual_seed(0)
    model = minim2f.load("tiny").train()
    images, expected = draw(model.eval(), (1, 3, 64, 64))
    before = {name: value.clone() for name, value in model.train().state_dict().items()}
    run = graph.to_graph(model).module()
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        assert_same(run(images), expected)


@pytest.mark.parametrize(
    ("backbone", "side"), [("resnet50", 64), ("swin_t", 256), ("swin_b", 416), ("swin_l", 416)]
)
def test_the_smallest_side_is_known(backbone, side):
    with torch.device("meta"):
        model = minim2f.Mask2Former(minim2f.preset("r50", backbone=backbone))
    assert graph.smallest_side(model) == side


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(graph, "find_spec", lambda name: None)
    assert main(["export", "tiny", "--to", str(tmp_path / "out.onnx")]) == 1
    said = capsys.readouterr().err
    assert "onnx and onnxscript" in said and "minim2f[onnx]" in said and ".pt2" in said
    assert not any(tmp_path.iterdir())


def test_a_pytorch_that_cannot_write_onnx_is_named(tmp_path, monkeypatch, capsys):
    def refuse(*args, **options):
        raise torch.onnx.OnnxExporterError("a page of advice to PyTorch's authors")

    monkeypatch.setattr(graph, "find_spec", lambda name: name)
    monkeypatch.setattr(graph, "to_graph", lambda model: None)
    monkeypatch.setattr(torch.onnx, "export", refuse)
    assert main(["export", "tiny", "--to", str(tmp_path / "out.onnx")]) == 1
    said = capsys.readouterr().err
    assert f"PyTorch {torch.__version__} cannot" in said and ".pt2" in said and "advice" not in said
    assert not any(tmp_path.iterdir())


def test_the_command_writes_a_graph(tmp_path, capsys):
    assert main(["export", "tiny", "--to", str(tmp_path / "new" / "out.pt2")]) == 0
    assert (tmp_path / "new" / "out.pt2").stat().st_size > 1e6
    assert "multiples of 32 from 64 on" in capsys.readouterr().out


def test_the_command_writes_weights_for_others(tmp_path, capsys):
    assert main(["export", "tiny", "--to", str(tmp_path / "out.pkl")]) == 0
    assert minim2f.load(tmp_path / "out.pkl").config.num_queries == 16
    changes = {"pixel_decoder": "msdeform", "num_layers": 3}
    model = minim2f.Mask2Former(minim2f.preset("tiny", **changes))
    ours = minim2f.save(model, tmp_path / "ours.safetensors")
    assert main(["export", str(ours), "--to", str(tmp_path / "folder")]) == 0
    assert (tmp_path / "folder" / "config.json").is_file()
    assert str(tmp_path / "folder") in capsys.readouterr().out


@pytest.mark.parametrize("name", ["out.onx", "out.safetensors", "out.pth"])
def test_an_ending_that_nobody_reads_is_refused(tmp_path, capsys, name):
    assert main(["export", "tiny", "--to", str(tmp_path / name)]) == 1
    assert ".pkl, .onnx or .pt2" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


# ---- a prediction is a tree of tensors ---------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> minim2f.Mask2Former:
    torch.manual_seed(0)
    return minim2f.Mask2Former(minim2f.preset("tiny", num_layers=1)).eval()


def test_a_stored_graph_of_the_model_itself_returns_a_prediction(small, tmp_path):
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        program = torch.export.export(small, (images,), strict=False)
        torch.export.save(program, tmp_path / "model.pt2")
        found = torch.export.load(tmp_path / "model.pt2").module()(images)
        expected = small(images)
    assert isinstance(found, minim2f.Prediction)
    assert isinstance(found.auxiliary[0], minim2f.Prediction)
    assert_same([found.mask_logits], [expected.mask_logits])


def test_data_parallel_gathers_predictions(small, monkeypatch):
    """What it does with the outputs of two GPUs, done on the CPU."""

    class Gather:
        @staticmethod
        def apply(device, dim, *tensors):
            return torch.cat(tensors, dim)

    monkeypatch.setattr(scatter_gather, "Gather", Gather)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        together = scatter_gather.gather([small(images[:1]), small(images[1:])], "cpu")
        expected = small(images)
    assert isinstance(together, minim2f.Prediction)
    assert_same([together.mask_logits], [expected.mask_logits])
    assert_same(together.auxiliary[0][:3], expected.auxiliary[0][:3])


# ---- the forms that graphs hold ------------------------------------------------------------------


def test_reads_level_by_level_are_reads_one_by_one():
    sizes, kind = [(2, 3), (4, 5), (7, 9)], {"dtype": torch.float64}
    values = torch.randn(2, 6 + 20 + 63, 4, 8, **kind)
    locations = torch.rand(2, 11, 4, 3, 2, 2, **kind) * 1.4 - 0.2  # some outside
    weights = torch.rand(2, 11, 4, 3, 2, **kind)
    slow, by_level = (f(values, sizes, locations, weights) for f in (attend_slow, attend_by_level))
    torch.testing.assert_close(by_level, slow, rtol=1e-12, atol=1e-12)


def test_the_formula_of_attention_is_the_fused_kernel():
    kind = {"dtype": torch.float64}
    query, key, value = torch.randn(3, 2, 5, 4, 49, 8, **kind)
    bias = torch.randn(5, 1, 49, 49, **kind)
    with minim2f.ops.reference():
        slow = attention(query, key, value, bias)
    torch.testing.assert_close(attention(query, key, value, bias), slow, rtol=1e-12, atol=1e-12)


def test_who_never_exports_loads_nothing_for_it():
    code = "import sys, minim2f; print([m for m in ('onnx', 'onnxscript') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

"""Models as graphs: a list of operations with the weights, which runs without this package.

`torch.export` follows the model once, with sizes that stay formulas, so that one file takes any
batch, height and width. PyTorch stores that list (.pt2); ONNX is made from it (.onnx).
"""

from __future__ import annotations

import copy
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..files import whole
from ..model.mask2former import Mask2Former, Prediction
from ..model.swin import SIZES, Swin

SUFFIXES = (".onnx", ".pt2")
LARGEST = 4096  # pixels of a side


class Graph(nn.Module):
    """A model whose input and outputs are plain tensors."""

    def __init__(self, model: Mask2Former) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, H, W) -> class logits (B, N, K+1), mask logits at H/4, W/4."""
        for size in images.shape[2:]:
            torch._check(size % 32 == 0)
        # H as 32 h: so PyTorch sees that all its halves are whole, and that no map needs padding
        rows, columns = (size // 32 for size in images.shape[2:])
        images = images.reshape(*images.shape[:2], rows * 32, columns * 32)
        # the model's own forward pass without `autocast`, which PyTorch 2.6 cannot store
        pixel_features, pyramid = self.model.pixel_decoder(self.model.backbone(images))
        last = self.model.decoder(pixel_features, pyramid)[-1]
        prediction = Prediction(*last, pixel_features)
        return prediction.class_logits, prediction.mask_logits


def smallest_side(model: Mask2Former) -> int:
    """The height and width in pixels from which on a model's graph takes pictures.

    PyTorch writes another graph for a length of 1 than for all others. No map of a graph is one
    pixel high or wide; of a Swin transformer's, none is a single window.
    """
    if isinstance(model.backbone, Swin):
        window = SIZES[model.config.backbone][3]
        return 32 * (window + 1)
    return 32 * 2


def to_graph(model: Mask2Former) -> ExportedProgram:
    """The model in eval mode, float32 and on the CPU, as a graph with a free batch, H and W."""
    plain = Graph(copy.deepcopy(model).cpu().float().eval())
    least = smallest_side(model) // 32
    # all different, and none of them 1, so that PyTorch takes no size for another
    images = torch.zeros(2, 3, 32 * (least + 1), 32 * (least + 2))
    sides = {d: 32 * Dim(name, min=least, max=LARGEST // 32) for d, name in ((2, "h"), (3, "w"))}
    sizes = {"images": {0: Dim("batch", min=1, max=1024), **sides}}
    with torch.no_grad():
        return torch.export.export(plain, (images,), dynamic_shapes=sizes, strict=False)


def write_graph(model: Mask2Former, path: Path) -> Path:
    """Writes a .pt2 or an .onnx file, whole or not at all; `export` has the words for users.

    Raises:
        ImportError: a package for ONNX is missing, or PyTorch is too old for this model.
    """
    if path.suffix == ".pt2":
        with whole(path) as part, open(part, "wb") as file:
            torch.export.save(to_graph(model), file)
        return path
    missing = [name for name in ("onnx", "onnxscript") if not find_spec(name)]
    if missing:
        raise ImportError(
            f"an .onnx file needs {' and '.join(missing)}: pip install 'minim2f[onnx]', or export "
            "to a .pt2 file, which needs PyTorch only"
        )
    names = {"input_names": ["images"], "output_names": ["class_logits", "mask_logits"]}
    plain = {"verbose": False, "optimize": False}  # whoever runs it optimises it, and better
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are for the exporter's own authors
        try:
            program = torch.onnx.export(to_graph(model), (), dynamo=True, **names, **plain)
        except torch.onnx.OnnxExporterError as error:
            raise ImportError(
                f"PyTorch {torch.__version__} cannot write this model as ONNX: take a newer one, "
                "or export to a .pt2 file"
            ) from error
    with whole(path) as part:
        program.save(part, external_data=False)
    return path

"""The two that are compared, with the same weights, and the work that both have to do."""

from __future__ import annotations

import statistics
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints.names import from_huggingface
from ..model.config import preset
from ..model.mask2former import Mask2Former
from ..training.losses import Criterion
from ..training.matching import Target

CLASSES = 133
SIDES = ("theirs", "ours")
STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN_T = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7}


def transformers() -> ModuleType:
    """The library to compare with.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the benchmark compares with Hugging Face Transformers, which is not installed: "
            'pip install -e ".[test]"'
        ) from error
    transformers.utils.logging.set_verbosity_error()
    return transformers


def make_theirs(name: str, num_queries: int = 100) -> nn.Module:
    """Transformers' Mask2Former with random weights, batch norm and sampling points stirred.

    Args:
        name: "r50" or "swin_t".
        num_queries: N.
    """
    peer = transformers()
    backbone = {
        "r50": lambda: peer.ResNetConfig(layer_type="bottleneck", out_features=STAGES),
        "swin_t": lambda: peer.SwinConfig(
            image_size=224, drop_path_rate=0.3, out_features=STAGES, **SWIN_T
        ),
    }[name]()
    config = peer.Mask2FormerConfig(
        backbone_config=backbone, num_labels=CLASSES, num_queries=num_queries
    )
    torch.manual_seed(0)
    theirs = peer.Mask2FormerForUniversalSegmentation(config).eval()
    with torch.no_grad():
        for key, buffer in theirs.named_buffers():
            if "running_mean" in key:
                buffer.normal_(0, 0.1)
            if "running_var" in key:
                buffer.uniform_(0.8, 1.5)
        for key, parameter in theirs.named_parameters():
            if "sampling_offsets" in key or "attention_weights" in key:
                parameter += 0.01 * torch.randn_like(parameter)
    return theirs


def make_ours(name: str, theirs: nn.Module | None = None, num_queries: int = 100) -> Mask2Former:
    """Our model, with their weights if they are given."""
    torch.manual_seed(0)
    ours = Mask2Former(preset(name, num_queries=num_queries)).eval()
    if theirs is not None:
        ours.load_state_dict(from_huggingface(theirs.state_dict(), ours.config))
    return ours


def train(model: nn.Module) -> nn.Module:
    """Training mode; but no batch norm learns, as in ours and in the published models."""
    for module in model.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    return model


def pictures(
    batch: int, height: int, width: int, device: torch.device | str = "cpu", seed: int = 1
) -> Tensor:
    """Noise, (batch, 3, height, width): what the pixels show makes no difference to the time."""
    noise = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return noise.to(device)


def discs(batch: int, size: int, objects: int, device: torch.device | str = "cpu") -> list[Target]:
    """A truth of some discs for every picture."""
    generator = torch.Generator().manual_seed(3)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    truth = []
    for _ in range(batch):
        cx, cy, r = torch.rand(3, objects, 1, 1, generator=generator) * size
        masks = (x - cx) ** 2 + (y - cy) ** 2 < (0.05 * size + 0.2 * r) ** 2
        labels = torch.randint(0, CLASSES, (objects,), generator=generator)
        truth.append(Target(labels.to(device), masks.to(device)))
    return truth


@torch.no_grad()
def forward(side: str, model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Class logits (B, N, K+1) and mask logits (B, N, H/4, W/4)."""
    out: Any = model(images)
    if side == "ours":
        return out.class_logits, out.mask_logits
    return out.class_queries_logits, out.masks_queries_logits


def loss(side: str, model: nn.Module, images: Tensor, truth: list[Target]) -> Tensor:
    """The first half of a training step: forward, ten matchings, losses."""
    if side == "ours":
        return sum(Criterion(model.config)(model(images), truth).values())
    labels, masks = [t.labels for t in truth], [t.masks.float() for t in truth]
    return model(images, class_labels=labels, mask_labels=masks).loss


def step(side: str, model: nn.Module, images: Tensor, truth: list[Target]) -> None:
    """A training step but for its last part: the optimiser is PyTorch's for both."""
    model.zero_grad()
    loss(side, model, images, truth).backward()


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a fraction of the largest value."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def check_equal(name: str, models: dict[str, nn.Module], device: torch.device) -> float:
    """Nobody is faster by computing something else.

    In float32 a cell of an attention mask whose logit is within rounding of 0 may fall to either
    side, and all that follows differs. So five small pictures are compared, and the median counts.
    In float64, where this does not happen, tests compare all ten predictions.

    Returns:
        The median of the five largest relative differences of class and mask logits.

    Raises:
        ValueError: it is above 1e-4.
    """
    found = []
    for seed in range(5):
        images = pictures(1, 128, 128, device, seed)
        theirs, ours = (forward(side, models[side], images) for side in SIDES)
        found.append(max(difference(a, b) for a, b in zip(ours, theirs)))
    if not statistics.median(found) < 1e-4:
        told = ", ".join(f"{d:.1e}" for d in found)
        raise ValueError(f"{name}: outputs differ by {told}, so times cannot be compared")
    return statistics.median(found)

"""Image to res2 ... res5: a ResNet, read out after each of its four stages."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from ..ops.norm import FrozenNorm
from ..shapes import check, scoped

# the kind of block, how many in each stage, and the channels of the stem
RESNETS = {
    "resnet10": (BasicBlock, [1, 1, 1, 1], 64),
    "resnet10_half": (BasicBlock, [1, 1, 1, 1], 32),
    "resnet50": (Bottleneck, [3, 4, 6, 3], 64),
    "resnet101": (Bottleneck, [3, 4, 23, 3], 64),
}


class ResNet(nn.Module):
    """A ResNet of torchvision's blocks that returns the maps of its four stages, not a class.

    Args:
        name: "resnet10" (one basic block a stage), "resnet10_half" (with half of the channels),
            "resnet50" or "resnet101".
        frozen_norm: batch norm with fixed statistics and factors (detectron2's FrozenBN), as in all
            published COCO models. Training from random weights needs False.
        weights: "imagenet" or None, see `imagenet_weights`.
    """

    def __init__(self, name: str, frozen_norm: bool = True, weights: str | None = None) -> None:
        super().__init__()
        if name not in RESNETS:
            raise ValueError(f"no backbone is called {name!r}; there are {', '.join(RESNETS)}")
        norm = FrozenNorm if frozen_norm else nn.BatchNorm2d
        block, depths, width = RESNETS[name]
        conv = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stem = nn.Sequential(conv, norm(width), nn.ReLU(inplace=True), pool)
        self.channels, inputs = [], width
        for level, depth in enumerate(depths, start=2):
            stage = _stage(block, depth, inputs, width, stride=1 if level == 2 else 2, norm=norm)
            setattr(self, f"res{level}", stage)
            inputs, width = width * block.expansion, width * 2
            self.channels.append(inputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if state := imagenet_weights(name, weights):
            self.load_state_dict(_as_named_here(state))
        self.frozen_norm = frozen_norm

    @scoped
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> res2 (B, C2, H/4, W/4), res3 (1/8), res4 (1/16), res5 (1/32)."""
        # pixel by pixel in memory: pooling is faster, and the pixel decoder's rows are free; but
        # the gradient of a batch norm that learns is slower
        layout = torch.channels_last if self.frozen_norm else torch.contiguous_format
        x = self.stem(images.contiguous(memory_format=layout))
        features = {}
        for level, stride in ((2, 4), (3, 8), (4, 16), (5, 32)):
            x = getattr(self, f"res{level}")(x)
            features[f"res{level}"] = check(f"res{level}", x, f"B C{level} H/{stride} W/{stride}")
        return features


def _stage(
    block: type[nn.Module], depth: int, inputs: int, width: int, stride: int, norm: type[nn.Module]
) -> nn.Sequential:
    """So many blocks; the first one changes size and channels, and so must what passes it by."""
    outputs, shortcut = width * block.expansion, None
    if stride != 1 or inputs != outputs:
        conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        shortcut = nn.Sequential(conv, norm(outputs))
    first = block(inputs, width, stride, shortcut, norm_layer=norm)
    return nn.Sequential(first, *(block(outputs, width, norm_layer=norm) for _ in range(depth - 1)))


def _as_named_here(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names of a ResNet's weights as ours; the classifier is left out."""
    ours = {"conv1": "stem.0", "bn1": "stem.1"} | {f"layer{n}": f"res{n + 1}" for n in range(1, 5)}
    split = ((name.partition("."), value) for name, value in state.items())
    return {f"{ours[top]}.{rest}": value for (top, _, rest), value in split if top in ours}


def imagenet_weights(name: str, weights: str | None) -> dict[str, Tensor] | None:
    """torchvision's ImageNet weights (its V1, from which detectron2's are made); None for None."""
    if weights is None:
        return None
    if weights != "imagenet":
        raise ValueError(f"weights is {weights!r}; write 'imagenet', or None for random ones")
    if name not in ("resnet50", "resnet101", "swin_t", "swin_s"):
        raise ValueError(f"torchvision has no ImageNet weights for {name}; use weights=None")
    try:
        return torchvision.models.get_model_weights(name).IMAGENET1K_V1.get_state_dict()
    except OSError as error:
        raise ConnectionError(
            f"ImageNet weights for {name} could not be fetched ({error}). Connect to the network "
            "once (torchvision keeps them), or start from random weights with weights=None"
        ) from error

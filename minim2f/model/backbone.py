"""Image to res2 ... res5: torchvision's ResNet, read out after each of its four stages."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from ..ops.norm import FrozenNorm
from ..shapes import check, scoped

# the kind of block, and how many in each stage
RESNETS = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
}


class ResNet(nn.Module):
    """A ResNet that returns the maps of its four stages instead of a class.

    Args:
        name: "resnet10" (one basic block a stage), "resnet50" or "resnet101".
        frozen_norm: batch norm with fixed statistics and factors (detectron2's FrozenBN), as in all
            published COCO models. Training from random weights needs False.
        weights: "imagenet" or None, see `imagenet_weights`.
    """

    def __init__(self, name: str, frozen_norm: bool = True, weights: str | None = None) -> None:
        super().__init__()
        if name not in RESNETS:
            raise ValueError(f"no backbone is called {name!r}; there are {', '.join(RESNETS)}")
        norm = FrozenNorm if frozen_norm else nn.BatchNorm2d
        net = torchvision.models.ResNet(*RESNETS[name], norm_layer=norm)
        if state := imagenet_weights(name, weights):
            net.load_state_dict(state)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.res2, self.res3, self.res4, self.res5 = net.layer1, net.layer2, net.layer3, net.layer4
        self.channels = [width * net.inplanes // 512 for width in (64, 128, 256, 512)]
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

"""Image to res2 ... res5: torchvision's ResNet, read out after each of its four stages."""

from __future__ import annotations

from urllib.error import URLError

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FrozenBatchNorm2d

from ..shapes import check, scoped


class ResNet(nn.Module):
    """A ResNet that returns the maps of its four stages instead of a class.

    Args:
        name: "resnet10" (one basic block a stage), "resnet50" or "resnet101".
        frozen_norm: batch norm with fixed statistics and factors (detectron2's FrozenBN), as in all
            published COCO models. Training from random weights needs False.
        weights: "imagenet" fetches torchvision's ImageNet weights; None starts at random.

    Raises:
        ValueError: an unknown name, or weights that do not exist for it.
        ConnectionError: the weights could not be fetched.
    """

    def __init__(self, name: str, frozen_norm: bool = True, weights: str | None = None) -> None:
        super().__init__()
        norm = FrozenBatchNorm2d if frozen_norm else nn.BatchNorm2d
        net = _torchvision_resnet(name, norm, weights)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.res2, self.res3, self.res4, self.res5 = net.layer1, net.layer2, net.layer3, net.layer4
        expansion = net.inplanes // 512
        self.channels = [width * expansion for width in (64, 128, 256, 512)]

    @scoped
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> res2 (B, C2, H/4, W/4), res3 (1/8), res4 (1/16), res5 (1/32)."""
        x = self.stem(images)
        features = {}
        for level, stride in ((2, 4), (3, 8), (4, 16), (5, 32)):
            x = getattr(self, f"res{level}")(x)
            features[f"res{level}"] = check(f"res{level}", x, f"B C{level} H/{stride} W/{stride}")
        return features


def _torchvision_resnet(
    name: str, norm: type[nn.Module], weights: str | None
) -> torchvision.models.ResNet:
    if weights not in (None, "imagenet"):
        raise ValueError(
            f"weights is {weights!r}; write weights='imagenet', or None for random ones"
        )
    if name == "resnet10":
        if weights:
            raise ValueError("torchvision has no ImageNet weights for resnet10; use weights=None")
        return torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=norm)
    if name not in ("resnet50", "resnet101"):
        raise ValueError(f"no backbone is called {name!r}; there are resnet10, resnet50, resnet101")
    try:
        # V1: the weights that detectron2, and so the published models, start from
        return torchvision.models.get_model(
            name, weights="IMAGENET1K_V1" if weights else None, norm_layer=norm
        )
    except (URLError, OSError) as error:
        raise ConnectionError(
            f"ImageNet weights for {name} could not be fetched ({error}). Connect to the network "
            "once (torchvision keeps them), or start from random weights with weights=None"
        ) from error

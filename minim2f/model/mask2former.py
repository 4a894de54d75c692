"""Backbone, pixel decoder and transformer decoder put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..shapes import ShapeError, check, scoped
from .backbone import ResNet
from .config import Config
from .pixel_decoder import FPN, DeformablePixelDecoder
from .swin import Swin
from .transformer_decoder import TransformerDecoder

MEAN, STD = (123.675, 116.280, 103.530), (58.395, 57.120, 57.375)  # ImageNet's, for 0 ... 255


class Prediction(NamedTuple):
    """N masks with a class each, in the form from which everything else is made.

    A mask logit is a product of two vectors, E' of its query and F_pixel of its pixel. Who needs
    only some pixels (points of a loss, a small attention mask) multiplies only those.
    """

    class_logits: Tensor  # (B, N, K+1), the last column is "no object"
    mask_embeddings: Tensor  # E', (B, N, C)
    pixel_features: Tensor  # F_pixel, (B, C, H/4, W/4)
    auxiliary: Sequence[Prediction] = ()  # 3L of the same kind, from the raw queries onwards

    @property
    def mask_logits(self) -> Tensor:
        """(B, N, H/4, W/4): inside a mask where positive. Computed at each call."""
        return torch.einsum("bnc,bchw->bnhw", self.mask_embeddings, self.pixel_features)


# Any named tuple is a tree of tensors to PyTorch; a name of its own lets files hold it, too.
pytree._register_namedtuple(Prediction, serialized_type_name="minim2f.Prediction")


class Mask2Former(nn.Module):
    """Masked-attention Mask Transformer (arXiv 2112.01527).

    Args:
        config: sizes and switches, see `preset`.
        weights: "imagenet" starts the backbone from torchvision's; None draws all at random.
    """

    def __init__(self, config: Config, weights: str | None = None) -> None:
        super().__init__()
        self.config = config
        if config.backbone.startswith("swin"):
            self.backbone = Swin(config.backbone, config.drop_path, weights)
        else:
            self.backbone = ResNet(config.backbone, config.frozen_norm, weights)
        decoder = {"fpn": FPN, "msdeform": DeformablePixelDecoder}[config.pixel_decoder]
        self.pixel_decoder = decoder(self.backbone.channels, config.channels)
        self.decoder = TransformerDecoder(config)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    @scoped
    def forward(self, images: Tensor) -> Prediction:
        """Predicts N masks and their classes.

        Args:
            images: (B, 3, H, W) float, normalised with `mean` and `std`, H and W multiples of 32
                (else a `ShapeError`); `batch` makes it from pictures.
        """
        check("images", images, "B 3 H W")
        if images.dtype != self.mean.dtype or any(n % 32 or not n for n in images.shape[2:]):
            raise ShapeError(
                f"images is {tuple(images.shape)}, {images.dtype}: height and width must be "
                f"multiples of 32, the type {self.mean.dtype}; Mask2Former.batch sees to both"
            )
        features = {name: f.to(images.dtype) for name, f in self.backbone(images).items()}
        with torch.autocast(images.device.type, enabled=False):  # too fine for half precision
            pixel_features, pyramid = self.pixel_decoder(features)
        *auxiliary, last = self.decoder(pixel_features, pyramid)
        n, k = self.config.num_queries, self.config.num_classes
        check("class_logits", last[0], "B N K+1", N=n, K=k)
        auxiliary = [Prediction(*pair, pixel_features) for pair in auxiliary]
        if torch.jit.is_tracing():  # which knows tuples in tuples, and no lists of them
            auxiliary = tuple(auxiliary)
        return Prediction(*last, pixel_features, auxiliary)

    def batch(self, images: Sequence[Tensor]) -> Tensor:
        """Pictures of any sizes as one batch: normalised, then padded with zeros right and below.

        Args:
            images: (3, h, w) tensors, RGB, values 0 ... 255.

        Returns:
            (B, 3, H, W), H and W the largest h and w rounded up to a multiple of 32. The network
            is not told what is padding, so a picture's result depends a little on its batch.
        """
        height, width = (-(-max(i.shape[d] for i in images) // 32) * 32 for d in (1, 2))
        batch = self.mean.new_zeros(len(images), 3, height, width)
        for padded, image in zip(batch, images):
            check("image", image, "3 h w")
            padded[:, : image.shape[1], : image.shape[2]] = (image.to(batch) - self.mean) / self.std
        return batch

"""What a Mask2Former is made of: one dataclass, and the published sizes as presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """The sizes of a model, and the switches of the paper's ablations (Tables 4 and 5).

    Attributes:
        backbone: "resnet10", "resnet50" or "resnet101".
        frozen_norm: batch norm with fixed statistics (published models) instead of trained ones.
        pixel_decoder: "fpn".
        num_classes: K, without "no object".
        channels: C, the width of everything after the backbone.
        num_queries: N.
        num_layers: decoder layers, 3L in the paper.
        num_heads: attention heads.
        ffn_channels: hidden width of the decoder's feed-forward networks.
        num_points: points a mask loss is computed on; None takes every pixel of the mask logits.
        eos_coef: relative weight of "no object" in the class loss.
        class_weight, mask_weight, dice_weight: the lambdas of the losses and of the matching cost.
        short_side, long_side: inference resizes pictures to this shortest side, unless the longest
            would pass `long_side`.
        categories: COCO category dicts (id, name, isthing) in the order of the classes, or empty.
        masked_attention: False lets every query attend everywhere, as in DETR.
        self_attention_first: True restores the order of a standard decoder layer.
        learned_content: False starts from zero query contents instead of learned ones.
        scales: strides of the pyramid levels that the layers visit in turn; (32,) is single scale.
        dropout: in the decoder; the paper removes it.
        deep_supervision: False computes the losses on the last prediction alone.
    """

    backbone: str = "resnet50"
    frozen_norm: bool = True
    pixel_decoder: str = "fpn"
    num_classes: int = 133
    channels: int = 256
    num_queries: int = 100
    num_layers: int = 9
    num_heads: int = 8
    ffn_channels: int = 2048
    num_points: int | None = 12544
    eos_coef: float = 0.1
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    short_side: int = 800
    long_side: int = 1333
    categories: tuple[dict, ...] = ()

    masked_attention: bool = True
    self_attention_first: bool = False
    learned_content: bool = True
    scales: tuple[int, ...] = (32, 16, 8)
    dropout: float = 0.0
    deep_supervision: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(self.categories))  # JSON gives lists
        object.__setattr__(self, "scales", tuple(self.scales))
        for field in ("num_classes", "num_queries", "num_layers"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}; it must be at least 1")
        if self.channels % 32 or self.channels % self.num_heads:
            raise ValueError(
                f"channels is {self.channels}; it must be a multiple of 32 (group norm) and of "
                f"num_heads = {self.num_heads}"
            )
        if self.categories and len(self.categories) != self.num_classes:
            raise ValueError(
                f"{len(self.categories)} categories were given for num_classes = {self.num_classes}"
            )
        if not self.scales or not set(self.scales) <= {32, 16, 8}:
            raise ValueError(f"scales is {self.scales}; choose among 32, 16 and 8")


PRESETS = {
    "tiny": Config(
        backbone="resnet10",
        frozen_norm=False,
        num_classes=13,
        channels=64,
        num_queries=16,
        num_layers=3,
        ffn_channels=256,
        num_points=512,
        short_side=96,
        long_side=192,
    ),
    "r50": Config(backbone="resnet50"),
    "r101": Config(backbone="resnet101"),
}


def preset(name: str, **changes: object) -> Config:
    """A published size by name, with fields changed by keyword.

    Args:
        name: "tiny" (learns the embedded scenes on a laptop), "r50" or "r101".
        changes: any field of `Config`, for example `num_classes=7`.

    Raises:
        ValueError: no such preset, or a field that `Config` does not have.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    fields = {field.name for field in dataclasses.fields(Config)}
    if not set(changes) <= fields:
        raise ValueError(
            f"a model has no setting {', '.join(sorted(set(changes) - fields))}; "
            f"there are {', '.join(sorted(fields))}"
        )
    return dataclasses.replace(PRESETS[name], **changes)

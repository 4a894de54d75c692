"""What a Mask2Former is made of: one dataclass, and the published sizes as presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """The sizes of a model, then switches, most of them of the paper's ablations (Table 4)."""

    backbone: str = "resnet50"  # or resnet101, resnet10(_half), swin_t, swin_s, swin_b, swin_l
    frozen_norm: bool = True  # ResNet: batch norm with fixed statistics, as in published models
    drop_path: float = 0.3  # Swin: probability of skipping a block in training
    pixel_decoder: str = "msdeform"  # as in published models; "fpn" is simpler and cheaper
    num_classes: int = 133  # K, without "no object"
    channels: int = 256  # C, the width of everything after the backbone
    num_queries: int = 100  # N
    num_layers: int = 9  # of the decoder, 3L in the paper
    num_heads: int = 8  # of its attention
    ffn_channels: int = 2048  # hidden width of its feed-forward networks
    num_points: int | None = 12544  # of matching and mask losses; None takes all cells of F_pixel
    eos_coef: float = 0.1  # weight of "no object" in the class loss, relative to a class
    class_weight: float = 2.0  # lambdas of the losses and of the matching cost
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    short_side: int = 800  # pictures are resized to this shortest side,
    long_side: int = 1333  # unless the longest would pass this
    categories: tuple[dict, ...] = ()  # COCO dicts (id, name, isthing), one a class, or empty

    masked_attention: bool = True  # False: every query attends everywhere, as in DETR
    self_attention_first: bool = False  # True: the order of a standard decoder layer
    learned_content: bool = True  # False: query contents start from zero
    scales: tuple[int, ...] = (32, 16, 8)  # levels that the layers visit in turn; (32,) is one
    dropout: float = 0.0  # in the decoder; the paper removes it
    deep_supervision: bool = True  # False: losses on the last prediction alone

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(self.categories))  # JSON gives lists
        object.__setattr__(self, "scales", tuple(self.scales))
        for field in ("num_classes", "num_queries", "num_layers"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}; it must be at least 1")
        given, wanted, heads = len(self.categories), self.num_classes, self.num_heads
        if self.channels % 32 or self.channels % heads:
            raise ValueError(f"channels must be a multiple of 32 and of num_heads = {heads}")
        if self.categories and given != wanted:
            raise ValueError(f"{given} categories were given for num_classes = {wanted}")
        require_complete(self.categories)
        if self.pixel_decoder not in ("fpn", "msdeform"):
            raise ValueError(f"pixel_decoder is {self.pixel_decoder!r}, not 'fpn' or 'msdeform'")
        if not self.scales or not set(self.scales) <= {32, 16, 8}:
            raise ValueError(f"scales is {self.scales}; choose among 32, 16 and 8")

    @property
    def classes(self) -> tuple[dict, ...]:
        """`categories`; where there are none, each class is a thing called by its index."""
        if self.categories:
            return self.categories
        return tuple({"id": k, "name": f"class {k}", "isthing": 1} for k in range(self.num_classes))


def require_complete(categories: Sequence[dict]) -> None:
    """Raises if some category lacks what is needed to name and to count its segments.

    Raises:
        ValueError: says which one and what each needs, or which id occurs twice.
    """
    ids = set()
    for k, category in enumerate(categories):
        if not isinstance(category, dict) or not (
            type(category.get("id")) is int
            and isinstance(category.get("name"), str)
            and category.get("isthing") in (0, 1)
        ):
            raise ValueError(
                f"category {k} is {category!r}; each needs an id (a whole number), a name (text), "
                "and isthing: 1 for things (car), 0 for stuff (sky)"
            )
        if category["id"] in ids:
            raise ValueError(f"the id {category['id']} occurs twice among the categories")
        ids.add(category["id"])


TINY_SIZES = dict(num_classes=13, channels=64, num_queries=16, num_layers=3, ffn_channels=256)
TINY_PICTURES = dict(num_points=512, short_side=96, long_side=192)
PRESETS = {
    "tiny": Config("resnet10_half", False, pixel_decoder="fpn", **TINY_SIZES, **TINY_PICTURES),
    "r50": Config("resnet50"),
    "r101": Config("resnet101"),
    "swin_t": Config("swin_t"),
    "swin_s": Config("swin_s"),
    "swin_b": Config("swin_b"),
    "swin_l": Config("swin_l", num_queries=200),
}


def preset(name: str, **changes: object) -> Config:
    """A published size ("r50", "r101", "swin_t" ... "swin_l"), or "tiny", for scenes on a laptop.

    Args:
        name: of the preset.
        changes: any field of `Config`, for example `num_classes=7`.

    Raises:
        ValueError: no such preset, or a field that `Config` does not have.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    fields = sorted(field.name for field in dataclasses.fields(Config))
    if unknown := sorted(set(changes) - set(fields)):
        raise ValueError(f"a model has no setting {', '.join(unknown)}; there are {fields}")
    return dataclasses.replace(PRESETS[name], **changes)

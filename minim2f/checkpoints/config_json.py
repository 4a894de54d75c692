"""What kind of model a foreign checkpoint holds: a Config from its tensors and its config.json.

Sizes are read off the tensors, which are what has to fit. A config.json adds what tensors do not
show: the names of the classes, and the settings of the training.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

from torch import Tensor
from torchvision.models.resnet import BasicBlock

from ..model.backbone import RESNETS
from ..model.config import Config, require_complete
from ..model.swin import SIZES as SWINS
from . import categories

TEST_SIZES = {150: (512, 2048), 19: (1024, 2048)}  # ADE20K and Cityscapes; COCO's is the default
CATEGORIES = "minim2f_categories"  # in config.json, as id2label knows no ids and no stuff


def config_of(state: dict[str, Tensor]) -> Config:
    """The Config that fits some tensors, with the classes that their number suggests.

    A size whose tensor is missing is that of a published model: to compare all tensors with that
    model then tells which one is missing.

    Args:
        state: tensors under our names; not necessarily whole.

    Raises:
        ValueError: a backbone that we do not have, or a size that no model can have.
    """

    def size(name: str, axis: int, default: int) -> int:
        tensor = state.get(name)
        return default if tensor is None or tensor.dim() < 2 else tensor.shape[axis]

    classes = size("decoder.class_head.weight", 0, Config.num_classes + 1) - 1
    short, long = TEST_SIZES.get(classes, (Config.short_side, Config.long_side))
    layers = {name.split(".")[2] for name in state if name.startswith("decoder.layers.")}
    eos = state.get("criterion.empty_weight")
    seen = (tensor.any() for name, tensor in state.items() if name.endswith("num_batches_tracked"))
    return Config(
        backbone=_backbone(state),
        frozen_norm=not any(seen),  # a norm that never saw a batch is one that never changed
        pixel_decoder="fpn" if "pixel_decoder.output.res5.0.weight" in state else "msdeform",
        num_classes=classes,
        channels=size("decoder.class_head.weight", 1, Config.channels),
        num_queries=size("decoder.query_position.weight", 0, Config.num_queries),
        num_layers=len(layers) or Config.num_layers,
        ffn_channels=size("decoder.layers.0.ffn.0.weight", 0, Config.ffn_channels),
        eos_coef=Config.eos_coef if eos is None else round(eos.flatten()[-1].item(), 6),
        short_side=short,
        long_side=long,
        categories=categories.by_number(classes),
    )


def _backbone(state: dict[str, Tensor]) -> str:
    """The backbone with as many channels at its start, and as many blocks in each stage."""
    blocks = set()
    for name in state:
        if match := re.match(r"backbone\.(?:res|stages\.)(\d+)\.(\d+)\.", name):
            blocks.add((int(match[1]), int(match[2])))
    counts = Counter(stage for stage, _ in blocks)
    depths = tuple(counts[stage] for stage in sorted(counts))
    stem = state.get("backbone.stem.0.weight", state.get("backbone.patches.0.weight"))
    width = stem.shape[0] if stem is not None and stem.dim() else 0
    known = {name: (width, tuple(depths)) for name, (_, depths, width) in RESNETS.items()}
    known |= {name: sizes[:2] for name, sizes in SWINS.items()}
    fits = [name for name, sizes in known.items() if sizes == (width, depths)]
    if not fits:
        raise ValueError(
            f"its backbone has {width} channels and stages of {depths} blocks; that is none of "
            f"{', '.join([*RESNETS, *SWINS])}"
        )
    return fits[0]


# --- config.json of Hugging Face -----------------------------------------------------------------

# What ours always is, and tensors do not show.
FIXED = {
    "activation_function": "relu",
    "common_stride": 4,
    "enforce_input_projection": False,
    "feature_strides": [4, 8, 16, 32],
    "num_attention_heads": 8,
    "pre_norm": False,
}
FIXED_BACKBONE = {
    "swin": {"hidden_act": "gelu", "layer_norm_eps": 1e-5},
    "resnet": {
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
    },
}
SETTINGS = {
    "class_weight": "class_weight",
    "dice_weight": "dice_weight",
    "dropout": "dropout",
    "eos_coef": "no_object_weight",
    "mask_weight": "mask_weight",
    "num_points": "train_num_points",
}


def config_from_json(content: dict, state: dict[str, Tensor]) -> Config:
    """The Config of a Hugging Face folder.

    Args:
        content: its config.json.
        state: its tensors under our names.

    Raises:
        ValueError: another kind of model, one that ours cannot be, or settings that make no sense.
    """
    if (kind := content.get("model_type")) != "mask2former":
        raise ValueError(f"it describes a {kind or 'nameless'} model, not a mask2former")
    backbone = content.get("backbone_config")
    kind = backbone.get("model_type") if isinstance(backbone, dict) else None
    if kind not in FIXED_BACKBONE:
        raise ValueError(f"its backbone is {kind or 'missing'}; ours are swin and resnet")
    odd = [
        f"{key} = {given[key]!r} (ours is {value!r})"
        for given, fixed in ((content, FIXED), (backbone, FIXED_BACKBONE[kind]))
        for key, value in fixed.items()
        if given.get(key, value) != value
    ]
    if odd:
        raise ValueError(f"it describes a model that ours cannot be: {', '.join(odd)}")
    settings = {
        ours: _number(content, theirs, getattr(Config, ours)) for ours, theirs in SETTINGS.items()
    }
    settings["drop_path"] = _number(backbone, "drop_path_rate", Config.drop_path)
    config = config_of(state)
    return dataclasses.replace(
        config, categories=_categories(content, config.num_classes), **settings
    )


def _number(content: dict, key: str, default: float) -> float:
    value = content.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"its {key} is {value!r}, not a number")
    return type(default)(value)


def _names(labels: object, count: int) -> list[str]:
    if labels is None:  # left out by transformers for two classes without names
        return [f"LABEL_{k}" for k in range(count)]
    if not isinstance(labels, dict) or set(labels) != {str(k) for k in range(count)}:
        raise ValueError(f"its id2label does not name the {count} classes of the tensors")
    return [str(labels[str(k)]) for k in range(count)]


def _categories(content: dict, count: int) -> tuple[dict, ...]:
    """COCO categories for the classes that id2label names."""
    names = _names(content.get("id2label"), count)
    ours = content.get(CATEGORIES, ())
    require_complete(ours)
    if ours and [category["name"] for category in ours] == names:  # id2label is still ours
        return tuple(ours)
    if names == [f"LABEL_{k}" for k in range(count)]:
        return ()  # what transformers writes when nobody told it
    return categories.by_names(names)


def config_to_json(config: Config) -> dict:
    """The config.json from which transformers builds the same model."""
    names = [category["name"] for category in config.categories]
    names = names or [f"LABEL_{k}" for k in range(config.num_classes)]
    settings = {theirs: getattr(config, ours) for ours, theirs in SETTINGS.items()}
    return {
        "architectures": ["Mask2FormerForUniversalSegmentation"],
        "model_type": "mask2former",
        "backbone_config": _backbone_to_json(config),
        "feature_size": config.channels,
        "mask_feature_size": config.channels,
        "hidden_dim": config.channels,
        "encoder_layers": 6,
        "encoder_feedforward_dim": 1024,
        "decoder_layers": config.num_layers + 1,  # counts the prediction before the first layer
        "dim_feedforward": config.ffn_channels,
        "num_queries": config.num_queries,
        "id2label": {str(k): name for k, name in enumerate(names)},
        "label2id": {name: k for k, name in enumerate(names)},
        **({CATEGORIES: config.categories} if config.categories else {}),
        **{key: value for key, value in settings.items() if value is not None},
        **FIXED,
    }


def _backbone_to_json(config: Config) -> dict:
    stages = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    if config.backbone in RESNETS:
        block, depths, width = RESNETS[config.backbone]
        return stages | {
            "model_type": "resnet",
            "layer_type": "basic" if block is BasicBlock else "bottleneck",
            "depths": depths,
            "embedding_size": width,
            "hidden_sizes": [width * block.expansion * 2**i for i in range(4)],
            **FIXED_BACKBONE["resnet"],
        }
    width, depths, heads, window = SWINS[config.backbone]
    return stages | {
        "model_type": "swin",
        "embed_dim": width,
        "depths": depths,
        "num_heads": heads,
        "window_size": window,
        "drop_path_rate": config.drop_path,
        **FIXED_BACKBONE["swin"],
    }

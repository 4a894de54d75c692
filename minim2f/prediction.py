"""One picture through the model, and its masks at the picture's own size."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .model.config import Config
from .model.mask2former import Mask2Former
from .ops.enlarge import Enlarged


def input_size(height: int, width: int, config: Config) -> tuple[int, int]:
    """The height and width at which a model of this config looks at a picture."""
    scale = min(config.short_side / min(height, width), config.long_side / max(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


@torch.inference_mode()
def predict(model: Mask2Former, image: Tensor) -> tuple[Tensor, Tensor]:
    """Runs a model on one picture.

    The picture is resized (shortest side `config.short_side`, longest at most `config.long_side`),
    padded and predicted; its mask logits are enlarged to the padded size, freed of the padding, and
    resized to the picture. The model runs in eval mode and is left in the mode it was in.

    Args:
        model: any model.
        image: (3, H, W) uint8, RGB.

    Returns:
        Class logits (N, K+1) and mask logits (N, H, W), 4 N bytes a pixel: see `predict_masks`.
    """
    class_logits, masks = predict_masks(model, image)
    return class_logits, masks.whole()


@torch.inference_mode()
def predict_masks(model: Mask2Former, image: Tensor) -> tuple[Tensor, Enlarged]:
    """As `predict`, with mask logits that are enlarged only when they are read, by strips of rows.

    Large pictures fit into memory so; `instances`, `panoptic` and `as_result` take either.
    """
    height, width = image.shape[1:]
    size = input_size(height, width, model.config)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.BILINEAR)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    training = model.training
    model.eval()
    try:
        batch = model.batch([pixels.to(model.mean.device)])
        prediction = model(batch)
    finally:
        model.train(training)
    masks = Enlarged(prediction.mask_logits[0], batch.shape[2:], size, (height, width))
    return prediction.class_logits[0], masks

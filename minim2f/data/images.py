"""Any picture to one form: (3, H, W) uint8, RGB. The only place where this project opens images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


def read_image(path: str | os.PathLike, *, exif: bool = False) -> Tensor:
    """Reads a JPEG, a PNG or anything else that Pillow opens.

    Grey pictures get three equal channels, transparent ones are laid on white, 16-bit grey is
    scaled to 8 bits, CMYK and palettes are converted.

    Args:
        path: the image file.
        exif: turn the picture upright as its EXIF tag says. COCO's annotations refer to the pixels
            as they are stored, so the COCO reader leaves this off; `predict` switches it on.

    Returns:
        (3, H, W) uint8, RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no image, or is broken.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such image")
    try:
        with Image.open(path) as image:
            return _from_pil(image, exif)
    except Exception as error:  # Pillow reports broken files by half a dozen kinds of error
        raise ValueError(
            f"{path} cannot be read as an image ({error}); is it a whole JPEG or PNG file?"
        ) from error


def read_png(path: Path, kinds: tuple[str, ...], hint: str) -> np.ndarray:
    """Reads a PNG that stores numbers, not colours: the numbers as they are in the file.

    Pillow cuts 16-bit colours to 8 bits and stretches 4-bit grey without a word, so what kind of
    PNG this is comes from the file's own header.

    Args:
        path: the file.
        kinds: those that will do, of "8-bit grey", "8-bit RGB", "8-bit palette", ...
        hint: for messages: what this PNG must be.

    Returns:
        (H, W) or (H, W, 3) uint8.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no PNG, or one of another kind.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such PNG")
    try:
        with path.open("rb") as file, Image.open(file, formats=["PNG"]) as png:
            mode, pixels = png.mode, np.array(png)
            file.seek(24)  # in the first chunk, after width and height
            depth, colour = file.read(2)
    except Exception as error:  # Pillow reports broken files by half a dozen kinds of error
        raise ValueError(f"{path} cannot be read as a PNG ({error})") from error
    names = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
    kind = f"{depth}-bit {names[colour]}"
    if kind not in kinds:
        raise ValueError(f"{path} is of mode {mode}, {kind}; {hint}")
    return pixels


def to_image(
    source: str | os.PathLike | Image.Image | np.ndarray | Tensor, *, exif: bool = False
) -> Tensor:
    """Turns whatever holds a picture into a tensor.

    Args:
        source: a path, a PIL image, a numpy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) that is
            uint8, uint16 or float in [0, 1], or a torch uint8 tensor (3, H, W).
        exif: as in `read_image`; arrays and tensors carry no EXIF tag.

    Returns:
        (3, H, W) uint8, RGB; a tensor is returned as it is.

    Raises:
        FileNotFoundError: `source` is a path, and there is no such file.
        ValueError: `source` is none of these; the message says what came and what would do.
    """
    if isinstance(source, (str, os.PathLike)):
        return read_image(source, exif=exif)
    if isinstance(source, Image.Image):
        return _from_pil(source, exif)
    if isinstance(source, np.ndarray):
        return _from_pil(_to_pil(source), exif=False)
    if isinstance(source, Tensor):
        return _checked(source)
    raise ValueError(
        f"cannot make an image from {type(source).__name__}: give a path, a PIL image, a numpy "
        "array (H, W, 3) or a torch uint8 tensor (3, H, W)"
    )


def _from_pil(image: Image.Image, exif: bool) -> Tensor:
    if exif:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # "I;16", and "I", as older Pillow calls 16-bit grey
        image = _to_pil(_as_uint16(np.array(image)))
    if image.mode == "F":
        raise ValueError("its pixels are floats of unknown range; convert it to 8 bits")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    pixels = np.array(image.convert("RGB"))
    return _checked(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())


def _as_uint16(pixels: np.ndarray) -> np.ndarray:
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("its pixels do not fit into 16 bits; convert it to 8 bits")
    return pixels.astype(np.uint16)


def _to_pil(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2] in (3, 4)
    if array.size == 0 or not (grey or colour):
        raise ValueError(
            f"cannot make an image from an array of shape {array.shape}: give (H, W), (H, W, 1), "
            "(H, W, 3) or (H, W, 4), channels last"
        )
    return Image.fromarray(np.ascontiguousarray(_as_uint8(array)))


def _as_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array / 257).round().astype(np.uint8)  # 65535 = 255 x 257
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"an image array is uint8, uint16 or float in [0, 1], not {array.dtype}")
    if not (array.min() >= 0 and array.max() <= 1):  # written so that a NaN fails too
        raise ValueError(
            f"a float image runs from 0 to 1, this one from {array.min():g} to {array.max():g}; "
            "divide it by its largest possible value first"
        )
    return (array * 255).round().astype(np.uint8)


def _checked(image: Tensor) -> Tensor:
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3 or image.numel() == 0:
        raise ValueError(
            f"an image tensor is torch.uint8 of shape (3, H, W), not {image.dtype} of shape "
            f"{tuple(image.shape)}"
        )
    return image

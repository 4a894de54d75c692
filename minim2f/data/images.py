"""Any picture to one form: (3, H, W) uint8, RGB. The only place where this project opens images.

Cameras store a picture as the sensor lay, and say in an EXIF tag how to turn it. One rule for
prediction and for data sets: a picture is turned upright, unless the size that its labels refer to
shows that they mean the pixels as stored. That size is `width` and `height` of a COCO JSON file,
or the size of the label map or panoptic PNG. Where it cannot decide, as of a square picture, or
one that stands on its head or is mirrored, the picture is turned, and a warning says so.
The tag's eight values: 1 is upright, 2 to 4 keep the size, 5 to 8 exchange height and width.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


def read_image(path: str | os.PathLike, *, exif: bool = False) -> Tensor:
    """Reads a JPEG, a PNG or anything else that Pillow opens.

    Grey pictures get three equal channels, transparent ones are laid on white, 16-bit grey is
    scaled to 8 bits (see `_as_uint8`), CMYK and palettes are converted.

    Args:
        path: the image file.
        exif: turn the picture upright as its EXIF tag says; `predict` does so. A picture with
            labels is read by `read_labelled_image`.

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
            return _checked_depth(path, image.format, _from_pil(image, exif))
    except Exception as error:  # Pillow reports broken files by half a dozen kinds of error
        raise ValueError(
            f"{path} cannot be read as an image ({error}); is it a whole JPEG or PNG file?"
        ) from error


def read_labelled_image(
    path: str | os.PathLike, labels_size: tuple[int | None, int | None]
) -> Tensor:
    """Reads a picture as its labels mean it: upright, or as stored (the rule is said above).

    Args:
        path: the image file.
        labels_size: (height, width) that the labels refer to; None where nothing says it.

    Returns:
        (3, H, W) uint8, RGB.

    Raises:
        FileNotFoundError, ValueError: as `read_image`.
    """
    stored = read_image(path)
    if orientation(path) == 1:
        return stored
    upright, shape = read_image(path, exif=True), tuple(stored.shape[1:])
    if tuple(upright.shape[1:]) == shape or None in labels_size:
        warnings.warn(
            f"{Path(path).parent} has pictures with an EXIF tag that turns them, and their labels' "
            "size does not say whether they mean the picture upright or as stored; upright is "
            "assumed. If the labels do not fit, remove the tag from the files",
            stacklevel=2,
        )
        return upright
    return stored if shape == labels_size else upright


def orientation(path: str | os.PathLike) -> int:
    """The EXIF orientation of an image file, 1 ... 8; 1 is upright, and what no tag means.

    Raises:
        OSError: the file cannot be read as an image.
    """
    with Image.open(path) as image:
        value = image.getexif().get(0x0112, 1)
    return value if value in range(1, 9) else 1


def read_png(path: Path, kinds: tuple[str, ...], hint: str) -> np.ndarray:
    """Reads a PNG that stores numbers, not colours: the numbers as they are in the file.

    Pillow cuts 16-bit colours to 8 bits and stretches 4-bit grey without a word, so what kind of
    PNG this is comes from the file's own header.

    Args:
        path: the file.
        kinds: those that will do, of "8-bit grey", "8-bit RGB", "8-bit palette", ...
        hint: for messages: what this PNG must be.

    Returns:
        (H, W), or (H, W, C) where there are more channels; uint8, but uint16 or int32 for 16-bit
        grey, and bool for 1-bit grey.

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
            depth, color = file.read(2)
    except Exception as error:  # Pillow reports broken files by half a dozen kinds of error
        raise ValueError(f"{path} cannot be read as a PNG ({error})") from error
    names = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
    kind = f"{depth}-bit {names[color]}"
    if kind not in kinds:
        raise ValueError(f"{path} is of mode {mode}, {kind}; {hint}")
    if color == 0 and depth in (2, 4):
        return pixels // (255 // (2**depth - 1))
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


def _checked_depth(path: Path, format: str | None, image: Tensor) -> Tensor:
    """Refuses 16-bit colours that hold 12: Pillow keeps the upper 8 bits, where little is left."""
    if format == "PNG" and image.max() < 16 and image.any():
        with path.open("rb") as file:
            file.seek(24)  # in the first chunk, after width and height
            depth, color = file.read(2)
        if depth == 16 and color in (2, 6):
            raise ValueError("its 16-bit colours hold 12 bits or less; convert it to 8 bits")
    return image


def _as_uint16(pixels: np.ndarray) -> np.ndarray:
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("its pixels do not fit into 16 bits; convert it to 8 bits")
    return pixels.astype(np.uint16)


def _to_pil(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    grey, color = array.ndim == 2, array.ndim == 3 and array.shape[2] in (3, 4)
    if array.size == 0 or not (grey or color):
        raise ValueError(
            f"cannot make an image from an array of shape {array.shape}: give (H, W), (H, W, 1), "
            "(H, W, 3) or (H, W, 4), channels last"
        )
    return Image.fromarray(np.ascontiguousarray(_as_uint8(array)))


DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners put into 16


def _as_uint8(array: np.ndarray) -> np.ndarray:
    """Of 16 bits, as many count as the largest pixel needs: 12-bit pictures are not black."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        depth = next(bits for bits in DEPTHS if array.max() < 2**bits)
        return (array * (255 / (2**depth - 1))).round().astype(np.uint8)
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

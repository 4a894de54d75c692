"""One page to play with predictions: a file with the numbers in it, which opens from disk."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

import torch
from PIL import Image
from torch import Tensor

from minim2f import files
from minim2f.book.new import TEMPLATE
from minim2f.checkpoints import load
from minim2f.colors import class_styles
from minim2f.data import open_dataset
from minim2f.data.images import to_image
from minim2f.model.mask2former import Mask2Former
from minim2f.prediction import input_size

SCENES = (96, 14, 39, 45, 59, 64, 75, 103, 107, 119, 123, 136)  # of split "val"
LARGEST = 256  # pixels of the shortest side: a browser computes every pixel of every query


def write_play(out: Path, pictures: Sequence[Path] = (), model: str = "tiny") -> Path:
    """Writes the page.

    Args:
        out: the file.
        pictures: image files; a dozen drawn scenes if there are none.
        model: the name or the file of a small model.

    Returns:
        The path of the page.

    Raises:
        OSError: a picture is not there, or the page cannot be written.
        ValueError: the model looks at pictures that are too large for a browser.
    """
    network = load(model).eval()
    if network.config.short_side > LARGEST:
        raise ValueError(
            f"{model} looks at pictures of {network.config.short_side} pixels; the page computes "
            f"all pixels in the browser, so give a model of {LARGEST} or less, such as tiny"
        )
    shown = _pictures(pictures) if pictures else _scenes()
    data = {
        "model": Path(model).name,
        "categories": _categories(network.config.classes),
        "scales": network.config.scales,
        "scenes": [{"name": name} | stored(network, image) for name, image in shown],
    }
    return files.write(out, _page(data))


def stored(model: Mask2Former, image: Tensor) -> dict:
    """A picture and what a model predicts for it, as numbers of few bytes.

    Args:
        model: in eval mode.
        image: (3, H, W) uint8; it is resized to the size at which the model looks at it.

    Returns:
        size and padded: height and width of the resized picture, without and with padding;
        picture: a data address; pixelFeatures: F_pixel; predictions: class logits and E' of all
        3L+1, the raw queries' first. Arrays as `packed` gives them.
    """
    size = input_size(*image.shape[1:], model.config)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.BILINEAR)
    batch = model.batch([to_image(picture)])
    with torch.inference_mode():
        last = model(batch)
    predictions = [
        {
            "classLogits": packed(one.class_logits[0]),
            "maskEmbeddings": packed(one.mask_embeddings[0]),
        }
        for one in (*last.auxiliary, last)
    ]
    return {
        "size": size,
        "padded": list(batch.shape[2:]),
        "picture": _address(picture),
        "pixelFeatures": packed(last.pixel_features[0], "int8"),
        "predictions": predictions,
    }


def packed(values: Tensor, kind: str = "int16") -> dict:
    """Numbers rounded to whole multiples of a scale, one scale for each of the first dimension.

    Args:
        values: (rows, ...).
        kind: "int16", or "int8" for half the bytes.

    Returns:
        kind; shape; scale, a number for each row; data, base64 of little-endian integers.
    """
    rows = values.flatten(1)
    top = torch.iinfo(getattr(torch, kind)).max
    scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / top
    integers = (rows / scale).round().numpy().astype(kind).astype(f"<i{1 if kind == 'int8' else 2}")
    return {
        "kind": kind,
        "shape": list(values.shape),
        "scale": scale[:, 0].tolist(),
        "data": base64.b64encode(integers.tobytes()).decode(),
    }


def _scenes() -> Iterator[tuple[str, Tensor]]:
    dataset = open_dataset("scenes", "val")
    for index in SCENES:
        sample = dataset[index]
        styles = class_styles(sample.segments, dataset.categories, range(len(sample.segments)))
        count = Counter(name for name, _ in styles)
        inside = (f"{n} × {name}" if n > 1 else name for name, n in count.items())
        yield f"Scene {index}: {', '.join(inside)}", sample.image


def _pictures(paths: Sequence[Path]) -> Iterator[tuple[str, Tensor]]:
    return ((path.name, to_image(path, exif=True)) for path in paths)


def _categories(classes: Sequence[dict]) -> list[dict]:
    """What the page says and draws of a class: short name, colour, and whether it is a thing."""
    styles = class_styles([{"category_id": c["id"]} for c in classes], classes, range(len(classes)))
    return [
        {"name": name, "color": [round(255 * c) for c in color], "isthing": bool(kind["isthing"])}
        for kind, (name, color) in zip(classes, styles)
    ]


def _address(picture: Image.Image) -> str:
    png = io.BytesIO()
    picture.save(png, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def _page(data: dict) -> str:
    """The template with its style, its scripts and the numbers put in."""
    parts = {
        name.replace(".", "_"): (TEMPLATE / "play" / name).read_text("utf-8")
        for name in ("play.css", "inference.js", "drawing.js", "show.js", "play.js")
    }
    numbers = json.dumps(data, ensure_ascii=False).replace("</", "<\\/")  # no name ends the script
    page = Template((TEMPLATE / "play" / "index.html").read_text("utf-8"))
    return page.substitute(parts, data=numbers)

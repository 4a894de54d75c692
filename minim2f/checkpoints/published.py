"""The checkpoints that the authors of Mask2Former published: fetched by name, once.

published.tsv lists the authors' own files, which are detectron2's; facebook's folders on the
Hugging Face hub are the Swin ones among them, converted for transformers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from ..files import FetchError, cache_folder, download

OFFICIAL = "https://dl.fbaipublicfiles.com/maskformer/mask2former"
HUB = "https://huggingface.co"
LICENCE = "CC BY-NC 4.0: not for commercial use"

TABLE = Path(__file__).with_name("published.tsv").read_text("utf-8").splitlines()[1:]
FILES = dict(row.split("\t") for row in TABLE)


def is_published(name: str) -> bool:
    """Whether `fetch` knows a name: one of published.tsv, or facebook/mask2former-swin-..."""
    return name in FILES or re.fullmatch(r"facebook/mask2former-swin-[\w-]+", name) is not None


def fetch(name: str) -> Path:
    """Fetches a published checkpoint into the user's cache, unless it is there already.

    Args:
        name: "maskformer2_R50_coco_panoptic" or another name of published.tsv, or
            "facebook/mask2former-swin-tiny-coco-panoptic" or another such folder on the hub.

    Returns:
        The .pkl file, or the folder with config.json and model.safetensors.

    Raises:
        FetchError: it could not be had. The message says what to put where by hand.
    """
    folder = cache_folder() / "weights" / name
    names = [Path(FILES[name]).name] if name in FILES else ["config.json", "model.safetensors"]
    missing = [file for file in names if not (folder / file).exists()]
    if missing:
        print(f"fetching {name}; its weights are published under {LICENCE}")
        hashes = _md5(names[0]) if name in FILES else _hub_hashes(name)
    for file in missing:
        url = f"{OFFICIAL}/{FILES[name]}" if name in FILES else f"{HUB}/{name}/resolve/main/{file}"
        try:
            download(url, folder / file, **hashes.get(file, {}))
        except FetchError as error:
            raise FetchError(f"{error}\nOr fetch {url}\nelsewhere, as {folder / file}") from error
    return folder / names[0] if name in FILES else folder


def _md5(file: str) -> dict[str, dict]:
    """The authors' files end in the first digits of their MD5."""
    return {file: {"md5": Path(file).stem.rpartition("_")[2]}}


def _hub_hashes(name: str) -> dict[str, dict]:
    """What the hub says of its large files: {file: {sha256, size}}; nothing if it says nothing."""
    try:
        with TemporaryDirectory() as scratch:
            url = f"{HUB}/api/models/{name}?blobs=true"
            facts = json.loads(download(url, Path(scratch, "facts"), progress=False).read_bytes())
        return {
            file["rfilename"]: {"sha256": file["lfs"]["sha256"], "size": file["lfs"]["size"]}
            for file in facts["siblings"]
            if file.get("lfs")
        }
    except (FetchError, LookupError, TypeError, ValueError, AttributeError):
        return {}

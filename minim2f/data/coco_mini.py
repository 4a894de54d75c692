"""coco-mini, the small set of real pictures: over the network, or from a mirror.

The manifest data/coco_mini.json names every file, its SHA-256, its licence and its addresses.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from ..files import FetchError, cache_folder, download, write

_CHECKOUT = Path(__file__).resolve().parents[2] / "data" / "coco_mini.json"
_IN_WHEEL = Path(__file__).with_name("coco_mini.json")


def coco_mini_folder() -> Path:
    """Where coco-mini goes: `data/coco-mini` of the checkout, or else the user's cache."""
    if _CHECKOUT.is_file():
        return _CHECKOUT.with_name("coco-mini")
    return cache_folder() / "coco-mini"


def find_coco_mini() -> Path | None:
    """The folder of coco-mini if it has been fetched, or None."""
    folder = coco_mini_folder()
    return folder if (folder / "panoptic.json").is_file() else None  # it is written last


def fetch_coco_mini(
    folder: str | os.PathLike | None = None,
    mirror: str | os.PathLike | None = None,
    instances: bool = False,
    progress: bool = True,
) -> Path:
    """Fetches the 53 images of coco-mini with their panoptic truth.

    Files that are there already, with the right SHA-256, are not fetched again.

    Args:
        folder: where they go; `coco_mini_folder()` if None.
        mirror: a folder, or the address of one, that holds a copy of coco-mini; then nothing is
            fetched from anywhere else.
        instances: also fetch the 123 images that have instance annotations only.
        progress: show a progress bar, and one line at the end.

    Returns:
        The folder, which `open_coco` reads.

    Raises:
        FetchError: a file could not be had, is not the right one, or could not be written.
    """
    folder = coco_mini_folder() if folder is None else Path(folder)
    manifest = json.loads((_CHECKOUT if _CHECKOUT.is_file() else _IN_WHEEL).read_text("utf-8"))
    parts = [manifest["instances"]] if instances else []
    parts.append(manifest["panoptic"])
    files = [file for part in parts for file in _files(part)]
    try:
        for file in tqdm(files, desc="coco-mini", unit="file", disable=not progress):
            name = file["file_name"]
            download(_sources(name, file["urls"], mirror), folder / name, file["sha256"])
        for part in parts:  # panoptic.json comes last: it says that all the rest is there
            _fetch_annotations(part, folder, mirror)
    except (FetchError, OSError) as error:
        raise FetchError(
            f"{error}\nFiles that have arrived are not fetched again. Without a network, take all "
            "of them from a copy: minim2f data fetch --mirror DIR"
        ) from error
    if progress:
        licences = ", ".join(licence["name"] for licence in manifest["licenses"])
        print(f"coco-mini is in {folder}; licences: {licences} (each image's in panoptic.json)")
    return folder


def _files(part: dict) -> Iterator[dict]:
    for source in part["sources"]:
        for image in source["images"]:
            yield image
            if "panoptic" in image:
                yield image["panoptic"]


def _sources(name: str, urls: list[str], mirror: str | os.PathLike | None) -> list[str]:
    """Where a file is to be had: from the mirror alone if there is one."""
    return [f"{str(mirror).rstrip('/')}/{name}"] if mirror else urls


def _fetch_annotations(part: dict, folder: Path, mirror: str | os.PathLike | None) -> None:
    """Fetches the sources' annotations, and writes what they say of our images.

    The hash is that of what is written, so a mirror's small file and the sources' larger ones do
    equally well.
    """
    name, sha256 = part["annotations"]["file_name"], part["annotations"]["sha256"]
    target = folder / name
    if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == sha256:
        return
    read = []
    for source in part["sources"]:
        urls = _sources(name, source["annotations"], mirror)
        read += [(_fetch_json(url), source["images"]) for url in urls]
    try:
        text = reduce_annotations(read)
    except (LookupError, TypeError) as error:
        raise FetchError(f"{urls[-1]} is not COCO JSON ({error!r}); another file?") from error
    if hashlib.sha256(text).hexdigest() != sha256:
        raise FetchError(
            f"{' and '.join(urls)}: not the annotations that data/coco_mini.json expects; "
            "damaged, or another version"
        )
    write(target, text)


def _fetch_json(url: str) -> dict:
    with TemporaryDirectory() as scratch:
        file = download([url], Path(scratch, "annotations.json"))
        try:
            return json.loads(file.read_bytes())
        except ValueError as error:
            raise FetchError(f"{url} is not JSON ({error}): damaged, or another file") from error


_KEPT = set(
    "id image_id category_id name file_name supercategory isthing width height "
    "iscrowd area bbox segmentation segments_info".split()
)


def reduce_annotations(read: list[tuple[dict, list[dict]]]) -> bytes:
    """Brings COCO annotations into one form, byte for byte, whatever file they come from.

    Only the manifest's images and the fields that matter are kept, sorted by id. The manifest adds
    each image's split, licence and page.

    Args:
        read: COCO documents (panoptic or instance), each with the rows of the manifest that are to
            be taken from it.

    Returns:
        JSON in UTF-8.
    """
    kept: dict[str, dict] = {"images": {}, "annotations": {}, "categories": {}}
    for document, rows in read:
        ours = {row["id"]: row for row in rows}
        for image in document["images"]:
            if row := ours.get(image["id"]):
                added = {key: row[key] for key in ("split", "license", "flickr_page")}
                kept["images"][image["id"]] = _reduce(image) | added
        for annotation in document["annotations"]:
            if annotation["image_id"] in ours:  # a panoptic annotation has no id of its own
                id = annotation.get("id", annotation["image_id"])
                kept["annotations"][id] = _reduce(annotation)
        kept["categories"] |= {c["id"]: _reduce(c) for c in document["categories"]}
    tidy = {key: [entries[id] for id in sorted(entries)] for key, entries in kept.items()}
    return json.dumps(tidy, sort_keys=True, separators=(",", ":")).encode()


def _reduce(entry: dict) -> dict:
    entry = {key: entry[key] for key in _KEPT & set(entry)}
    if "segments_info" in entry:
        segments = sorted(entry["segments_info"], key=lambda segment: segment["id"])
        entry["segments_info"] = [_reduce(segment) for segment in segments]
    return entry

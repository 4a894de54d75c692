"""Checkpoints that others published: fetched by name, once.

published.tsv lists the files of Mask2Former's authors, which are detectron2's. Any other name is
one of the Hugging Face hub, where facebook's folders are the Swin ones among these files, converted
for transformers. The hub's own client fetches from there, so that HF_ENDPOINT, HF_HOME,
HF_HUB_OFFLINE and HF_TOKEN do what they do everywhere.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..files import FetchError, cache_folder, download, whole

OFFICIAL = "https://dl.fbaipublicfiles.com/maskformer/mask2former"
LICENCE = "its weights are published under CC BY-NC 4.0: not for commercial use"

TABLE = Path(__file__).with_name("published.tsv").read_text("utf-8").splitlines()[1:]
FILES = dict(row.split("\t") for row in TABLE)


def is_published(name: str) -> bool:
    """Whether `fetch` is to be asked: for a name of published.tsv, or one that the hub may know.

    The latter is "organisation/model". It is taken for a mistyped path instead if there is a folder
    `organisation` here, or if it ends as a file of weights does.
    """
    of_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).parent.exists()
    return name in FILES or bool(of_hub) and not name.endswith((".safetensors", ".pkl", ".pth"))


def fetch(name: str) -> Path:
    """Fetches a published checkpoint into the user's cache, unless it is there already.

    Args:
        name: "maskformer2_R50_coco_panoptic" or another name of published.tsv, or
            "facebook/mask2former-swin-tiny-coco-panoptic" or any other Mask2Former on the hub.

    Returns:
        The .pkl file, or the folder with config.json and model.safetensors.

    Raises:
        FetchError: it could not be had. The message says what to put where by hand.
    """
    return _from_authors(name) if name in FILES else _from_hub(name)


def trained_on(file: str) -> str:
    """What the authors' file of this name was trained on: "coco/panoptic", or "" for any other."""
    paths = (path for path in FILES.values() if path.endswith(f"/{file}"))
    return "/".join(next(paths, "").split("/")[:2])


def _from_authors(name: str) -> Path:
    """A file whose name ends in the first digits of its MD5, which is all that is known of it."""
    import pooch

    url = f"{OFFICIAL}/{FILES[name]}"
    file = cache_folder() / "weights" / name / Path(url).name
    if file.exists():
        return file
    print(f"fetching {name}; {LICENCE}")
    try:
        with whole(file) as part:
            download([url], part, progress=True)
            md5, expected = pooch.file_hash(part, "md5"), file.stem.rpartition("_")[2]
            if not md5.startswith(expected):
                raise FetchError(f"{url} has MD5 {md5} instead of {expected}...: damaged")
    except (FetchError, OSError) as error:
        raise FetchError(f"{error}\nOr fetch {url}\nelsewhere, as {file}") from error
    return file


def _from_hub(name: str) -> Path:
    import huggingface_hub as hub

    files = ("config.json", "model.safetensors")
    cached = [hub.try_to_load_from_cache(name, file) for file in files]
    if all(isinstance(path, str) for path in cached):  # asked first: offline, the hub waits 20 s
        return Path(cached[0]).parent
    licence = LICENCE if name.startswith("facebook/") else "its page there names its licence"
    print(f"fetching {name} from the Hugging Face hub; {licence}")
    try:
        config = Path(hub.hf_hub_download(name, files[0]))
        kind = json.loads(config.read_bytes()).get("model_type")
        if kind != "mask2former":
            raise ValueError(f"it describes a {kind} model, not a mask2former")
        _check_sha256(Path(hub.hf_hub_download(name, files[1])))
    except Exception as error:  # those of the hub's client have no base in common
        raise FetchError(
            f"there is no folder {name} here, and the Hugging Face hub did not give it: {error}\n"
            "Check the name and the connection; for a private model set HF_TOKEN. Or fetch\n"
            f"{' and '.join(files)} from {hub.constants.ENDPOINT}/{name}/tree/main\n"
            "elsewhere, put them into a folder, and give the path of that folder"
        ) from error
    return config.parent


def _check_sha256(file: Path) -> None:
    """Compares a file with the name that the hub's cache gave it, its SHA-256 if it is large."""
    import pooch

    blob = file.resolve()  # the file itself, where there are no symbolic links: nothing is known
    if re.fullmatch("[0-9a-f]{64}", blob.name) and pooch.file_hash(blob) != blob.name:
        blob.unlink()
        raise ValueError(f"{file.name} does not have the SHA-256 {blob.name}: damaged")

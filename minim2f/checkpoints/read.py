"""Files to models: ours, and the official (detectron2) and Hugging Face ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..model.config import Config, require_complete
from ..model.mask2former import Mask2Former
from . import names, published
from .categories import CATEGORIES
from .config_json import config_from_json, config_of
from .pickles import read_pickle, read_torch

SHIPPED = Path(__file__).parents[1] / "weights"
Tensors = dict[str, Tensor]


def load(
    path: str | Path,
    num_classes: int | None = None,
    num_queries: int | None = None,
    categories: Sequence[dict] = (),
) -> Mask2Former:
    """Reads a model, in eval mode and float32.

    Args:
        path: one of

            - a file or folder that `save` wrote;
            - a Hugging Face folder, with config.json and model.safetensors;
            - an official (detectron2) checkpoint, .pkl or .pth, from which nothing is executed. It
              does not name its classes: those of the authors' files are known by the file's name,
              others are guessed from their number, and a guess is printed;
            - the name of a published one, of the authors' or of the Hugging Face hub, fetched when
              it is first asked for: see `minim2f.checkpoints.published.fetch`;
            - the name of a model that comes with the package: "tiny", trained on the scenes.
        num_classes: if it differs from the file's, the class head is re-initialised, for this many.
        num_queries: if it differs from the file's, the queries are re-initialised, this many.
            Both start at random, from torch's global seed: train before use.
        categories: the classes to have. If their names are not the file's, the class head is
            re-initialised, as for another `num_classes`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a model that ours can be; or one that lacks, exceeds or mis-shapes tensors,
            all of them named.
        FetchError: a published checkpoint could not be had.
    """
    file = _find(path)
    if file.suffix in (".pkl", ".pth"):
        config, state = _official(file)
    else:
        config, state = _safetensors(file)
    changes = _changes(config, num_classes, num_queries, categories)
    if changes:
        model = _with_new_heads(config, state, changes)
    else:
        model = Mask2Former(config)
        model.load_state_dict(state)
    if categories:
        model.config = dataclasses.replace(model.config, categories=tuple(categories))
    return model.eval()


def _changes(
    config: Config,
    num_classes: int | None,
    num_queries: int | None,
    categories: Sequence[dict],
) -> dict[str, int]:
    """The fields of a file's Config that its heads cannot keep, with their new values."""
    changes = {}
    require_complete(categories)
    if categories:
        num_classes = len(categories)
    if num_classes is not None and num_classes != config.num_classes:
        changes["num_classes"] = num_classes
    if num_queries is not None and num_queries != config.num_queries:
        changes["num_queries"] = num_queries
    if categories and config.categories:
        wanted = [category["name"] for category in categories]
        known = [category["name"] for category in config.categories]
        if wanted != known:  # as many classes, but others
            changes["num_classes"] = len(categories)
    return changes


def _find(path: str | Path) -> Path:
    """The file that a path or a name stands for, fetched if need be."""
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.safetensors"))}
    if path in shipped:
        return shipped[path]  # a folder called tiny is reached as ./tiny
    file = Path(path)
    if file.is_dir():
        return _in_folder(file)
    if file.exists():
        return file
    if isinstance(path, str) and published.is_published(path):
        fetched = published.fetch(path)
        return _in_folder(fetched) if fetched.is_dir() else fetched
    raise FileNotFoundError(
        f"there is no model at {path} (shipped with the package: {', '.join(shipped)}; published: "
        f"{next(iter(published.FILES))} and others, or a name of the Hugging Face hub as "
        "facebook/mask2former-swin-tiny-coco-panoptic)"
    )


def _in_folder(folder: Path) -> Path:
    for name in ("model.safetensors", "model.safetensors.index.json"):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"there is no model at {folder}: the folder has no model.safetensors")


def _official(file: Path) -> tuple[Config, Tensors]:
    tensors = read_pickle(file) if file.suffix == ".pkl" else read_torch(file)
    with _naming(file):
        config = config_of(names.translate(names.renew(tensors), names.OFFICIAL, names.OURS))
        _compare(tensors, config, names.OFFICIAL)
        config = dataclasses.replace(config, categories=_categories(file, config))
        return config, names.from_official(tensors, config)


def _categories(file: Path, config: Config) -> tuple[dict, ...]:
    """The classes of an official file, which does not name them; its own name may tell."""
    known = CATEGORIES.get(published.trained_on(file.name), ())
    if len(known) == config.num_classes:
        return known
    if guess := config.categories:
        told = ", ".join(category["name"] for category in guess[:3])
        print(f"{file.name} does not name its {len(guess)} classes; they are taken to be {told}...")
    return config.categories


def _safetensors(file: Path) -> tuple[Config, Tensors]:
    header, tensors = _read_shards(file) if file.suffix == ".json" else _read(file)
    beside = file.with_name("config.json")
    with _naming(file):
        if "minim2f.config" in header:
            config = Config(**json.loads(header["minim2f.config"]))
            _compare(tensors, config, names.OURS)
            return config, tensors
        if not beside.exists():
            raise ValueError(
                "it has no minim2f.config in its header: minim2f.save did not write it. One of "
                "Hugging Face's needs its config.json beside it"
            )
        ours = names.translate(names.renew(tensors), names.HUGGINGFACE, names.OURS)
    with _naming(beside):
        config = config_from_json(_json(beside), ours)
    with _naming(file):
        _compare(tensors, config, names.HUGGINGFACE)
        return config, names.from_huggingface(tensors, config)


def _read(file: Path) -> tuple[dict[str, str], Tensors]:
    try:
        with safe_open(file, framework="pt") as archive:
            return archive.metadata() or {}, {n: archive.get_tensor(n) for n in archive.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{file} is not a whole safetensors file ({error}); fetch or save it again"
        ) from error


def _read_shards(index: Path) -> tuple[dict[str, str], Tensors]:
    """The tensors of several files, which a model.safetensors.index.json lists."""
    with _naming(index):
        shards = set(_json(index)["weight_map"].values())
        if any(Path(shard).name != shard for shard in shards):
            raise ValueError("it names files in other folders")
    tensors: Tensors = {}
    for shard in sorted(shards):
        tensors |= _read(index.with_name(shard))[1]
    return {}, tensors


def _json(file: Path) -> dict:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError("it holds no dictionary")
    return content


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Whatever is wrong with what a file says becomes a ValueError that names the file."""
    try:
        yield
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error or type(error).__name__}") from error


def _compare(tensors: Tensors, config: Config, column: int) -> None:
    """Compares a file with the model that it should hold, in the file's own names."""
    if config.num_layers > len(tensors):
        raise ValueError(f"it claims {config.num_layers} layers, and holds {len(tensors)} tensors")
    with torch.device("meta"):  # shapes only: a file may claim to hold anything
        own = Mask2Former(config).state_dict()
    if column != names.OURS:
        own = {name: t for name, t in own.items() if not names.DERIVED.search(name)}
        own, tensors = names.translate(own, names.OURS, column), names.tidy(tensors, config)
    problems = [f"missing: {name}" for name in own.keys() - tensors.keys()]
    problems += [f"surplus: {name}" for name in tensors.keys() - own.keys()]
    for name in own.keys() & tensors.keys():
        ours, theirs = own[name], tensors[name]
        if ours.shape != theirs.shape:
            problems.append(f"{name}: {tuple(theirs.shape)} instead of {tuple(ours.shape)}")
        elif ours.is_floating_point() != theirs.is_floating_point():
            problems.append(f"{name}: {theirs.dtype} instead of {ours.dtype}")
        elif not theirs.float().isfinite().all():
            problems.append(f"{name}: holds NaN or infinity")
    if problems:
        raise ValueError("its tensors do not fit its model\n  " + "\n  ".join(sorted(problems)))


def _with_new_heads(config: Config, state: Tensors, changes: dict[str, int]) -> Mask2Former:
    """A model with other numbers of classes or queries; all the rest is the file's."""
    heads = {"num_classes": "decoder.class_head.", "num_queries": "decoder.query_"}
    categories = () if "num_classes" in changes else config.categories
    model = Mask2Former(dataclasses.replace(config, categories=categories, **changes))
    told = [f"{name} = {new} (the file: {getattr(config, name)})" for name, new in changes.items()]
    print(f"{', '.join(told)}: re-initialised, train before use; all other weights are the file's")
    fresh = tuple(heads[name] for name in changes)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(fresh)}
    model.load_state_dict(model.state_dict() | kept)
    return model.eval()

"""Models in files: ours, and the official (detectron2) and Hugging Face ones, both ways.

Ours are safetensors with the Config as JSON in the file's header.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from . import keys, published
from .foreign import config_from_json, config_of, config_to_json
from .model.config import Config
from .model.mask2former import Mask2Former
from .pickles import read_pickle, read_torch

SHIPPED = Path(__file__).parent / "weights"
Tensors = dict[str, Tensor]


# --- writing -------------------------------------------------------------------------------------


def save(model: Mask2Former, path: str | Path, half: bool = False) -> Path:
    """Writes a model to a file, whole or not at all.

    Args:
        model: any model.
        path: ends in .safetensors, or names a folder that gets a model.safetensors.
        half: store float16, half the size; `load` makes it float32 again.

    Returns:
        The file.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        path = path / "model.safetensors"
    tensors = _copies(model.state_dict(), torch.float16 if half else None)
    with whole(path) as partial:
        config = json.dumps(dataclasses.asdict(model.config))
        partial.write_bytes(to_bytes(tensors, metadata={"minim2f.config": config}))
    return path


def export(model: Mask2Former, path: str | Path, format: str = "official") -> Path:
    """Writes a model for other programs; `load` reads it too.

    Args:
        model: any model that the other program can be told about.
        path: "official": ends in .pkl, or names a folder that gets a model.pkl. "huggingface":
            a folder, which gets a config.json and a model.safetensors.
        format: "official" for detectron2 (numpy 1.26 or newer reads it; the names of the classes
            stay behind) or "huggingface" for transformers.

    Returns:
        The file, or the folder.

    Raises:
        ValueError: another format, or a model with parts or switches that its code does not have.
    """
    path, state = Path(path), model.state_dict()
    if format not in ("official", "huggingface"):
        raise ValueError(f"format is {format!r}; there are 'official' and 'huggingface'")
    _must_run_elsewhere(model.config, format)
    if format == "official":
        path = path if path.suffix == ".pkl" else path / "model.pkl"
        tensors = _copies(keys.to_official(state, model.config), torch.float32)
        content = {"model": {n: t.numpy() for n, t in tensors.items()}, "__author__": "minim2f"}
        with whole(path) as partial, open(partial, "wb") as file:
            pickle.dump(content, file, protocol=4)
        return path
    tensors = _copies(keys.to_huggingface(state, model.config), torch.float32)
    with whole(path / "model.safetensors") as partial:
        partial.write_bytes(to_bytes(tensors, metadata={"format": "pt"}))
    with whole(path / "config.json") as partial:
        partial.write_text(json.dumps(config_to_json(model.config), indent=2), "utf-8")
    return path


def _must_run_elsewhere(config: Config, format: str) -> None:
    """The other programs know the published models, and not the switches of the ablations."""
    default = Config()
    names = ["learned_content", "masked_attention", "num_heads", "scales", "self_attention_first"]
    if format == "huggingface":
        names.append("pixel_decoder")
    odd = [name for name in names if getattr(config, name) != getattr(default, name)]
    if odd:
        told = ", ".join(f"{name} = {getattr(config, name)}" for name in odd)
        raise ValueError(f"the {format} code cannot run a model with {told}")


def _copies(tensors: Tensors, dtype: torch.dtype | None) -> Tensors:
    """On the CPU, each in a memory of its own; floats as `dtype`, or as they are."""
    copies = {}
    for name, tensor in tensors.items():
        kind = dtype if tensor.is_floating_point() else None
        copies[name] = tensor.detach().to("cpu", kind).clone(memory_format=torch.contiguous_format)
    return copies


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file gets its own name when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())  # a power cut must not find the new name before the data
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


# --- reading -------------------------------------------------------------------------------------


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
            - an official (detectron2) checkpoint, .pkl or .pth, from which nothing is executed;
            - the name of a published one, fetched when it is first asked for: see
              `minim2f.published.fetch`;
            - the name of a model that comes with the package: "tiny", trained on the scenes.
        num_classes: if it differs from the file's, the class head is made anew, for this many.
        num_queries: if it differs from the file's, the queries are made anew, this many.
            Both start at random, from torch's global seed, and want training.
        categories: the classes to have. If their names are not the file's, the class head is made
            anew, as for another `num_classes`.

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
    wanted = {"num_classes": len(categories) or num_classes, "num_queries": num_queries}
    changes = {k: v for k, v in wanted.items() if v not in (None, getattr(config, k))}
    names = [[category["name"] for category in kinds] for kinds in (categories, config.categories)]
    if all(names) and names[0] != names[1]:
        changes["num_classes"] = len(categories)
    if changes:
        model = _with_new_heads(config, state, changes)
    else:
        model = Mask2Former(config)
        model.load_state_dict(state)
    if categories:
        model.config = dataclasses.replace(model.config, categories=tuple(categories))
    return model.eval()


def _find(path: str | Path) -> Path:
    """The file that a path or a name stands for."""
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.safetensors"))}
    if path in shipped:
        return shipped[path]  # a folder called tiny is reached as ./tiny
    file = Path(path)
    if file.is_dir():
        for name in ("model.safetensors", "model.safetensors.index.json"):
            if (file / name).exists():
                return file / name
        raise FileNotFoundError(f"there is no model at {path}: the folder has no model.safetensors")
    if file.exists():
        return file
    if published.is_published(str(path)):
        return _find(published.fetch(str(path)))
    raise FileNotFoundError(
        f"there is no model at {path} (shipped with the package: {', '.join(shipped)}; published: "
        f"{next(iter(published.FILES))} and others, facebook/mask2former-swin-...)"
    )


def _official(file: Path) -> tuple[Config, Tensors]:
    tensors = read_pickle(file) if file.suffix == ".pkl" else read_torch(file)
    with _naming(file):
        config = config_of(keys.translate(keys.renew(tensors), keys.OFFICIAL, keys.OURS))
        _compare(tensors, config, keys.OFFICIAL)
        return config, keys.from_official(tensors, config)


def _safetensors(file: Path) -> tuple[Config, Tensors]:
    header, tensors = _read_shards(file) if file.suffix == ".json" else _read(file)
    beside = file.with_name("config.json")
    with _naming(file):
        if "minim2f.config" in header:
            config = Config(**json.loads(header["minim2f.config"]))
            _compare(tensors, config, keys.OURS)
            return config, tensors
        if not beside.exists():
            raise ValueError(
                "it has no minim2f.config in its header: minim2f.save did not write it. One of "
                "Hugging Face's needs its config.json beside it"
            )
        ours = keys.translate(keys.renew(tensors), keys.HUGGINGFACE, keys.OURS)
    with _naming(beside):
        config = config_from_json(_json(beside), ours)
    with _naming(file):
        _compare(tensors, config, keys.HUGGINGFACE)
        return config, keys.from_huggingface(tensors, config)


def _read(file: Path) -> tuple[dict[str, str], Tensors]:
    try:
        with safe_open(file, framework="pt") as archive:
            return archive.metadata() or {}, {n: archive.get_tensor(n) for n in archive.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{file} is not a whole safetensors file ({error}); fetch or save it anew"
        ) from error


def _read_shards(index: Path) -> tuple[dict[str, str], Tensors]:
    """The tensors of several files, which a model.safetensors.index.json lists."""
    with _naming(index):
        names = set(_json(index)["weight_map"].values())
        if any(Path(name).name != name for name in names):
            raise ValueError("it names files in other folders")
    tensors: Tensors = {}
    for name in sorted(names):
        tensors |= _read(index.with_name(name))[1]
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
    if column != keys.OURS:
        own = {name: t for name, t in own.items() if not keys.DERIVED.search(name)}
        own, tensors = keys.translate(own, keys.OURS, column), keys.tidy(tensors, config)
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
    print(f"{', '.join(told)}: made anew, at random, and wants training; all else is the file's")
    fresh = tuple(heads[name] for name in changes)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(fresh)}
    model.load_state_dict(model.state_dict() | kept)
    return model.eval()

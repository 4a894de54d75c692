"""The same tensors under three sets of names: ours, the official ones, and Hugging Face's.

The table is names.tsv. A row names a layer three times, without the last part of its tensors' names
(weight, bias, ...). `#` is a number that all three share. `{q|k|v}` are thirds that one side keeps
apart and the others keep stacked, as queries, keys and values of attention. `-` is: has no such.
"""

from __future__ import annotations

import re
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor

from ..model.config import Config

OURS, OFFICIAL, HUGGINGFACE = range(3)  # the columns
Tensors = dict[str, Tensor]

TABLE = Path(__file__).with_name("names.tsv").read_text("utf-8").splitlines()[1:]
ROWS = [row.split("\t") for row in TABLE]

SWIN_OF_HF = r"^(model\.pixel_level_module\.encoder\..*blocks\.\d+\.)"
OLD_AND_NEW = [  # what a file may say, and what the table says
    # official files from before the decoders got their places (its state dicts of version 1)
    (r"^(sem_seg_head\.predictor\.)static_query\.", r"\1query_feat."),
    (r"^(sem_seg_head\.)(?!predictor\.|pixel_decoder\.)", r"\1pixel_decoder."),
    # transformers 5 has new names in memory, and writes the old ones to files
    (r"^(model\.pixel_level_module\.encoder\.)swin\.(embeddings|encoder)\.", r"\1\2."),
    (SWIN_OF_HF + r"attention\.relative_position_bias\.", r"\1attention.self."),
    (SWIN_OF_HF + r"attention\.q_proj\.", r"\1attention.self.query."),
    (SWIN_OF_HF + r"attention\.k_proj\.", r"\1attention.self.key."),
    (SWIN_OF_HF + r"attention\.v_proj\.", r"\1attention.self.value."),
    (SWIN_OF_HF + r"attention\.o_proj\.", r"\1attention.output.dense."),
    (SWIN_OF_HF + r"mlp\.fc1\.", r"\1intermediate.dense."),
    (SWIN_OF_HF + r"mlp\.fc2\.", r"\1output.dense."),
]

# Follows from the Config, or (Hugging Face's last norm of Swin) is never used
DERIVED = re.compile(r"relative_position_index$|^criterion\.empty_weight$|\.swin\.layernorm\.")
HF_NORM = "model.pixel_level_module.encoder.swin.layernorm."


def renew(tensors: Tensors) -> Tensors:
    """A foreign file's tensors under the names of the table, whatever its age.

    Raises:
        ValueError: a tensor is there twice, under an old and a new name.
    """
    renewed: Tensors = {}
    for name, tensor in tensors.items():
        for old, new in OLD_AND_NEW:
            name = re.sub(old, new, name)
        if name in renewed:
            raise ValueError(f"{name} is there twice, once under an older name")
        renewed[name] = tensor
    return renewed


def tidy(tensors: Tensors, config: Config) -> Tensors:
    """A foreign file's tensors after `renew`, without those that a model of ours does not keep."""
    frozen = config.frozen_norm  # then nobody counts the batches that a norm has seen
    return {
        name: tensor
        for name, tensor in renew(tensors).items()
        if not (DERIVED.search(name) or frozen and name.endswith(".num_batches_tracked"))
    }


def translate(tensors: Tensors, source: int, target: int) -> Tensors:
    """Takes tensors from one column of the table to another.

    Args:
        tensors: name -> tensor, as `tidy` leaves them.
        source, target: OURS, OFFICIAL or HUGGINGFACE.

    Returns:
        The same tensors, thirds stacked or split where the columns differ. A name that is in no
        row stays as it is.

    Raises:
        ValueError: thirds that cannot be stacked, all of them named.
    """
    rest = dict(tensors)
    found: Tensors = {}
    odd: list[str] = []
    for row in _rows(tensors, source):
        given, wanted = _thirds(row[source]), _thirds(row[target])
        for (*numbers, leaf), parts in _take(rest, given).items():
            if len(given) > 1 and not _stackable(parts, len(given)):
                odd.append(_fill(row[source], numbers) + leaf)
                continue
            stacked = torch.cat(parts) if len(given) > 1 else parts[0]
            pieces = stacked.chunk(len(wanted)) if len(wanted) > 1 else [stacked]
            for template, piece in zip(wanted, pieces):
                found[_fill(template, numbers) + leaf] = piece
    if odd:
        raise ValueError("these should be there three times, in one shape: " + ", ".join(odd))
    return found | rest


def _rows(tensors: Tensors, source: int) -> list[list[str]]:
    """The rows for these tensors: official names alone do not tell an FPN's layer_1 and adapter_1
    from those of the deformable decoder, but only the FPN has a layer_4."""
    fpn = source == OURS or any(".pixel_decoder.layer_4." in name for name in tensors)
    return [row for row in ROWS if fpn or "-" not in row]


def _thirds(template: str) -> list[str]:
    """A template with {q|k|v} as three names, any other as one."""
    if "{" not in template:
        return [template]
    head, options, tail = re.split(r"[{}]", template)
    return [head + option + tail for option in options.split("|")]


def _take(rest: Tensors, templates: list[str]) -> dict[tuple[str, ...], list[Tensor]]:
    """Moves the tensors that fit a row out of `rest`.

    Returns:
        {(the numbers in their names ..., last part with its dot): one tensor for each template}.
    """
    taken: dict[tuple[str, ...], list[Tensor]] = {}
    for template in templates:
        pattern = re.compile(re.escape(template).replace(r"\#", r"(\d+)") + r"(\.\w+)?")
        for name in list(rest):
            if match := pattern.fullmatch(name):
                taken.setdefault(match.groups(default=""), []).append(rest.pop(name))
    return taken


def _stackable(parts: list[Tensor], count: int) -> bool:
    return len(parts) == count and parts[0].dim() > 0 and len({p.shape for p in parts}) == 1


def _fill(template: str, numbers: list[str]) -> str:
    left = iter(numbers)
    return re.sub("#", lambda _: next(left), template)


def from_official(tensors: Tensors, config: Config) -> Tensors:
    """Official (detectron2) tensors as a state dict of ours; see `translate` and `tidy`."""
    return _with_index(translate(tidy(tensors, config), OFFICIAL, OURS))


def from_huggingface(tensors: Tensors, config: Config) -> Tensors:
    """Hugging Face tensors, of a file or a module, as a state dict of ours; see `translate`."""
    return _with_index(translate(tidy(tensors, config), HUGGINGFACE, OURS))


def to_official(state: Tensors, config: Config) -> Tensors:
    """A state dict of ours under the official names, with all that the official code expects."""
    tensors = translate(state, OURS, OFFICIAL)
    for name, index in tensors.items():
        if name.endswith("relative_position_index"):
            tensors[name] = index.unflatten(0, (isqrt(len(index)), -1))
    tensors["criterion.empty_weight"] = _empty_weight(state, config)
    return tensors


def to_huggingface(state: Tensors, config: Config) -> Tensors:
    """A state dict of ours under the names that transformers writes and reads, nothing missing."""
    tensors = translate(
        {name: t for name, t in state.items() if not DERIVED.search(name)}, OURS, HUGGINGFACE
    )
    for name, mean in list(tensors.items()):
        if config.frozen_norm and name.endswith(".running_mean"):
            count = torch.zeros((), dtype=torch.int64, device=mean.device)
            tensors[name.replace("running_mean", "num_batches_tracked")] = count
    if config.backbone.startswith("swin"):
        last = state["backbone.norms.3.weight"]
        tensors[HF_NORM + "weight"] = torch.ones_like(last)
        tensors[HF_NORM + "bias"] = torch.zeros_like(last)
    tensors["criterion.empty_weight"] = _empty_weight(state, config)
    return tensors


def _empty_weight(state: Tensors, config: Config) -> Tensor:
    """(K+1,), the class weights of the loss: 1, and less for "no object"."""
    weight = torch.ones_like(state["decoder.class_head.bias"])
    weight[-1] = config.eos_coef
    return weight


def _with_index(state: Tensors) -> Tensors:
    """Adds what torchvision's Swin keeps beside each bias table of (2w - 1)^2 rows.

    (w^2 w^2,): which row pairs of pixels in a window use; pairs at the same distance use the same.
    """
    for name, table in list(state.items()):
        if name.endswith("relative_position_bias_table"):
            window = (isqrt(len(table)) + 1) // 2
            y, x = (torch.arange(window**2) // window, torch.arange(window**2) % window)
            rows, columns = (a[:, None] - a + window - 1 for a in (y, x))
            index = (rows * (2 * window - 1) + columns).flatten()
            state[name.replace("bias_table", "index")] = index.to(table.device)
    return state

"""Checkpoints from elsewhere and for elsewhere, whole, broken and malicious."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections import OrderedDict
from dataclasses import asdict, dataclass, fields, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import minim2f
from minim2f.checkpoints import names, pickles, published
from minim2f.checkpoints.categories import CATEGORIES, DATA_SETS, by_names, by_number
from minim2f.checkpoints.config_json import config_from_json, config_of, config_to_json
from minim2f.checkpoints.write import OUTSIDE_OF_THE_MODEL, TOLD_BY_TENSORS
from minim2f.files import FetchError
from minim2f.model.config import PRESETS
from minim2f.model.swin import SIZES as SWINS

SMALL = minim2f.preset("tiny", frozen_norm=True, pixel_decoder="msdeform", num_classes=5)
PUBLISHED = [name for name in PRESETS if name != "tiny"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Many small steps: two threads would wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def facts() -> dict[str, dict[str, str] | str]:
    """tests/facts/keys.txt: {title: {name: shape and type}}, or the hash where that is all."""
    lists: dict = {}
    for line in (Path(__file__).parent / "facts" / "keys.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            found = lists[line.strip("[]")] = {}
        elif not line.startswith("#"):
            name, shape = line.split(" ", 1)
            parts = [part.strip("{}").split(",") for part in name.split(".")]
            found |= {".".join(combination): shape for combination in itertools.product(*parts)}
    return {title: found.get("sha256", found) for title, found in lists.items()}


FACTS = facts()


def described(tensors) -> dict[str, str]:
    """Tensors as the facts describe them."""
    return {
        name: ("x".join(map(str, t.shape)) or "-") + " int64" * (not t.is_floating_point())
        for name, t in tensors.items()
    }


def numbered(description: dict[str, str]) -> dict[str, torch.Tensor]:
    """Tensors like the facts, which take no memory; the n-th is full of n."""
    tensors = {}
    for number, (name, text) in enumerate(description.items()):
        shape, *kind = text.split()
        value = torch.tensor(number, dtype=torch.int64 if kind else torch.float32)
        tensors[name] = value.expand([int(n) for n in shape.split("x")] if shape != "-" else [])
    return tensors


def empty_state(config) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return minim2f.Mask2Former(config).state_dict()


def same_state(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def small_model(**changes) -> minim2f.Mask2Former:
    """A little model in which no two numbers are the same."""
    torch.manual_seed(1)
    model = minim2f.Mask2Former(replace(SMALL, **changes))
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor += 0.1 * torch.rand_like(tensor)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """The same small model in all formats."""
    folder = tmp_path_factory.mktemp("files")
    minim2f.save(model, folder / "ours")
    minim2f.export(model, folder / "official.pkl")
    minim2f.export(model, folder / "huggingface", "huggingface")
    tensors = names.to_official(model.state_dict(), model.config)
    torch.save({"model": tensors, "iteration": 3}, folder / "official.pth")
    return folder


# ---- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_official_names_and_shapes_of_every_preset(name):
    config = minim2f.preset(name)
    found, expected = (
        described(names.to_official(empty_state(config), config)),
        FACTS[f"official_{name}"],
    )
    if isinstance(expected, str):
        lines = sorted(" ".join(line) for line in found.items())
        found = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert found == expected


def test_official_names_and_shapes_of_the_fpn():
    config = minim2f.preset("r50", pixel_decoder="fpn")
    prefix = "sem_seg_head.pixel_decoder."
    found = described(names.to_official(empty_state(config), config))
    assert {
        name.removeprefix(prefix): shape for name, shape in found.items() if name.startswith(prefix)
    } == FACTS["official_BasePixelDecoder"]


@pytest.mark.parametrize("name", ["r50", "swin_t"])
def test_hugging_face_names_and_shapes(name):
    config = minim2f.preset(name)
    state = empty_state(config)
    theirs = numbered(FACTS[f"huggingface_{name}"])  # the names of transformers 5 in memory
    assert described(names.from_huggingface(theirs, config)) == described(state)
    ours = names.to_huggingface(state, config)  # those in files
    assert described(names.renew(theirs)) == described(ours)


@pytest.mark.parametrize("format", ["official", "huggingface"])
@pytest.mark.parametrize("name", ["r50", "swin_t"])
def test_there_and_back_every_tensor_finds_its_place(name, format):
    config = minim2f.preset(name)
    theirs = numbered(FACTS[f"{format}_{name}"])
    ours = getattr(names, f"from_{format}")(theirs, config)
    back = getattr(names, f"to_{format}")(ours, config)
    assert same_state(names.tidy(back, config), names.tidy(theirs, config))


@pytest.mark.parametrize("format", ["official", "huggingface"])
@pytest.mark.parametrize("changes", [{}, {"frozen_norm": False}, {"backbone": "swin_x"}])
def test_there_and_back_every_number_is_exact(monkeypatch, format, changes):
    monkeypatch.setitem(SWINS, "swin_x", (24, (1, 1, 2, 1), (1, 2, 3, 4), 4))
    model = small_model(**changes)
    theirs = getattr(names, f"to_{format}")(model.state_dict(), model.config)
    ours = getattr(names, f"from_{format}")(theirs, model.config)
    assert same_state(ours, model.state_dict())


def test_a_wrong_row_cannot_hide_between_equal_shapes():
    """Names that are easy to mix up, from the spec of both sides."""
    config = minim2f.preset("swin_t")
    known = {
        "decoder.query_content.weight": ("query_feat.weight", "queries_features.weight"),
        "decoder.query_position.weight": ("query_embed.weight", "queries_embedder.weight"),
        "pixel_decoder.project.res5.0.weight": ("input_proj.0.0.weight", "projections.0.0.weight"),
        "pixel_decoder.project.res3.0.weight": ("input_proj.2.0.weight", "projections.2.0.weight"),
        "pixel_decoder.layers.3.attention_norm.bias": (
            "3.norm1.bias",
            "3.self_attn_layer_norm.bias",
        ),
        "pixel_decoder.layers.3.ffn_norm.bias": ("3.norm2.bias", "3.final_layer_norm.bias"),
        "decoder.layers.8.cross_norm.weight": (
            "cross_attention_layers.8.norm.weight",
            "8.cross_attn_layer_norm.weight",
        ),
        "decoder.layers.8.ffn_norm.weight": (
            "ffn_layers.8.norm.weight",
            "8.final_layer_norm.weight",
        ),
        "decoder.mask_head.4.bias": ("mask_embed.layers.2.bias", "mask_embedder.2.0.bias"),
        "backbone.norms.3.bias": ("backbone.norm3.bias", "hidden_states_norms.stage4.bias"),
        "backbone.stages.2.5.norm2.bias": ("blocks.5.norm2.bias", "5.layernorm_after.bias"),
        "backbone.stages.2.5.mlp.3.bias": ("blocks.5.mlp.fc2.bias", "blocks.5.output.dense.bias"),
    }
    state = empty_state(config)
    for name, endings in known.items():
        for column, ending in zip((names.OFFICIAL, names.HUGGINGFACE), endings):
            (found,) = names.translate({name: state[name]}, names.OURS, column)
            assert found.endswith(ending)


@pytest.mark.parametrize(
    ("ours", "official"),
    [
        (r"backbone\.res(\d)\.#\.(?:conv|bn)(\d)", r"backbone\.res(\d)\.#\.conv(\d)"),
        (r"backbone\.res(\d)\.#\.downsample", r"backbone\.res(\d)\.#\.shortcut"),
        (r"(bn\d|stem\.1|downsample\.1)$", r"(conv\d|shortcut)\.norm$"),
        (r"pixel_decoder\.lateral", r"pixel_decoder\.adapter_"),
        (r"pixel_decoder\.output", r"pixel_decoder\.layer_"),
        (r"pixel_decoder\.(lateral|output)(\.res\d)?\.1$", r"(adapter|layer)_\d\.norm$"),
        (r"^decoder.*cross_", r"transformer_cross_attention_layers"),
        (r"^decoder.*self_", r"transformer_self_attention_layers"),
        (r"^decoder.*ffn", r"transformer_ffn_layers"),
        (r"^decoder.*in_proj\.weight", r"in_proj_weight"),
        (r"^decoder.*in_proj\.bias", r"in_proj_bias"),
        (r"^decoder.*out_proj", r"out_proj"),
        (r"^decoder\.layers.*_norm$", r"predictor\.transformer_.*\.norm$"),
    ],
)
def test_every_row_speaks_of_one_layer(ours, official):
    """Names may be swapped among layers of equal shape, and every list would still agree."""
    for row in names.ROWS:
        a, b = re.search(ours, row[0]), re.search(official, row[1])
        assert bool(a) == bool(b), row[:2]
        digits = [[d for d in m.groups() if d and d.isdigit()] for m in (a, b) if m]
        assert not digits or digits[0] == digits[1], row[:2]


def test_levels_of_the_fpn_count_from_one():
    for ours, official, _ in names.ROWS:
        if level := re.match(r"pixel_decoder\.(?:lateral|output)\.res(\d)", ours):
            assert f"_{int(level[1]) - 1}" in official


def test_queries_keys_and_values_are_stacked_in_this_order():
    base = "model.transformer_module.decoder.layers.0.self_attn."
    tensors = {
        base + f"{c}_proj.bias": torch.full((2,), i) for i, c in ((2, "v"), (1, "k"), (0, "q"))
    }
    stacked = names.from_huggingface(tensors, SMALL)["decoder.layers.0.self_attention.in_proj.bias"]
    assert stacked.tolist() == [0, 0, 1, 1, 2, 2]


def test_old_official_names_are_read(files, model, tmp_path):
    content = pickle.loads((files / "official.pkl").read_bytes())
    content["model"] = {
        name.replace("head.pixel_decoder.", "head.").replace("query_feat", "static_query"): array
        for name, array in content["model"].items()
    }
    assert "sem_seg_head.adapter_1.weight" in content["model"]
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(content))
    assert same_state(minim2f.load(tmp_path / "old.pkl").state_dict(), model.state_dict())


def test_a_name_in_two_ages_is_refused():
    twice = [f"sem_seg_head.predictor.{name}.weight" for name in ("static_query", "query_feat")]
    with pytest.raises(ValueError, match="query_feat.weight is there twice"):
        names.renew({name: torch.zeros(1) for name in twice})


# ---- whole files ----------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["ours", "official.pkl", "official.pth", "huggingface"])
def test_every_format_gives_the_same_model(files, model, file):
    again = minim2f.load(files / file)
    assert same_state(again.state_dict(), model.state_dict())
    assert not again.training
    sizes = ("backbone", "pixel_decoder", "num_classes", "channels", "num_queries", "num_layers")
    for size in (*sizes, "ffn_channels", "frozen_norm", "eos_coef"):
        assert getattr(again.config, size) == getattr(model.config, size), size


@pytest.mark.parametrize("changes", [{"pixel_decoder": "fpn"}, {"frozen_norm": False}])
def test_fpn_and_trained_norms_go_through_an_official_file(tmp_path, changes):
    model = small_model(**changes)
    again = minim2f.load(minim2f.export(model, tmp_path))
    assert again.config.pixel_decoder == model.config.pixel_decoder
    assert again.config.frozen_norm == model.config.frozen_norm
    assert same_state(again.state_dict(), model.state_dict())


def test_an_official_file_is_what_detectron2_reads(files, model):
    content = pickle.loads((files / "official.pkl").read_bytes())
    assert content["__author__"] == "minim2f"
    assert all(type(array) is np.ndarray for array in content["model"].values())
    expected = described(names.to_official(model.state_dict(), model.config))
    assert described({n: torch.from_numpy(a) for n, a in content["model"].items()}) == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_are_recognised_by_their_tensors(name):
    config = minim2f.preset(name)
    theirs = names.to_official(empty_state(config), config)
    theirs = {n: t.new_zeros((), device="cpu").expand(t.shape) for n, t in theirs.items()}
    del theirs["criterion.empty_weight"]
    found = config_of(names.from_official(theirs, config))
    assert replace(found, categories=()) == config
    assert len(found.categories) == 133 and found.categories[0]["name"] == "person"


def test_classes_of_coco_are_known():
    coco = CATEGORIES["coco/panoptic"]
    assert len(coco) == 133 and sum(c["isthing"] for c in coco) == 80
    assert [c["id"] for c in coco] == sorted({c["id"] for c in coco})
    assert (coco[79], coco[132]["name"]) == (
        {"id": 90, "name": "toothbrush", "isthing": 1},
        "rug-merged",
    )


def categories_for(model, labels):
    """What a Hugging Face folder with these names for its classes says of them."""
    content = config_to_json(model.config)
    content["id2label"] = {str(k): label for k, label in enumerate(labels)}
    head = {"decoder.class_head.weight": torch.zeros(len(labels) + 1, 64)}
    return config_from_json(content, model.state_dict() | head).categories


def test_class_names_come_from_the_config(model):
    coco = [c["name"] for c in CATEGORIES["coco/panoptic"]]
    assert categories_for(model, coco) == CATEGORIES["coco/panoptic"]
    assert categories_for(model, coco[:80]) == CATEGORIES["coco/panoptic"][:80]
    ade = categories_for(model, ["wall", *DATA_SETS["ade20k"]["names"][1:]])
    assert ade[0] == {"id": 0, "name": "wall", "isthing": 0}
    assert sum(c["isthing"] for c in ade) == 100
    city = categories_for(model, ["road", *DATA_SETS["cityscapes"]["names"][1:]])
    assert [c["isthing"] for c in city] == [0] * 11 + [1] * 8
    own = categories_for(model, ["cat", "dog"])
    assert own == tuple({"id": k, "name": n, "isthing": 1} for k, n in enumerate(["cat", "dog"]))
    assert categories_for(model, [f"LABEL_{k}" for k in range(133)]) == ()


# Classes, and things among them, of what the authors published.
PUBLISHED_CLASSES = {
    "coco/panoptic": (133, 80),
    "coco/instance": (80, 80),
    "ade20k/panoptic": (150, 100),
    "ade20k/instance": (100, 100),
    "ade20k/semantic": (150, 100),
    "cityscapes/panoptic": (19, 8),
    "cityscapes/instance": (8, 8),
    "cityscapes/semantic": (19, 8),
    "mapillary_vistas/panoptic": (65, 37),
    "mapillary_vistas/semantic": (65, 37),
}


@pytest.mark.parametrize("name", published.FILES)
def test_every_published_file_has_its_classes_there_and_back(model, name):
    file = Path(published.FILES[name]).name
    kind = published.trained_on(file)
    assert name.endswith(kind.replace("/", "_"))
    categories = CATEGORIES[kind]
    count, things = PUBLISHED_CLASSES[kind]
    assert (len(categories), sum(c["isthing"] for c in categories)) == (count, things)
    assert len({c["id"] for c in categories}) == len({c["name"] for c in categories}) == count

    config = replace(model.config, num_classes=count, categories=categories)
    content = json.loads(json.dumps(config_to_json(config)))
    assert content["id2label"] == {str(k): c["name"] for k, c in enumerate(categories)}
    assert content["label2id"] == {c["name"]: k for k, c in enumerate(categories)}
    head = {"decoder.class_head.weight": torch.zeros(count + 1, 64)}
    again = config_from_json(content, model.state_dict() | head)
    assert again.categories == categories
    del content["minim2f_categories"]  # as transformers writes it for its own models
    again = config_from_json(content, model.state_dict() | head)
    for field in ("name", "isthing"):
        assert [c[field] for c in again.categories] == [c[field] for c in categories]


def test_known_classes_in_samples():
    """A class in the middle of each list: its index, id and kind, from the data sets' own pages."""
    for kind, index, expected in (
        ("coco/panoptic", 80, (92, "banner", 0)),
        ("ade20k/panoptic", 42, (42, "column", 1)),
        ("ade20k/semantic", 149, (149, "flag", 1)),
        ("ade20k/instance", 99, (149, "flag", 1)),
        ("ade20k/instance", 3, (12, "person", 1)),
        ("cityscapes/panoptic", 10, (23, "sky", 0)),
        ("cityscapes/semantic", 10, (10, "sky", 0)),
        ("cityscapes/instance", 5, (31, "train", 1)),
        ("mapillary_vistas/panoptic", 55, (56, "Car", 1)),
        ("mapillary_vistas/semantic", 58, (58, "On Rails", 0)),
        ("mapillary_vistas/semantic", 23, (23, "Lane Marking - Crosswalk", 1)),
    ):
        assert tuple(CATEGORIES[kind][index].values()) == expected


def test_the_classes_of_cityscapes_are_torchvision_s():
    datasets = pytest.importorskip("torchvision.datasets")
    known = [c for c in datasets.Cityscapes.classes if 0 <= c.train_id < 255]
    for kind, field in (("panoptic", "id"), ("semantic", "train_id")):
        theirs = [(getattr(c, field), c.name, int(c.has_instances)) for c in known]
        assert [tuple(c.values()) for c in CATEGORIES[f"cityscapes/{kind}"]] == theirs


@pytest.mark.parametrize("kind", PUBLISHED_CLASSES)
def test_a_published_file_is_known_by_its_own_name(tmp_path, kind, capsys):
    file = next(Path(f) for f in published.FILES.values() if f.startswith(kind + "/"))
    model = small_model(num_classes=PUBLISHED_CLASSES[kind][0])
    minim2f.export(model, tmp_path / file.name)
    assert minim2f.load(tmp_path / file.name).config.categories == CATEGORIES[kind]
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("count", "kind"),
    [
        (133, "coco/panoptic"),
        (80, "coco/instance"),
        (150, "ade20k/semantic"),
        (19, "cityscapes/semantic"),
        (65, "mapillary_vistas/semantic"),
        (8, None),
        (100, None),
        (37, None),
    ],
)
def test_another_official_file_is_known_by_its_number_of_classes(tmp_path, count, kind, capsys):
    file = minim2f.export(small_model(num_classes=count), tmp_path / "model_0089999.pkl")
    found = minim2f.load(file).config.categories
    assert found == by_number(count) == (CATEGORIES[kind] if kind else ())
    said = capsys.readouterr().out
    if kind:
        assert f"does not name its {count} classes" in said and found[2]["name"] in said
    else:
        assert not said


def test_a_published_name_on_a_file_with_other_classes_tells_nothing(tmp_path):
    file = Path(published.FILES["maskformer2_R50_cityscapes_instance"]).name
    assert minim2f.load(minim2f.export(small_model(), tmp_path / file)).config.categories == ()


def test_names_of_hugging_face_are_kept_and_known():
    """Their lists have other synonyms than the authors', and other letters."""
    ade = [c["name"] for c in CATEGORIES["ade20k/semantic"]]
    changes = {6: "road, route", 8: "windowpane", 37: "bathtub", 89: "television receiver"}
    theirs = [changes.get(k, name) for k, name in enumerate(ade)]
    found = by_names(theirs)
    assert [c["name"] for c in found] == theirs
    assert [c["isthing"] for c in found] == [c["isthing"] for c in CATEGORIES["ade20k/panoptic"]]
    vistas = [c["name"].lower() for c in CATEGORIES["mapillary_vistas/semantic"]]
    assert sum(c["isthing"] for c in by_names(vistas)) == 37


@pytest.mark.parametrize(
    "own", [["wall", *(f"w{k}" for k in range(149))], ["person", *"bcdefgh"], ["road", *"bcdefgh"]]
)
def test_as_many_other_classes_are_nobody_s(own):
    assert by_names(own) == tuple(
        {"id": k, "name": name, "isthing": 1} for k, name in enumerate(own)
    )


def test_own_ids_and_stuff_go_through_hugging_face(tmp_path):
    categories = tuple(
        {"id": 10 * k + 7, "name": f"n{k}", "isthing": k % 2, "color": [k, 0, 255]}
        for k in range(5)
    )
    folder = minim2f.export(small_model(categories=categories), tmp_path, "huggingface")
    assert minim2f.load(folder).config.categories == categories
    content = json.loads((folder / "config.json").read_text())
    content["id2label"]["2"] = "renamed"  # ours is out of date then
    (folder / "config.json").write_text(json.dumps(content))
    found = minim2f.load(folder).config.categories
    assert [c["name"] for c in found] == ["n0", "n1", "renamed", "n3", "n4"]


INCOMPLETE = [
    {"id": 2, "name": "cat"},
    {"id": 2, "isthing": 1},
    {"name": "cat", "isthing": 1},
    {"id": "2", "name": "cat", "isthing": 1},
    {"id": True, "name": "cat", "isthing": 1},
    {"id": 2, "name": None, "isthing": 1},
    {"id": 2, "name": "cat", "isthing": "yes"},
    "cat",
]


@pytest.mark.parametrize("category", INCOMPLETE, ids=str)
def test_incomplete_categories_are_refused_where_they_enter(files, tmp_path, category):
    categories = [{"id": 1, "name": "dog", "isthing": 1}, category]
    said = "category 1 is .*; each needs an id .*, a name .*, and isthing"
    with pytest.raises(ValueError, match=said):
        minim2f.preset("tiny", num_classes=2, categories=categories)
    with pytest.raises(ValueError, match=said):
        minim2f.load(files / "ours", categories=categories)
    edit_json(files, tmp_path, minim2f_categories=categories)
    with pytest.raises(ValueError, match=f"config.json: {said}"):
        minim2f.load(tmp_path)
    header = json.dumps(asdict(SMALL) | {"num_classes": 2, "categories": categories})
    save_file(
        load_file(files / "ours/model.safetensors"),
        tmp_path / "m.safetensors",
        {"minim2f.config": header},
    )
    with pytest.raises(ValueError, match=f"m.safetensors: {said}"):
        minim2f.load(tmp_path / "m.safetensors")


def test_an_id_that_occurs_twice_is_refused():
    twice = [{"id": 4, "name": name, "isthing": 1} for name in ("cat", "dog")]
    with pytest.raises(ValueError, match="the id 4 occurs twice among the categories"):
        minim2f.preset("tiny", num_classes=2, categories=twice)


def test_settings_come_from_the_config(files, tmp_path):
    edit_json(files, tmp_path, no_object_weight=0.25, train_num_points=99, dice_weight=3)
    found = minim2f.load(tmp_path).config
    assert (found.eos_coef, found.num_points, found.dice_weight) == (0.25, 99, 3.0)


def test_float16_weights_become_float32(files, model, tmp_path):
    shutil.copytree(files / "huggingface", tmp_path / "half")
    tensors = load_file(files / "huggingface" / "model.safetensors")
    half = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    save_file(half, tmp_path / "half" / "model.safetensors")
    state = minim2f.load(tmp_path / "half").state_dict()
    for name, tensor in model.state_dict().items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor.half().to(tensor.dtype))


def test_shards_are_one_file(files, model, tmp_path):
    shutil.copy(files / "huggingface" / "config.json", tmp_path)
    tensors = list(load_file(files / "huggingface" / "model.safetensors").items())
    shards = {"a.safetensors": dict(tensors[::2]), "b.safetensors": dict(tensors[1::2])}
    for name, shard in shards.items():
        save_file(shard, tmp_path / name)
    weight_map = {key: name for name, shard in shards.items() for key in shard}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert same_state(minim2f.load(tmp_path).state_dict(), model.state_dict())
    index.write_text(json.dumps({"weight_map": {"a": "../a.safetensors"}}))
    with pytest.raises(ValueError, match="files in other folders"):
        minim2f.load(tmp_path)


# ---- transformers as the witness ------------------------------------------------------------


@pytest.fixture(scope="module", params=["swin", "resnet"])
def saved(request, tmp_path_factory):
    """A random Mask2Former of transformers, and the folder that its save_pretrained wrote."""
    transformers = pytest.importorskip("transformers")
    stages = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    sizes = {"depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "embed_dim": 96, "window_size": 7}
    if request.param == "swin":
        backbone = transformers.SwinConfig(image_size=224, **sizes, **stages)
    else:
        backbone = transformers.ResNetConfig(**stages)
    widths = {"feature_size": 64, "mask_feature_size": 64, "hidden_dim": 64, "dim_feedforward": 96}
    torch.manual_seed(0)
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, num_labels=3, num_queries=6, decoder_layers=4, **widths
    )
    theirs = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    folder = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder)
    return theirs, folder


def test_transformers_and_we_read_each_other(saved, tmp_path):
    theirs, folder = saved
    ours = minim2f.load(folder)
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        mine, hers = ours(images), theirs(images)
    assert torch.allclose(mine.class_logits, hers.class_queries_logits, atol=1e-4)
    assert torch.allclose(mine.mask_logits, hers.masks_queries_logits, atol=1e-3)

    minim2f.export(ours, tmp_path, "huggingface")
    again, report = type(theirs).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report  # nothing missing, nothing unexpected
    assert same_state(again.state_dict(), theirs.state_dict())
    for field in ("num_queries", "decoder_layers", "hidden_dim", "dim_feedforward", "id2label"):
        assert getattr(again.config, field) == getattr(theirs.config, field), field


def test_transformers_loads_a_small_model_of_ours(files, model):
    transformers = pytest.importorskip("transformers")
    theirs, report = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(
        files / "huggingface", output_loading_info=True
    )
    assert not any(report.values()), report
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        mine, hers = model(images).class_logits, theirs.eval()(images).class_queries_logits
    assert torch.allclose(mine, hers, rtol=1e-4, atol=1e-4)


# ---- other heads ----------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["ours", "official.pkl", "huggingface"])
def test_other_heads_replace_just_themselves(files, model, file, capsys):
    new = minim2f.load(files / file, num_classes=7, num_queries=20)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "num_classes = 7 (the file: 5)" in said and "num_queries = 20 (the file: 16)" in said
    assert (new.config.num_classes, new.config.num_queries) == (7, 20)
    state = new.state_dict()
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, state[n])}
    heads = (
        "class_head.weight",
        "class_head.bias",
        "query_content.weight",
        "query_position.weight",
    )
    assert changed == {f"decoder.{name}" for name in heads}
    assert not new.training and new(torch.zeros(1, 3, 32, 32)).class_logits.shape == (1, 20, 8)


def test_the_same_numbers_replace_nothing(files, model, capsys):
    again = minim2f.load(files / "ours", num_classes=5, num_queries=16)
    assert same_state(again.state_dict(), model.state_dict()) and not capsys.readouterr().out


def test_names_of_classes_go_with_their_head(tmp_path):
    categories = tuple({"id": k, "name": str(k), "isthing": 1} for k in range(5))
    minim2f.save(small_model(categories=categories), tmp_path)
    assert minim2f.load(tmp_path, num_queries=3).config.categories == categories
    assert minim2f.load(tmp_path, num_classes=6).config.categories == ()
    with pytest.raises(ValueError, match="num_classes is 0"):
        minim2f.load(tmp_path, num_classes=0)


# ---- hostile files --------------------------------------------------------------------------


class Calls:
    """Pickled, it asks whoever reads it to call something."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


def arrays(files) -> dict[str, np.ndarray]:
    return pickle.loads((files / "official.pkl").read_bytes())["model"]


@pytest.mark.parametrize(
    ("bomb", "name"),
    [
        (Calls(os.system, "touch pwned"), f"{os.system.__module__}.system"),
        (Calls(eval, "open('pwned', 'w')"), r"(builtins|__builtin__)\.eval"),
        (Calls(getattr, "text", "upper"), r"(builtins|__builtin__)\.getattr"),
        (torch.ones(2), "torch._utils._rebuild_tensor_v2"),
        (np.array([None]), r"numpy.dtype\('O8'\)"),
        (Path("x"), "pathlib"),
    ],
    ids=["system", "eval", "getattr", "tensor", "objects", "path"],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_calls_anything_is_refused_by_name(
    files, tmp_path, monkeypatch, bomb, name, protocol
):
    monkeypatch.chdir(tmp_path)
    content = {"model": arrays(files) | {"bomb": bomb}}
    Path("bomb.pkl").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(ValueError, match=f"bomb.pkl tries to call {name}"):
        minim2f.load("bomb.pkl")
    assert os.listdir() == ["bomb.pkl"]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pth_that_calls_anything_is_refused_by_name(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    bomb = {"model": {"w": Calls(os.system, "touch pwned")}}
    torch.save(bomb, "bomb.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f"bomb.pth tries to call {os.system.__module__}.system"):
        minim2f.load("bomb.pth")
    assert os.listdir() == ["bomb.pth"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_harmless_arrays_of_every_kind_are_read(tmp_path, protocol):
    content = {
        "float": np.arange(6, dtype="f4").reshape(2, 3),
        "half": np.ones(3, "f2"),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "swapped": np.arange(3, dtype=">f4"),
        "number": np.float32(2.5),
        "count": np.array(7),
        "yes": np.array(True),
    }
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps({"model": OrderedDict(content), "epoch": 3}, protocol))
    found = pickles.read_pickle(file)
    assert list(found) == list(content)
    for name, array in content.items():
        assert np.array_equal(found[name].numpy(), array), name
        assert (
            found[name].dtype
            == torch.from_numpy(np.array(array, array.dtype.newbyteorder("="))).dtype
        )


@pytest.mark.parametrize("content", [None, 3, [1], {}, {"model": {}}, {"model": {"a": "text"}}])
def test_a_pickle_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"a.pkl(: 'a' is a str| holds no dictionary of weights)"):
        minim2f.load(tmp_path / "a.pkl")


def test_a_few_bytes_cannot_claim_the_memory(tmp_path):
    put_far_away = b"\x80\x04}r\xff\xff\xff\x7f."  # remember a dict under number 2 147 483 647
    (tmp_path / "a.pkl").write_bytes(put_far_away)
    with pytest.raises(ValueError, match="a.pkl holds no dictionary of weights"):
        minim2f.load(tmp_path / "a.pkl")


@pytest.mark.parametrize("share", [0, 1e-6, 0.3, 0.999])
@pytest.mark.parametrize("name", ["ours", "huggingface", "official.pkl", "official.pth"])
def test_a_cut_file_is_refused(files, tmp_path, name, share):
    source = files / name
    file = tmp_path / ("model.safetensors" if source.is_dir() else name)
    if source.is_dir():
        shutil.copytree(source, tmp_path, dirs_exist_ok=True)
        source = source / file.name
    content = source.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=f"{file.name} is not a whole .* file .*again"):
        minim2f.load(tmp_path if name in ("ours", "huggingface") else file)


def shape(change):
    return lambda array: change(np.array(array))


CHANGES = {  # what is done to one tensor, and what is said
    "missing": (None, r"missing: {}"),
    "shape": (shape(lambda a: a[:-1]), r"{}: \(63,\) instead of \(64,\)"),
    "rank": (shape(lambda a: a[None]), r"{}: \(1, .*instead of \("),
    "scalar": (shape(lambda a: a.sum()), r"{}: \(\) instead of \("),
    "type": (shape(lambda a: a.astype("i8")), r"{}: torch.int64 instead of torch.float32"),
    "nan": (shape(lambda a: a * np.float32("nan")), r"{}: holds NaN or infinity"),
    "inf": (shape(lambda a: a + np.float32("inf")), r"{}: holds NaN or infinity"),
}
LAYER = {
    "official": "sem_seg_head.predictor.transformer_ffn_layers.0.norm.weight",
    "huggingface": "model.transformer_module.decoder.layers.0.final_layer_norm.weight",
    "ours": "decoder.layers.0.ffn_norm.weight",
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("format", LAYER)
def test_one_wrong_tensor_is_named_as_the_file_names_it(files, tmp_path, format, kind):
    change, said = CHANGES[kind]
    name = LAYER[format]

    def spoil(tensors):
        tensors = {n: np.asarray(t) for n, t in tensors.items()}
        if change is None:
            del tensors[name]
        else:
            tensors[name] = change(tensors[name])
        return tensors

    if format == "official":
        file = tmp_path / "wrong.pkl"
        file.write_bytes(pickle.dumps({"model": spoil(arrays(files))}))
    else:
        file = tmp_path / "model.safetensors"
        shutil.copytree(files / format, tmp_path, dirs_exist_ok=True)
        tensors = spoil({n: t.numpy() for n, t in load_file(file).items()})
        header = {"minim2f.config": json.dumps(asdict(SMALL))}
        tensors = {n: torch.from_numpy(np.ascontiguousarray(t)) for n, t in tensors.items()}
        tensors |= {name: tensors[name].reshape(())} if kind == "scalar" else {}
        save_file(tensors, file, header if format == "ours" else {"format": "pt"})
    with pytest.raises(ValueError, match=said.format(name.replace(".", r"\."))) as error:
        minim2f.load(file)
    assert str(file) in str(error.value)


def test_every_problem_is_listed(files, tmp_path):
    content = arrays(files)
    del content["sem_seg_head.predictor.class_embed.bias"]
    del content["backbone.res4.0.conv1.weight"]
    content |= {
        "surplus": np.zeros(1, "f4"),
        "sem_seg_head.predictor.query_feat.weight": np.ones(2),
    }
    (tmp_path / "wrong.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError) as error:
        minim2f.load(tmp_path / "wrong.pkl")
    for line in (
        "missing: sem_seg_head.predictor.class_embed.bias",
        "missing: backbone.res4.0.conv1.weight",
        "surplus: surplus",
        "query_feat.weight: (2,) instead of (16, 64)",
    ):
        assert line in str(error.value)


def test_a_third_that_is_missing_is_named(files, tmp_path):
    shutil.copytree(files / "huggingface", tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.transformer_module.decoder.layers.1.self_attn.k_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"layers\.1\.self_attn\.\{q\|k\|v\}_proj\.weight"):
        minim2f.load(tmp_path)


@pytest.mark.parametrize("drop", ["backbone.res", "backbone.res3.0."])
def test_an_unknown_backbone_is_refused(files, tmp_path, drop):
    content = {n: a for n, a in arrays(files).items() if not n.startswith(drop)}
    (tmp_path / "wrong.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="wrong.pkl: its backbone has .* stages of .* none of"):
        minim2f.load(tmp_path / "wrong.pkl")


def edit_json(files, folder, **changes):
    shutil.copytree(files / "huggingface", folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "bert"}, "describes a bert model, not a mask2former"),
        ({"backbone_config": None}, "its backbone is missing"),
        ({"backbone_config": {"model_type": "convnext"}}, "its backbone is convnext"),
        ({"pre_norm": True}, r"pre_norm = True \(ours is False\)"),
        ({"num_attention_heads": 4}, r"num_attention_heads = 4 \(ours is 8\)"),
        ({"id2label": {"0": "cat"}}, "id2label does not name the 5 classes"),
        ({"id2label": 5}, "id2label does not name the 5 classes"),
        ({"no_object_weight": "much"}, "no_object_weight is 'much', not a number"),
    ],
)
def test_a_config_of_something_else_is_refused(files, tmp_path, changes, said):
    edit_json(files, tmp_path, **changes)
    with pytest.raises(ValueError, match=f"config.json: .*{said}"):
        minim2f.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00", '{"a": 1}'])
def test_a_config_that_is_no_config_is_refused(files, tmp_path, text):
    shutil.copytree(files / "huggingface", tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="config.json: it "):
        minim2f.load(tmp_path)


@pytest.mark.parametrize(
    "header", ["", "[]", "{", '{"colour": 1}', '{"num_queries": "x"}', '{"channels": 1e9}']
)
def test_a_header_that_is_no_config_is_refused(files, tmp_path, header):
    tensors = load_file(files / "ours" / "model.safetensors")
    save_file(tensors, tmp_path / "m.safetensors", {"minim2f.config": header})
    with pytest.raises(ValueError, match="m.safetensors: "):
        minim2f.load(tmp_path / "m.safetensors")


def test_a_claim_of_any_size_takes_no_memory(files, tmp_path):
    config = asdict(replace(SMALL, num_queries=10**12))
    tensors = load_file(files / "ours" / "model.safetensors")
    save_file(tensors, tmp_path / "m.safetensors", {"minim2f.config": json.dumps(config)})
    with pytest.raises(ValueError, match=r"\(16, 64\) instead of \(1000000000000, 64\)"):
        minim2f.load(tmp_path / "m.safetensors")


def test_a_claim_of_endless_layers_ends(files, tmp_path):
    config = asdict(replace(SMALL, num_layers=10**12))
    tensors = load_file(files / "ours" / "model.safetensors")
    save_file(tensors, tmp_path / "m.safetensors", {"minim2f.config": json.dumps(config)})
    with pytest.raises(ValueError, match="claims 1000000000000 layers, and holds 244 tensors"):
        minim2f.load(tmp_path / "m.safetensors")


def test_places_without_a_model_are_named(files, tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder has no model.safetensors"):
        minim2f.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="published: maskformer2_R50_coco_panoptic"):
        minim2f.load("nowhere")
    shutil.copy(files / "huggingface" / "model.safetensors", tmp_path)
    with pytest.raises(ValueError, match="needs its config.json beside it"):
        minim2f.load(tmp_path)


# ---- exporting ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "changes", "said"),
    [
        ("official", {"masked_attention": False}, "masked_attention = False"),
        ("official", {"learned_content": False}, "learned_content = False"),
        ("huggingface", {"scales": (32,)}, r"scales = \(32,\)"),
        ("huggingface", {"pixel_decoder": "fpn"}, "pixel_decoder = fpn"),
        ("onnx", {}, "format is 'onnx'"),
    ],
)
def test_what_others_cannot_run_is_not_exported(tmp_path, format, changes, said):
    with pytest.raises(ValueError, match=said):
        minim2f.export(small_model(**changes), tmp_path / "out.pkl", format)
    assert not any(tmp_path.iterdir())


@dataclass(frozen=True)
class NewerConfig(minim2f.Config):
    """Config as it may be one day."""

    new_switch: bool = False


@pytest.mark.parametrize("format", ["official", "huggingface"])
def test_a_new_switch_is_not_exported_in_silence(model, tmp_path, monkeypatch, format):
    newer = NewerConfig(**asdict(model.config))
    monkeypatch.setattr(model, "config", newer)
    minim2f.export(model, tmp_path / "as_before", format)
    monkeypatch.setattr(model, "config", replace(newer, new_switch=True))
    with pytest.raises(ValueError, match="cannot run a model with new_switch = True"):
        minim2f.export(model, tmp_path / "out", format)
    assert not (tmp_path / "out").exists()


def test_the_fields_that_an_export_may_have_are_known():
    known = {field.name for field in fields(minim2f.Config)}
    switches = {"learned_content", "masked_attention", "scales", "self_attention_first"}
    for format, told in TOLD_BY_TENSORS.items():
        assert told | OUTSIDE_OF_THE_MODEL <= known
        refused = known - told - OUTSIDE_OF_THE_MODEL - {"num_heads"}
        assert refused == switches | ({"pixel_decoder"} if format == "huggingface" else set())


def test_a_failed_export_leaves_the_old_file(files, model, tmp_path, monkeypatch):
    file = minim2f.export(model, tmp_path / "model.pkl")
    before = file.read_bytes()

    def fail(file):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        minim2f.export(model, file)
    assert file.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["model.pkl"]


# ---- published checkpoints ------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "minim2f" / "weights"


def test_the_table_of_published_files():
    assert len(published.FILES) == 47
    for name, file in published.FILES.items():
        dataset, task, model, end = file.split("/")
        assert name.startswith("maskformer2_") and name.endswith(f"_{dataset}_{task}")
        assert all(part in model for part in name.split("_")[1:-3])
        assert len(end.removeprefix("model_final_").removesuffix(".pkl")) == 6


def test_names_of_the_hub_and_mistyped_paths_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for name in ("facebook/mask2former-swin-base-IN21k-ade-semantic", "you/mask2former.v2"):
        assert published.is_published(name)
    for path in (
        *("tiny", "/facebook/x", "facebook/mask2former-swin-../x", "../x", "./x", "you/"),
        *("out/mine", "nowhere/model.safetensors", "nowhere/a.pkl", "nowhere/a.pth"),
    ):
        assert not published.is_published(path)
    monkeypatch.setattr(published, "fetch", None)
    with pytest.raises(FileNotFoundError, match="no model at you.mine"):
        minim2f.load(Path("you/mine"))  # a Path is no name


def test_an_official_name_is_fetched_once(files, model, cache, tmp_path, monkeypatch, capsys):
    content = (files / "official.pkl").read_bytes()
    path = f"a/model_final_{hashlib.md5(content).hexdigest()[:6]}.pkl"
    (tmp_path / "a").mkdir()
    shutil.copy(files / "official.pkl", tmp_path / path)
    monkeypatch.setattr(published, "OFFICIAL", str(tmp_path))
    monkeypatch.setitem(published.FILES, "maskformer2_R50_coco_panoptic", path)
    loaded = minim2f.load("maskformer2_R50_coco_panoptic")
    assert same_state(loaded.state_dict(), model.state_dict())
    assert "CC BY-NC 4.0" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "a")  # from now on it is in the cache
    minim2f.load("maskformer2_R50_coco_panoptic")
    assert not capsys.readouterr().out


def test_a_published_file_with_another_hash_is_refused(cache, tmp_path, monkeypatch):
    (tmp_path / "model_final_94dc52.pkl").write_bytes(b"something else")
    monkeypatch.setattr(published, "OFFICIAL", str(tmp_path))
    monkeypatch.setitem(published.FILES, "maskformer2_R50_coco_panoptic", "model_final_94dc52.pkl")
    with pytest.raises(FetchError, match="has MD5 .* instead of 94dc52"):
        minim2f.load("maskformer2_R50_coco_panoptic")
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_offline_the_error_says_what_to_put_where(cache, monkeypatch):
    closed, name = "http://127.0.0.1:9", "maskformer2_R50_coco_panoptic"  # nobody listens there
    monkeypatch.setattr(published, "OFFICIAL", closed)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    with pytest.raises(FetchError) as error:
        minim2f.load(name)
    for part in (closed, "no connection", "elsewhere, as " + str(cache / name)):
        assert part in str(error.value)


# ---- the Hugging Face hub -------------------------------------------------------------------


class Hub:
    """As much of the Hugging Face hub as its client asks of it.

    Attributes:
        files: "org/name/file" -> content.
        hashes: "org/name/file" -> the SHA-256 that the hub states, if that is to be a wrong one.
        asked: "METHOD path" of every request so far.
        tokens: what those for files came with.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.hashes: dict[str, str] = {}
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.answer(self)

            def do_HEAD(self):
                hub.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{request.command} {request.path}")
        if "/resolve/" in request.path:
            self.tokens.add(request.headers["Authorization"])
        name = re.sub("/resolve/[^/]+/", "/", request.path.lstrip("/"))
        if name not in self.files:
            request.send_response(404)
            request.send_header("X-Error-Code", "RepoNotFound")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        content = self.files[name]
        digest = self.hashes.get(name, hashlib.sha256(content).hexdigest())
        request.send_response(200)
        request.send_header("X-Repo-Commit", "c" * 40)
        request.send_header("ETag", f'"{digest}"')
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(content)


@pytest.fixture
def hub(files):
    hub = Hub()
    for file in (files / "huggingface").iterdir():
        for name in ("facebook/mask2former-swin-tiny-coco-panoptic", "you/mine", "you/damaged"):
            hub.files[f"{name}/{file.name}"] = file.read_bytes()
    hub.hashes["you/damaged/model.safetensors"] = "0" * 64
    hub.files["you/detr/config.json"] = b'{"model_type": "detr"}'
    hub.files["you/detr/model.safetensors"] = b"a gigabyte"
    thread = Thread(target=hub.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield hub
    hub.http.shutdown()
    hub.http.server_close()
    thread.join()


LOAD = """
import json, sys
import minim2f
from minim2f.files import FetchError

told = {}
for name in sys.argv[1:]:
    try:
        state = minim2f.load(name).state_dict()
        told[name] = {n: t.double().sum().item() for n, t in state.items()}
    except FetchError as error:
        told[name] = str(error)
print(json.dumps(told))
"""


def load_elsewhere(folder: Path, *names: str, **variables: str) -> tuple[dict, str]:
    """Loads by name in a new process, as the hub's client reads its variables once, when imported.

    Returns:
        {name: sums of its tensors, or the FetchError}, and what was printed before.
    """
    variables |= {"HF_HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", LOAD, *names]
    run = subprocess.run(
        command, env=os.environ | variables, cwd=folder, capture_output=True, text=True, check=True
    )
    *printed, told = run.stdout.splitlines()
    return json.loads(told), "\n".join(printed)


def test_models_of_the_hub_are_loaded_by_name(hub, model, tmp_path):
    official = "facebook/mask2former-swin-tiny-coco-panoptic"
    names = (official, "you/mine", "you/damaged", "you/detr", "you/nothing")
    told, printed = load_elsewhere(tmp_path, *names, HF_ENDPOINT=hub.url, HF_TOKEN="hf_secret")
    sums = {n: t.double().sum().item() for n, t in model.state_dict().items()}
    assert told[official] == told["you/mine"] == sums
    assert "CC BY-NC 4.0" in printed.splitlines()[0] and "CC BY-NC" not in printed.splitlines()[1]
    assert hub.tokens == {"Bearer hf_secret"}
    assert "does not have the SHA-256 000" in told["you/damaged"]
    assert "describes a detr model, not a mask2former" in told["you/detr"]
    assert not [line for line in hub.asked if "you/detr" in line and "safetensors" in line]
    assert "no folder you/nothing here" in told["you/nothing"] and "404" in told["you/nothing"]

    hub.asked.clear()  # what is there is not asked for; what was damaged is not there
    again, printed = load_elsewhere(tmp_path, official, "you/damaged", HF_ENDPOINT=hub.url)
    assert again[official] == sums and official not in printed
    assert "does not have the SHA-256 000" in again["you/damaged"]
    assert not [line for line in hub.asked if official in line]


def test_offline_the_hub_s_error_says_what_to_put_where(tmp_path):
    told, _ = load_elsewhere(tmp_path, "you/mine", HF_HUB_OFFLINE="1", HF_ENDPOINT="http://mirror")
    for part in (
        "no folder you/mine here",
        "connection",
        "config.json and model.safetensors from http://mirror/you/mine/tree/main",
        "put them into a folder, and give the path of that folder",
    ):
        assert part in told["you/mine"]

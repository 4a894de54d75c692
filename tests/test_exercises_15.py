"""The solutions of chapter 15 against the library, and other right and wrong ways to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import minim2f
from minim2f.book import exercises
from minim2f.book.exercise import verdict
from minim2f.book.experiments import ch15
from minim2f.checkpoints import names
from minim2f.data.scenes import CATEGORIES, draw
from minim2f.model.transformer_decoder import Attention


def solve(exercise_id: str, *arguments: object) -> object:
    return exercises.find(exercise_id).reference(*arguments)


def thirds_by_replacing(tensors):
    renamed = dict(tensors)
    for name in tensors:
        if "self_attention.in_proj" in name:
            rows = renamed.pop(name)
            for i, letter in enumerate("qkv"):
                new = name.replace("self_attention.in_proj", f"self_attn.{letter}_proj")
                renamed[new] = rows[i * len(rows) // 3 : (i + 1) * len(rows) // 3]
    return renamed


def thirds_out_of_the_argument(tensors):
    for name in list(tensors):
        if "self_attention.in_proj" in name:
            for letter, third in zip("qkv", tensors.pop(name).chunk(3)):
                new = name.replace("self_attention.in_proj", f"self_attn.{letter}_proj")
                tensors[new] = third
    return tensors


def thirds_of_64_rows(tensors):
    renamed = {}
    for name, tensor in tensors.items():
        if "self_attention.in_proj" in name:
            for i, letter in enumerate("qkv"):
                new = name.replace("self_attention.in_proj", f"self_attn.{letter}_proj")
                renamed[new] = tensor[64 * i : 64 * (i + 1)]
        else:
            renamed[name] = tensor
    return renamed


def thirds_by_columns(tensors):
    renamed = {}
    for name, tensor in tensors.items():
        if "self_attention.in_proj" in name:
            c = tensor.shape[1]
            for i, letter in enumerate("qkv"):
                new = name.replace("self_attention.in_proj", f"self_attn.{letter}_proj")
                renamed[new] = tensor[i * c : (i + 1) * c]
        else:
            renamed[name] = tensor
    return renamed


def thirds_under_half_new_names(tensors):
    renamed = {}
    for name, tensor in tensors.items():
        if "self_attention.in_proj" in name:
            for letter, third in zip("qkv", tensor.chunk(3)):
                renamed[name.replace("in_proj", f"{letter}_proj")] = third
        else:
            renamed[name] = tensor
    return renamed


def head_by_stacking(weight, bias, old, new, fresh_weight, fresh_bias):
    old, new = [*old, None], [*new, None]  # None is "no object", in both
    rows = [(weight, bias, old.index(n)) if n in old else None for n in new]
    fresh = [(fresh_weight, fresh_bias, k) for k in range(len(new))]
    rows = [row or other for row, other in zip(rows, fresh)]
    return torch.stack([w[k] for w, _, k in rows]), torch.stack([b[k] for _, b, k in rows])


def head_by_index(weight, bias, old, new, fresh_weight, fresh_bias):
    known = [k for k, name in enumerate(new) if name in old]
    to = torch.tensor([*known, len(new)])
    source = torch.tensor([*(old.index(new[k]) for k in known), len(old)])
    new_weight, new_bias = fresh_weight.detach().clone(), fresh_bias.detach().clone()
    new_weight[to], new_bias[to] = weight[source], bias[source]
    return new_weight, new_bias


def head_by_names_within_names(weight, bias, old, new, fresh_weight, fresh_bias):
    new_weight, new_bias = fresh_weight.clone(), fresh_bias.clone()
    for k, n in enumerate(new):
        for row, m in enumerate(old):
            if n in m or m in n:
                new_weight[k], new_bias[k] = weight[row], bias[row]
    new_weight[-1], new_bias[-1] = weight[-1], bias[-1]
    return new_weight, new_bias


def head_by_small_letters(weight, bias, old, new, fresh_weight, fresh_bias):
    new_weight, new_bias = fresh_weight.clone(), fresh_bias.clone()
    rows = {name.casefold(): row for row, name in enumerate(old)}
    for k, name in enumerate(new):
        if (row := rows.get(name.casefold())) is not None:
            new_weight[k], new_bias[k] = weight[row], bias[row]
    new_weight[-1], new_bias[-1] = weight[-1], bias[-1]
    return new_weight, new_bias


def head_without_the_last_bias(weight, bias, old, new, fresh_weight, fresh_bias):
    rows = [old.index(name) if name in old else None for name in new]
    w = torch.stack([fresh_weight[k] if r is None else weight[r] for k, r in enumerate(rows)])
    b = torch.stack([fresh_bias[k] if r is None else bias[r] for k, r in enumerate(rows)])
    return torch.cat([w, weight[-1:]]), torch.cat([b, fresh_bias[-1:]])


def head_with_row_k_new(weight, bias, old, new, fresh_weight, fresh_bias):
    new_weight, new_bias = fresh_weight.clone(), fresh_bias.clone()
    for k, name in enumerate(new):
        if name in old:
            new_weight[k], new_bias[k] = weight[old.index(name)], bias[old.index(name)]
    new_weight[-1] = weight[len(new)]
    new_bias[-1] = bias[len(new)]
    return new_weight, new_bias


def queries_by_repeating(table, noise):
    times = -(-len(noise) // len(table))
    rows = table.repeat(times, 1)[: len(noise)].clone()
    rows[len(table) :] += noise[len(table) :]
    return rows


def queries_one_by_one(table, noise):
    rows = []
    for n in range(len(noise)):
        row = table[n % len(table)]
        rows.append(row if n < len(table) else row + noise[n])
    return torch.stack(rows)


def queries_from_the_end(table, noise):
    if len(noise) < len(table):
        return table[len(table) - len(noise) :]
    return queries_by_repeating(table, noise)


def queries_up_to_twice(table, noise):
    n = len(table)
    many = torch.cat([table, table])[: len(noise)]
    return torch.cat([many[:n], many[n:] + noise[n : n + n]])


def queries_with_noise_by_round(table, noise):
    rows = [table[n % len(table)] + n // len(table) * noise[n] for n in range(len(noise))]
    return torch.stack(rows)


def mask_column_by_column(mask_logits, size):
    inside = F.interpolate(mask_logits, size, mode="bilinear").mT.flatten(2) > 0
    return _with_queries(inside)


def mask_of_the_first_picture(mask_logits, size):
    inside = F.interpolate(mask_logits, size, mode="bilinear").flatten(2) > 0
    return _with_queries(inside[:1].repeat(len(inside), 1, 1))


def mask_of_any_query(mask_logits, size):
    inside = F.interpolate(mask_logits, size, mode="bilinear").flatten(2) > 0
    return _with_queries(inside.any(1, keepdim=True).expand_as(inside))


def mask_without_aliasing(mask_logits, size):
    small = F.interpolate(mask_logits, size, mode="bilinear", antialias=True)
    return _with_queries(small.flatten(2) > 0)


def _with_queries(inside):
    batch, n, patches = inside.shape
    allowed = torch.ones(batch, n + patches, n + patches, dtype=torch.bool)
    allowed[:, :n, n:] = inside
    return allowed


def mask_of_four_blocks(mask_logits, size):
    batch, n = mask_logits.shape[:2]
    small = F.interpolate(mask_logits, size=size, mode="bilinear", align_corners=False)
    inside = (small > 0).reshape(batch, n, -1)
    s = inside.shape[2]
    upper = torch.cat([inside.new_ones(batch, n, n), inside], 2)
    return torch.cat([upper, inside.new_ones(batch, s, n + s)], 1)


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("15.1", thirds_by_replacing),
        ("15.2", head_by_stacking),
        ("15.2", head_by_index),
        ("15.3", queries_by_repeating),
        ("15.3", queries_one_by_one),
        ("15.4", mask_of_four_blocks),
    ],
)
def test_other_right_ways_are_accepted(exercise_id: str, answer: Callable) -> None:
    assert verdict(exercises.find(exercise_id), answer).startswith("✔")


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("15.1", thirds_out_of_the_argument, "your function changes its input tensors"),
        ("15.1", thirds_under_half_new_names, "two things change in a name"),
        ("15.1", thirds_of_64_rows, "C is 64 in tiny only"),
        ("15.1", thirds_by_columns, "a bias has one axis"),
        ("15.2", head_by_names_within_names, "names must be equal, not contained"),
        ("15.2", head_by_small_letters, "Kite and kite are two names here"),
        ("15.2", head_without_the_last_bias, "the row of 'no object' has a bias, too"),
        ("15.2", head_with_row_k_new, "'no object' is row K of the old head"),
        ("15.3", queries_from_the_end, "where fewer are wanted, the first rows stay"),
        ("15.3", queries_up_to_twice, "twice may not be enough"),
        ("15.3", queries_with_noise_by_round, "each copy gets its row of the noise once"),
        ("15.4", mask_column_by_column, "patches are counted row by row"),
        ("15.4", mask_of_the_first_picture, "each picture has masks of its own"),
        ("15.4", mask_of_any_query, "each query has a mask of its own"),
        ("15.4", mask_without_aliasing, "bilinearly without antialias"),
    ],
)
def test_wrong_ways_are_refused_with_words(exercise_id: str, answer: Callable, hint: str) -> None:
    assert verdict(exercises.find(exercise_id), answer).startswith(f"✘ {exercise_id} {hint}")


def test_the_thirds_are_those_of_the_library() -> None:
    state = minim2f.load("tiny").state_dict()
    mine = solve("15.1", {n: t for n, t in state.items() if n.startswith("decoder.layers.")})
    theirs = names.translate(state, names.OURS, names.HUGGINGFACE)
    for name, third in mine.items():
        if ".self_attn." in name:
            torch.testing.assert_close(third, theirs["model.transformer_module." + name])
    assert sum(".self_attn." in name for name in mine) == 3 * 2 * 3


def test_a_carried_head_answers_for_known_classes_as_before() -> None:
    own = [{"id": k, "name": name, "isthing": 0} for k, name in enumerate(ch15.OWN)]
    known, carried = minim2f.load("tiny"), ch15.model_for(own, "carried", 0).eval()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = known(images).class_logits, carried(images).class_logits
    old = [c["name"] for c in known.config.categories]
    for k, name in enumerate(ch15.OWN):
        if name in old:
            torch.testing.assert_close(after[..., k], before[..., old.index(name)])
    torch.testing.assert_close(after[..., -1], before[..., -1])


def test_a_quiet_start_keeps_no_object_alone() -> None:
    own = [{"id": k, "name": name, "isthing": 0} for k, name in enumerate(ch15.OWN)]
    heads = [ch15.model_for(own, s, 0).decoder.class_head.weight for s in ("tiny", "quiet")]
    trained = minim2f.load("tiny").decoder.class_head.weight
    assert torch.equal(heads[0][:-1], heads[1][:-1])
    assert torch.equal(heads[1][-1], trained[-1]) and not torch.equal(heads[0][-1], trained[-1])


def test_twins_stay_twins_and_copies_with_noise_do_not() -> None:
    torch.manual_seed(0)
    attention, memory = Attention(32, 4), torch.randn(1, 5, 32)
    table = nn.functional.normalize(torch.randn(3, 32))
    for noise, equal in ((torch.zeros(6, 32), True), (torch.randn(6, 32), False)):
        queries = solve("15.3", table, noise)[None]
        seen = attention(queries, memory, memory)[0]
        assert torch.allclose(seen[:3], seen[3:], atol=1e-6) == equal


def test_eomts_mask_needs_no_rescue_and_attention_obeys_it() -> None:
    torch.manual_seed(0)
    nowhere = torch.full((1, 2, 4, 4), -1.0)
    allowed = solve("15.4", nowhere, (2, 2))
    assert allowed.any(-1).all()
    attention, tokens = Attention(32, 4), torch.randn(1, 6, 32)
    other = tokens.clone()
    other[:, 2:] = torch.randn(1, 4, 32)  # other patches, which no query may see
    first, second = (attention(x, x, x, allowed) for x in (tokens, other))
    torch.testing.assert_close(first[:, :2], second[:, :2])
    assert not torch.allclose(first[:, 2:], second[:, 2:])


def test_the_own_set_is_what_the_chapters_folder_gives(tmp_path) -> None:
    own = ch15.own_set(ch15.FIRST, 3)
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    scene_names = [category["name"] for category in CATEGORIES]
    for i in range(3):
        scene = draw(ch15.FIRST + i)
        picture = Image.fromarray(scene.image.permute(1, 2, 0).numpy())
        picture.save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(ch15.label_map(scene, scene_names)).save(tmp_path / "labels" / f"{i}.png")
    (tmp_path / "classes.txt").write_text("\n".join(ch15.OWN), "utf-8")
    read = minim2f.data.open_dataset(tmp_path)
    assert [c["name"] for c in read.categories] == [c["name"] for c in own.categories]
    for i in range(3):
        for field in ("image", "labels", "masks"):
            assert torch.equal(getattr(read[i], field), getattr(own[i], field))

"""What usually goes wrong in the exercises 15.1 and 15.2, each mistake with its hint."""

from __future__ import annotations

from minim2f.book.exercises import Wrong

# ---- 15.1 thirds

OLD = ".self_attention.in_proj."


def _thirds(
    tensors,
    letters="qkv",
    cut=lambda t: t.chunk(3),
    fits=lambda name: True,
    old=OLD,
    new=".self_attn.{}_proj.",
):
    renamed = {}
    for name, tensor in tensors.items():
        if old in name and fits(name):
            head, _, leaf = name.partition(old)
            for letter, third in zip(letters, cut(tensor)):
                renamed[head + new.format(letter) + leaf] = third
        else:
            renamed[name] = tensor
    return renamed


def _slices(tensor, channels):
    return [tensor[i * channels : (i + 1) * channels] for i in range(3)]


def _interleaved(tensor):
    return [tensor[i::3] for i in range(3)]


def _cross_too(tensors):
    return _thirds(tensors, old="_attention.in_proj.", new="_attn.{}_proj.")


def _all_renamed(tensors):
    renamed = {}
    for name, tensor in tensors.items():
        renamed[name.replace("self_attention", "self_attn")] = tensor
    return _thirds_of_new(renamed)


def _thirds_of_new(tensors):
    renamed = {}
    for name, tensor in tensors.items():
        head, found, leaf = name.partition("in_proj.")
        if found and "self_attn" in name:
            for letter, third in zip("qkv", tensor.chunk(3)):
                renamed[f"{head}{letter}_proj.{leaf}"] = third
        else:
            renamed[name] = tensor
    return renamed


def _every_attention(tensors):
    renamed = {}
    for name, tensor in tensors.items():
        head, found, leaf = name.partition("in_proj.")
        if found:
            for letter, third in zip("qkv", tensor.chunk(3)):
                start = head.replace("self_attention", "self_attn")
                renamed[f"{start}{letter}_proj.{leaf}"] = third
        else:
            renamed[name] = tensor
    return renamed


def _without_proj(tensors):
    return _thirds(tensors, new=".self_attn.{}.")


def _of_the_decoder(tensors):
    return _thirds(tensors, fits=lambda name: name.startswith("decoder."))


def _half_renamed(tensors):
    renamed = {}
    for name, tensor in _thirds(tensors).items():
        if "_proj" in name and "in_proj" not in name and "out_proj" not in name:
            name = name.replace("self_attn", "self_attention")
        renamed[name] = tensor
    return renamed


def _only_found(tensors):
    return {name: t for name, t in _thirds(tensors).items() if "self_attn." in name}


def _ends_in(leaf):
    return lambda tensors: _thirds(tensors, fits=lambda name: OLD + leaf in name)


THIRDS = [
    Wrong(
        lambda tensors: _thirds(tensors, cut=lambda t: t.chunk(3, -1)),
        "queries, keys and values are stacked as rows: cut along the first axis",
    ),
    Wrong(
        lambda tensors: _thirds(tensors, cut=_interleaved),
        "not every third row: the first third of the rows makes queries, then come keys, values",
    ),
    Wrong(
        lambda tensors: _thirds(tensors, cut=lambda t: t.split(3)),
        "split(3) makes pieces of three rows; three pieces are wanted",
    ),
    *(
        Wrong(
            lambda tensors, letters=letters: _thirds(tensors, letters),
            "right names, but not on the right thirds: queries come first, then keys, then values",
        )
        for letters in ("kqv", "vkq", "qvk", "kvq", "vqk")
    ),
    Wrong(_cross_too, "cross-attention keeps its in_proj in one piece, as its name says"),
    Wrong(_all_renamed, "only in_proj gets other names: out_proj of self-attention stays"),
    Wrong(_every_attention, "cross-attention keeps its in_proj: only self-attention is split"),
    Wrong(_without_proj, "the new names end in q_proj, k_proj and v_proj, not in q, k and v"),
    Wrong(_of_the_decoder, "START may be anything: a name need not start with decoder"),
    Wrong(_half_renamed, "two things change in a name: self_attention, too, becomes self_attn"),
    Wrong(_only_found, "the tensors with other names are gone: a model needs them all"),
    Wrong(
        lambda tensors: tensors | _thirds(tensors),
        "the stacked tensors are still there beside their thirds: a strict load refuses them",
    ),
    Wrong(_ends_in("weight"), "the biases are stacked as the weights are: split them too"),
    Wrong(_ends_in("bias"), "only the biases are split: the weights have thirds too"),
    Wrong(
        lambda tensors: _thirds(tensors, cut=lambda t: _slices(t, 64)),
        "C is 64 in tiny only: a third of a tensor's own rows, of whatever model it is",
    ),
    *(
        Wrong(
            lambda tensors, channels=channels: _thirds(
                tensors, cut=lambda t: _slices(t, channels(t))
            ),
            "a bias has one axis, and it has 3C numbers: C is a third of the first axis",
        )
        for channels in (lambda t: t.shape[1], lambda t: t.size(1), lambda t: t.shape[-1])
    ),
]

# ---- 15.2 a class head by names


def _carried(weight, bias, old, new, fresh_weight, fresh_bias, row=None, last=True):
    w, b = fresh_weight.clone(), fresh_bias.clone()
    for k, name in enumerate(new):
        if name in old:
            from_ = old.index(name) if row is None else row(k, old.index(name))
            w[k], b[k] = weight[from_], bias[from_]
    if last:
        w[-1], b[-1] = weight[-1], bias[-1]
    return w, b


def _by_place(weight, bias, old, new, fresh_weight, fresh_bias):
    w, b = fresh_weight.clone(), fresh_bias.clone()
    count = min(len(old), len(new))
    w[:count], b[:count] = weight[:count], bias[:count]
    w[-1], b[-1] = weight[-1], bias[-1]
    return w, b


def _all_rows_by_place(weight, bias, old, new, fresh_weight, fresh_bias):
    w, b = fresh_weight.clone(), fresh_bias.clone()
    count = min(len(weight), len(w))
    w[:count], b[:count] = weight[:count], bias[:count]
    return w, b


def _zeros(weight, bias, old, new, fresh_weight, fresh_bias):
    return _carried(weight, bias, old, new, fresh_weight * 0, fresh_bias * 0)


def _weights_alone(weight, bias, old, new, fresh_weight, fresh_bias):
    return _carried(weight, bias, old, new, fresh_weight, fresh_bias)[0], fresh_bias


def _weight_only(*heads):
    return _carried(*heads)[0]


def _in_place(weight, bias, old, new, fresh_weight, fresh_bias):
    w, b = _carried(weight, bias, old, new, fresh_weight, fresh_bias)
    fresh_weight.copy_(w), fresh_bias.copy_(b)
    return fresh_weight, fresh_bias


def _last_by_number(weight, bias, old, new, fresh_weight, fresh_bias):
    w, b = _carried(weight, bias, old, new, fresh_weight, fresh_bias, last=False)
    if len(old) < len(w):
        w[len(old)], b[len(old)] = weight[-1], bias[-1]
    return w, b


def _no_last_row(*heads):
    w, b = _carried(*heads)
    return w[:-1], b[:-1]


def _same_place_and_name(weight, bias, old, new, fresh_weight, fresh_bias):
    w, b = fresh_weight.clone(), fresh_bias.clone()
    for k, (before, name) in enumerate(zip(old, new)):
        if before == name:
            w[k], b[k] = weight[k], bias[k]
    w[-1], b[-1] = weight[-1], bias[-1]
    return w, b


def _last_bias_forgotten(weight, bias, old, new, fresh_weight, fresh_bias):
    w, b = _carried(weight, bias, old, new, fresh_weight, fresh_bias)
    b[-1] = fresh_bias[-1]
    return w, b


def _last_of_the_new_number(weight, bias, old, new, fresh_weight, fresh_bias):
    w, b = _carried(weight, bias, old, new, fresh_weight, fresh_bias, last=False)
    w[len(new)], b[len(new)] = weight[len(new)], bias[len(new)]
    return w, b


def _old_and_new_swapped(weight, bias, old, new, fresh_weight, fresh_bias):
    w, b = fresh_weight.clone(), fresh_bias.clone()
    for k, name in enumerate(old):
        if name in new:
            w[k], b[k] = weight[new.index(name)], bias[new.index(name)]
    w[-1], b[-1] = weight[-1], bias[-1]
    return w, b


def _alike(equal, take=0):
    """Names that count as equal by another rule; of several, the first or the last one's row."""

    def head(weight, bias, old, new, fresh_weight, fresh_bias):
        w, b = fresh_weight.clone(), fresh_bias.clone()
        for k, name in enumerate(new):
            if found := [row for row, known in enumerate(old) if equal(name, known)]:
                w[k], b[k] = weight[found[take]], bias[found[take]]
        w[-1], b[-1] = weight[-1], bias[-1]
        return w, b

    return head


CONTAINED = [
    lambda name, known: name in known or known in name,
    lambda name, known: name in known,
    lambda name, known: known in name,
]


HEADS = [
    *(
        Wrong(
            _alike(equal, take),
            "names must be equal, not contained in each other: seaweed is no sea",
        )
        for equal in CONTAINED
        for take in (0, -1)
    ),
    Wrong(
        _alike(lambda name, known: name.lower() == known.lower()),
        "Kite and kite are two names here: equal means letter by letter, capitals too",
    ),
    Wrong(_last_bias_forgotten, "the row of 'no object' has a bias, too"),
    Wrong(
        _last_of_the_new_number,
        "'no object' is row K of the old head and row K' of the new one: two numbers",
    ),
    Wrong(
        _old_and_new_swapped,
        "old and new are exchanged: row k of the result belongs to new[k]",
    ),
    Wrong(_no_last_row, "the new head has K'+1 rows: 'no object' is missing"),
    Wrong(_same_place_and_name, "a class may have the same name at another number: look it up"),
    Wrong(lambda *heads: _carried(*heads)[::-1], "weight first, then bias"),
    Wrong(
        lambda *heads: _carried(*heads, last=False),
        "'no object' is a class of both heads: its last row can be kept as well",
    ),
    Wrong(_by_place, "row k of both heads may be other classes: find each row by its name"),
    Wrong(_all_rows_by_place, "row k of both heads may be other classes: find rows by name"),
    Wrong(
        lambda *heads: _carried(*heads, row=lambda k, found: k),
        "a name sits at another number in the old head: ask `old` where it is",
    ),
    Wrong(_last_by_number, "'no object' is the last row of each head, whatever its number"),
    Wrong(_zeros, "a class that nobody knows keeps its fresh row; zeros are not asked for"),
    Wrong(_weights_alone, "the weights are right, but each row has a bias, too"),
    Wrong(_weight_only, "two tensors are wanted, weight and bias"),
    Wrong(_in_place, "your function changes its input fresh_weight: work on a copy of it"),
]

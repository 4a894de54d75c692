"""What usually goes wrong in exercise 6.4, a layer that normalises first, each with its hint."""

from __future__ import annotations

from minim2f.book.exercises import Wrong


def _own(x, e, level):
    return x + e, x + e, x


def _seen(x, e, level):
    memory, position = level
    return x + e, memory + position, memory


def _layer(look_at=_seen, talk_of=_own, first="look", bare=(), kept=()):
    """The exercise with other inputs of attention, another order, or norms left out."""

    def answer(x, e, memory, position, look, talk, ffn, norms):
        level = memory, position
        steps = {
            "look": (0, lambda z: look(*look_at(z, e, level))),
            "talk": (1, lambda z: talk(*talk_of(z, e, level))),
            "ffn": (2, ffn),
        }
        orders = {"look": ("look", "talk", "ffn"), "talk": ("talk", "look", "ffn")}
        for name in orders.get(first, ("ffn", "look", "talk")):
            number, step = steps[name]
            z = x if number in bare else norms[number](x)
            x = step(z) if number in kept else x + step(z)
        return x

    return answer


def _post_norm(x, e, memory, position, look, talk, ffn, norms):
    x = norms[0](x + look(x + e, memory + position, memory))
    x = norms[1](x + talk(x + e, x + e, x))
    return norms[2](x + ffn(x))


def _norm_of_the_sum(x, e, memory, position, look, talk, ffn, norms):
    x = x + look(norms[0](x + e), memory + position, memory)
    x = x + talk(norms[1](x + e), norms[1](x + e), norms[1](x))
    return x + ffn(norms[2](x))


def _norm_for_good(x, e, memory, position, look, talk, ffn, norms):
    x = norms[0](x)
    x = x + look(x + e, memory + position, memory)
    x = norms[1](x)
    x = x + talk(x + e, x + e, x)
    x = norms[2](x)
    return x + ffn(x)


def _norm_after_the_step(x, e, memory, position, look, talk, ffn, norms):
    x = x + norms[0](look(x + e, memory + position, memory))
    x = x + norms[1](talk(x + e, x + e, x))
    return x + norms[2](ffn(x))


def _memory_normed(x, e, memory, position, look, talk, ffn, norms):
    return _layer()(x, e, norms[0](memory), position, look, talk, ffn, norms)


def _stale(x, e, memory, position, look, talk, ffn, norms):
    """All three steps start from the contents before the layer."""
    seen = look(norms[0](x) + e, memory + position, memory)
    heard = talk(norms[1](x) + e, norms[1](x) + e, norms[1](x))
    return x + seen + heard + ffn(norms[2](x))


def _old_contents(x, e, memory, position, look, talk, ffn, norms):
    """Self-attention hears the contents from before looking."""
    z = norms[1](x)
    x = x + look(norms[0](x) + e, memory + position, memory)
    x = x + talk(z + e, z + e, z)
    return x + ffn(norms[2](x))


def _normed_once(x, e, memory, position, look, talk, ffn, norms):
    """The talk uses the normalised contents that were made for looking."""
    z = norms[0](x)
    x = x + look(z + e, memory + position, memory)
    x = x + talk(z + e, z + e, z)
    return x + ffn(norms[2](x))


def _normed_twice(x, e, memory, position, look, talk, ffn, norms):
    """The feed-forward network uses the normalised contents that were made for talking."""
    x = x + look(norms[0](x) + e, memory + position, memory)
    z = norms[1](x)
    return x + talk(z + e, z + e, z) + ffn(z)


def _normed_before_all(x, e, memory, position, look, talk, ffn, norms):
    z = norms[0](x)
    x = x + look(z + e, memory + position, memory)
    x = x + talk(z + e, z + e, z)
    return x + ffn(z)


def _bare_values(x, e, memory, position, look, talk, ffn, norms):
    x = x + look(norms[0](x) + e, memory + position, memory)
    z = norms[1](x)
    x = x + talk(z + e, z + e, x)
    return x + ffn(norms[2](x))


def _position_in_ffn(x, e, memory, position, look, talk, ffn, norms):
    return _layer()(x, e, memory, position, look, talk, lambda z: ffn(z + e), norms)


def _one_norm(number):
    def answer(x, e, memory, position, look, talk, ffn, norms):
        return _layer()(x, e, memory, position, look, talk, ffn, [norms[number]] * 3)

    return answer


def _normed_at_the_end(number):
    def answer(x, e, memory, position, look, talk, ffn, norms):
        return norms[number](_layer()(x, e, memory, position, look, talk, ffn, norms))

    return answer


def _norms_permuted(x, e, memory, position, look, talk, ffn, norms):
    return _layer()(x, e, memory, position, look, talk, ffn, [norms[1], norms[0], norms[2]])


def _position_kept(x, e, memory, position, look, talk, ffn, norms):
    return _layer()(x + e, e * 0, memory, position, look, talk, ffn, norms)


_STALE = "these normalised contents are from before the last step: normalise x anew for each step"
_THRICE = "you use one norm three times: each step has its own, in the order of the steps"
_AT_THE_END = "the last sum stays as it is: here no norm comes after a step, not even at the end"

LAYER = [
    *(Wrong(f, _STALE) for f in (_normed_once, _normed_twice, _normed_before_all)),
    *(Wrong(_one_norm(number), _THRICE) for number in range(3)),
    *(Wrong(_normed_at_the_end(number), _AT_THE_END) for number in range(3)),
    Wrong(_bare_values, "in self-attention the values are normalised contents as well"),
    Wrong(_position_in_ffn, "the feed-forward network gets contents without their positions"),
    Wrong(_layer(bare=(0,)), "the contents that look are normalised too"),
    Wrong(_layer(bare=(1,)), "the contents that talk are normalised too"),
    Wrong(
        _post_norm,
        "that is the layer of the chapter, which normalises the sums: here a norm comes before its "
        "step, and the sum stays as it is",
    ),
    Wrong(_norm_of_the_sum, "normalise the contents first, then add the positions"),
    Wrong(
        _norm_for_good,
        "the norm is for the step alone: what is added to the result are the contents before it",
    ),
    Wrong(_norm_after_the_step, "normalise what goes into a step, not what it returns"),
    Wrong(_memory_normed, "the level is not normalised: only the contents are"),
    Wrong(_norms_permuted, "the first norm is for looking, the second for talking"),
    Wrong(_layer(bare=(2,)), "the feed-forward network gets normalised contents too"),
    Wrong(_layer(bare=(0, 1, 2)), "the norms are missing"),
    Wrong(_layer(first="talk"), "look first, then talk"),
    Wrong(_layer(first="ffn"), "the feed-forward network comes last"),
    Wrong(_stale, "each step works on the result of the one before it"),
    Wrong(_old_contents, "queries talk about what they have just seen: take the contents after it"),
    Wrong(
        _layer(look_at=lambda x, e, level: (x, *_seen(x, e, level)[1:])),
        "queries look without their positions: add them to what asks",
    ),
    Wrong(
        _layer(look_at=lambda x, e, level: (x + e, level[0], level[0])),
        "the keys do not know where they are: add the positions of the cells to them",
    ),
    Wrong(
        _layer(look_at=lambda x, e, level: (x + e, level[0] + level[1], level[0] + level[1])),
        "the values of the cells carry positions: these belong to the keys only",
    ),
    Wrong(
        _layer(talk_of=lambda x, e, level: (x, x, x)),
        "in self-attention queries need their positions as well, to ask and to answer",
    ),
    Wrong(
        _layer(talk_of=lambda x, e, level: (x + e, x, x)),
        "in self-attention the keys are queries too: they carry positions",
    ),
    Wrong(
        _layer(talk_of=lambda x, e, level: (x + e, x + e, x + e)),
        "what queries tell each other are contents: no positions in the values",
    ),
    Wrong(_position_kept, "positions are added where they are needed, and never kept in X"),
    Wrong(_layer(kept=(0, 1, 2)), "each step is added to the contents: yours replaces them"),
    Wrong(_layer(kept=(2,)), "the feed-forward network is added to the contents as well"),
]

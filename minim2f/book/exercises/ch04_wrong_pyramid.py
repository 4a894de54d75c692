"""What usually goes wrong in exercise 4.3, each mistake with its hint."""

from __future__ import annotations

from torch.nn import functional as F

from minim2f.book.exercises import Wrong


def _up(x, side):
    return F.interpolate(x, side.shape[2:], mode="nearest")


def _sides(features, lateral):
    return [layer(res) for layer, res in zip(lateral, features)]


def _pyramid(add=lambda side, x: side + _up(x, side), down=True, smooth=(0, 1, 2, 3)):
    """The exercise with another step down, and with outputs smoothed at some levels only."""

    def mistake(res2, res3, res4, res5, lateral, output):
        sides = _sides((res2, res3, res4, res5), lateral)
        sums = [sides[3]]
        for level in (2, 1, 0):
            sums.insert(0, add(sides[level], sums[0] if down else sides[level + 1]))
        return [output[k](x) if k in smooth else x for k, x in enumerate(sums)]

    return mistake


def _smoothed_down(res2, res3, res4, res5, lateral, output):
    sides = _sides((res2, res3, res4, res5), lateral)
    levels = [output[3](sides[3])]
    for level in (2, 1, 0):
        levels.insert(0, output[level](sides[level] + _up(levels[0], sides[level])))
    return levels


def _smoothed_twice(res2, res3, res4, res5, lateral, output):
    levels = _smoothed_down(res2, res3, res4, res5, lateral, output)
    return [layer(x) for layer, x in zip(output, levels)]


def _smoothed_sides(res2, res3, res4, res5, lateral, output):
    sides = _sides((res2, res3, res4, res5), lateral)
    sums = [output[3](sides[3])]
    for level in (2, 1, 0):
        sums.insert(0, output[level](sides[level]) + _up(sums[0], sides[level]))
    return sums


def _coarse_first(*inputs):
    return _pyramid()(*inputs)[::-1]


def _fine_only(*inputs):
    return _pyramid()(*inputs)[0]


def _output_reversed(res2, res3, res4, res5, lateral, output):
    return _pyramid()(res2, res3, res4, res5, lateral, output[::-1])


def _no_lateral_for_res5(res2, res3, res4, res5, lateral, output):
    sums = [res5]
    for layer, res in zip(lateral[2::-1], (res4, res3, res2)):
        side = layer(res)
        sums.insert(0, side + _up(sums[0], side))
    return [layer(x) for layer, x in zip(output, sums)]


def _doubled(side, x):
    return side + F.interpolate(x, scale_factor=2)


PYRAMID = [
    Wrong(
        _smoothed_down,
        "that is our pyramid, where smoothed maps go down: here the sum goes down as it is",
    ),
    Wrong(_smoothed_twice, "a map is smoothed once, on its way out, and goes down unsmoothed"),
    Wrong(_smoothed_sides, "smooth the sums, not the maps that are added"),
    Wrong(
        _pyramid(down=False),
        "res5 must reach P2: what goes down is the whole sum, not the lateral map alone",
    ),
    Wrong(
        _pyramid(add=lambda side, x: side),
        "nothing comes down: each level needs what the coarser ones know",
    ),
    Wrong(
        _pyramid(add=lambda side, x: _up(x, side)),
        "the lateral maps of the finer levels are missing from your sums",
    ),
    Wrong(_pyramid(add=_doubled), "sizes need not double: enlarge to the size of the finer map"),
    Wrong(
        _pyramid(add=lambda s, x: s + F.interpolate(x, s.shape[2:], mode="bilinear")),
        "bilinear is what the deformable decoder does: here each cell is simply repeated",
    ),
    Wrong(
        _pyramid(add=lambda s, x: s + F.interpolate(x, s.shape[2:], mode="nearest-exact")),
        "nearest-exact reads half a pixel further than nearest, which is wanted here: "
        "they differ where sizes do not double",
    ),
    Wrong(
        _no_lateral_for_res5,
        "res5 has a lateral layer too in this pyramid, and goes through it before anything else",
    ),
    Wrong(
        _pyramid(add=lambda side, x: (side + _up(x, side)) / 2),
        "a sum, not a mean: yours halves a level each time it goes down",
    ),
    Wrong(_pyramid(add=lambda side, x: side * _up(x, side)), "maps are added, not multiplied"),
    Wrong(_pyramid(smooth=()), "every sum is smoothed before it leaves: use the output layers"),
    Wrong(_pyramid(smooth=(0, 1, 2)), "P5 is smoothed as well, though nothing was added to it"),
    Wrong(_pyramid(smooth=(0,)), "every level is smoothed, not the finest alone"),
    Wrong(_coarse_first, "the finest map comes first: P2, P3, P4, P5"),
    Wrong(_fine_only, "all four maps are wanted, not P2 alone"),
    Wrong(
        lambda *inputs: _pyramid()(*inputs)[:3],
        "P5 is missing: four maps are wanted, P2, P3, P4 and P5",
    ),
    Wrong(
        lambda *inputs: _pyramid()(*inputs)[1:],
        "P2 is missing: four maps are wanted, P2, P3, P4 and P5",
    ),
    Wrong(_output_reversed, "the output layers come in the order of the maps, finest first"),
]

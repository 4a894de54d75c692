"""What usually goes wrong in exercises 3.1 and 3.2, each mistake with its hint."""

from __future__ import annotations

from torch.nn import functional as F

from minim2f.book.exercises import Wrong

# ---- 3.1 a frozen norm costs nothing


def _folded(scale=None, summand=None):
    """The exercise with another scale or another summand, functions of the norm's numbers."""
    scale = scale or (lambda var, weight, eps: weight / (var + eps).sqrt())
    summand = summand or (lambda mean, bias, scale: bias - mean * scale)

    def mistake(kernels, mean, var, weight, bias, eps):
        factor = scale(var, weight, eps)
        return kernels * factor[:, None, None, None], summand(mean, bias, factor)

    return mistake


def _over_inputs(kernels, mean, var, weight, bias, eps):
    scale = weight / (var + eps).sqrt()
    return kernels * scale[None, :, None, None], bias - mean * scale


def _no_axes(kernels, mean, var, weight, bias, eps):
    scale = weight / (var + eps).sqrt()
    return kernels * scale, bias - mean * scale


def _scale_and_summand(kernels, mean, var, weight, bias, eps):
    scale = weight / (var + eps).sqrt()
    return scale, bias - mean * scale


def _without_weight(kernels, mean, var, weight, bias, eps):
    deviation = (var + eps).sqrt()
    return kernels * (weight / deviation)[:, None, None, None], bias - mean / deviation


def _bias_first(kernels, mean, var, weight, bias, eps):
    return _folded()(kernels, mean, var, weight, bias, eps)[::-1]


def _kernels_alone(kernels, mean, var, weight, bias, eps):
    return kernels * (weight / (var + eps).sqrt())[:, None, None, None]


FOLD = [
    Wrong(
        _folded(scale=lambda var, weight, eps: weight / var.sqrt()),
        "eps is missing: a channel that never varied would be divided by zero",
    ),
    Wrong(
        _folded(scale=lambda var, weight, eps: weight / (var.sqrt() + eps)),
        "eps is added to the variance, so it stands under the root",
    ),
    Wrong(
        _folded(scale=lambda var, weight, eps: weight / (var + eps)),
        "you divide by the variance: its root, the standard deviation, is wanted",
    ),
    Wrong(
        _folded(scale=lambda var, weight, eps: weight * (var + eps).sqrt()),
        "the norm divides by the standard deviation, you multiply",
    ),
    Wrong(
        _folded(scale=lambda var, weight, eps: 1 / (var + eps).sqrt()),
        "the factor that the norm has learned, its weight, is missing",
    ),
    Wrong(
        _folded(summand=lambda mean, bias, scale: bias - mean),
        "the mean is taken off before the scaling, so it is scaled as well",
    ),
    Wrong(
        _folded(summand=lambda mean, bias, scale: bias + mean * scale),
        "the mean is taken off: mind the sign",
    ),
    Wrong(
        _folded(summand=lambda mean, bias, scale: (bias - mean) * scale),
        "the bias comes after the scaling: only the mean is scaled",
    ),
    Wrong(
        _folded(summand=lambda mean, bias, scale: bias),
        "the mean is missing: the norm takes it off",
    ),
    Wrong(
        _folded(summand=lambda mean, bias, scale: -mean * scale),
        "the bias of the norm is missing",
    ),
    Wrong(
        _over_inputs,
        "the norm scales what comes out of the convolution: that is the first axis of the kernels",
    ),
    Wrong(_no_axes, "the factor meets the last axis of the kernels so: it belongs to the first"),
    Wrong(
        _scale_and_summand,
        "those are factor and summand of the norm; now put the factor into the kernels",
    ),
    Wrong(
        _without_weight,
        "the norm multiplies x − mean by its weight: in your bias, the mean goes without it",
    ),
    Wrong(_bias_first, "the kernels come first, then the bias"),
    Wrong(_kernels_alone, "the bias of the new convolution is missing: two tensors are wanted"),
]


# ---- 3.2 the block of ResNet-50


def _block(strides=(1, 0, 1), relus=(1, 1, 0, 0, 1), padding=1, skip="right"):
    """The exercise with another layout.

    Args:
        strides: for convolution one, two and three: 0 where the stride of the block is.
        relus: after one, two, three, the shortcut and the sum.
        padding: of the 3 x 3 convolution.
        skip: what is added: "right", or one of the mistakes.
    """

    def mistake(x, one, two, three, shortcut, stride):
        steps = [fixed or stride for fixed in strides]
        paddings, y = (0, padding, 0), x
        for layer, step, pad, relu in zip((one, two, three), steps, paddings, relus):
            y = F.conv2d(y, layer, stride=step, padding=pad)
            y = y.relu() if relu else y
        if skip == "none":
            return y.relu()
        if skip == "always" or (skip != "never" and shortcut is not None):
            x = F.conv2d(x, shortcut, stride=1 if skip == "no stride" else stride)
        x = x.relu() if relus[3] else x
        return (y + x).relu() if relus[4] else y + x

    return mistake


BOTTLENECK = [
    Wrong(
        _block(strides=(0, 1, 1)),
        "the stride belongs to the 3 × 3 convolution: in the first, three of four cells go unread",
    ),
    Wrong(
        _block(strides=(1, 1, 1)),
        "no convolution of yours has the stride, so the two ways differ in size",
    ),
    Wrong(
        _block(relus=(1, 1, 1, 0, 1)),
        "no ReLU after the third convolution: a block must be able to take something away",
    ),
    Wrong(_block(relus=(1, 1, 1, 0, 0)), "the last ReLU comes after the sum, not before it"),
    Wrong(_block(relus=(1, 1, 0, 0, 0)), "the ReLU after the sum is missing"),
    Wrong(_block(relus=(0, 0, 0, 0, 1)), "a ReLU follows each of the first two convolutions"),
    Wrong(_block(relus=(0, 1, 0, 0, 1)), "the ReLU after the first convolution is missing"),
    Wrong(_block(relus=(1, 0, 0, 0, 1)), "the ReLU after the second convolution is missing"),
    Wrong(_block(relus=(1, 1, 0, 1, 1)), "what passes by gets no ReLU of its own before the sum"),
    Wrong(_block(padding=0), "the 3 × 3 convolution loses a rim of cells: it needs a padding of 1"),
    Wrong(_block(skip="none"), "nothing passes by: x is to be added before the last ReLU"),
    Wrong(_block(skip="never"), "where there is a shortcut, x passes it before it is added"),
    Wrong(_block(skip="always"), "where the shortcut is None, x is added as it is"),
    Wrong(_block(skip="no stride"), "the shortcut has the stride of the block too"),
]

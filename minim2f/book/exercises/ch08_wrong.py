"""What usually goes wrong in 8.1 and 8.2, product and heads: each mistake with its hint."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Wrong

Layer = tuple[Tensor, Tensor]

# ---- 8.1 all masks of a batch as one product


def _product(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return torch.einsum("bnc,bchw->bnhw", embeddings, pixel_features)


def _flat(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return embeddings @ pixel_features.flatten(2)


def _probabilities(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return _product(embeddings, pixel_features).sigmoid()


def _decided(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return _product(embeddings, pixel_features) > 0


def _mean_over_channels(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return _product(embeddings, pixel_features) / embeddings.shape[2]


def _scaled(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return _product(embeddings, pixel_features) / embeddings.shape[2] ** 0.5


def _cosine(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return _product(F.normalize(embeddings, dim=2), F.normalize(pixel_features, dim=1))


def _first_picture(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return torch.einsum("bnc,chw->bnhw", embeddings, pixel_features[0])


def _first_embeddings(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return torch.einsum("nc,bchw->bnhw", embeddings[0], pixel_features)


def _columns_first(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return _product(embeddings, pixel_features).transpose(2, 3)


def _height_for_width(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    height, width = pixel_features.shape[2:]
    return _flat(embeddings, pixel_features).unflatten(2, (width, height))


def _read_by_columns(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    flat = embeddings @ pixel_features.transpose(2, 3).flatten(2)
    return flat.unflatten(2, pixel_features.shape[2:])


def _pixels_before_queries(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return torch.einsum("bnc,bchw->bhwn", embeddings, pixel_features)


def _over_all_pictures(embeddings: Tensor, pixel_features: Tensor) -> Tensor:
    return torch.einsum("bnc,achw->bnhw", embeddings, pixel_features)


MASK_LOGITS = [
    Wrong(_flat, "the pixels are still in one row: give them back their height and width"),
    Wrong(_probabilities, "logits are wanted: leave the sigmoid to those who read them"),
    Wrong(_decided, "logits are wanted: how sure a query is gets lost in True and False"),
    Wrong(_mean_over_channels, "you divide by C: a dot product is a sum over the channels"),
    Wrong(_scaled, "the root of C belongs to attention scores: masks are the bare product"),
    Wrong(_cosine, "you make the vectors equally long: their lengths count in this product"),
    Wrong(_first_picture, "all your masks are drawn on the first picture's features"),
    Wrong(_first_embeddings, "all your pictures are read with the first picture's embeddings"),
    Wrong(_columns_first, "rows and columns are exchanged: (B, N, h, w), height first"),
    Wrong(_height_for_width, "height and width are exchanged where you unfold the row of pixels"),
    Wrong(_read_by_columns, "you flatten columns and unfold rows: the pixels change their places"),
    Wrong(_pixels_before_queries, "one map a query is wanted: (B, N, h, w), the query before it"),
    Wrong(_over_all_pictures, "you add up all pictures: each one meets its own features alone"),
]

# ---- 8.2 the heads of one layer, from their weights


def _linear(x: Tensor, layer: Layer) -> Tensor:
    return F.linear(x, *layer)


def _mlp(z: Tensor, layers: list[Layer]) -> Tensor:
    first, second, third = layers
    return _linear(_linear(_linear(z, first).relu(), second).relu(), third)


def _norm(x: Tensor, norm: Layer) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *norm)


def _both(z: Tensor, class_head: Layer, mask_head: list[Layer]) -> tuple[Tensor, Tensor]:
    return _linear(z, class_head), _mlp(z, mask_head)


def _no_norm(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    return _both(x, classes, masks)


def _no_scale_and_shift(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    return _both(F.layer_norm(x, x.shape[-1:]), classes, masks)


def _no_shift(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    return _both(F.layer_norm(x, x.shape[-1:], norm[0]), classes, masks)


def _no_eps(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, unbiased=False)
    return _both(z * norm[0] + norm[1], classes, masks)


def _eps_outside(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, unbiased=False) + 1e-5)
    return _both(z * norm[0] + norm[1], classes, masks)


def _tiny_eps(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    return _both(F.layer_norm(x, x.shape[-1:], *norm, eps=1e-12), classes, masks)


def _unbiased(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()
    return _both(z * norm[0] + norm[1], classes, masks)


def _unbiased_no_eps(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)
    return _both(z * norm[0] + norm[1], classes, masks)


def _unbiased_eps_outside(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
    return _both(z * norm[0] + norm[1], classes, masks)


def _no_root(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5)
    return _both(z * norm[0] + norm[1], classes, masks)


def _over_queries(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
    return _both(z * norm[0] + norm[1], classes, masks)


def _over_everything(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    return _both(F.layer_norm(x, x.shape) * norm[0] + norm[1], classes, masks)


def _classes_of_x(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    return _linear(x, classes), _mlp(_norm(x, norm), masks)


def _masks_of_x(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    return _linear(_norm(x, norm), classes), _mlp(x, masks)


def _no_relu(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = _norm(x, norm)
    embeddings = _linear(_linear(_linear(z, masks[0]), masks[1]), masks[2])
    return _linear(z, classes), embeddings


def _first_relu_only(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = _norm(x, norm)
    hidden = _linear(_linear(z, masks[0]).relu(), masks[1])
    return _linear(z, classes), _linear(hidden, masks[2])


def _second_relu_only(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = _norm(x, norm)
    hidden = _linear(_linear(z, masks[0]), masks[1]).relu()
    return _linear(z, classes), _linear(hidden, masks[2])


def _relu_at_the_end(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    class_logits, embeddings = _both(_norm(x, norm), classes, masks)
    return class_logits, embeddings.relu()


def _two_layers(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = _norm(x, norm)
    return _linear(z, classes), _linear(_linear(z, masks[0]).relu(), masks[1])


def _no_bias(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    without = [(weight, torch.zeros_like(bias)) for weight, bias in masks]
    return _both(_norm(x, norm), (classes[0], torch.zeros_like(classes[1])), without)


def _turned(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    return _both(_norm(x, norm), classes, [(weight.T, bias) for weight, bias in masks])


def _as_stored(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = _norm(x, norm)
    class_logits = z @ classes[0] + classes[1]  # mostly an error: K+1 is seldom C
    return class_logits, _mlp(z, [(weight.T, bias) for weight, bias in masks])


def _classes_as_stored(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    z = _norm(x, norm)
    return z @ classes[0] + classes[1], _mlp(z, masks)


def _probabilities_too(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    class_logits, embeddings = _both(_norm(x, norm), classes, masks)
    return class_logits.softmax(-1), embeddings


def _swapped(x: Tensor, norm: Layer, classes: Layer, masks: list) -> tuple:
    return _both(_norm(x, norm), classes, masks)[::-1]


HEADS = [
    Wrong(_no_norm, "both heads read the normalised queries, not X itself"),
    Wrong(_no_scale_and_shift, "the norm has weights too: scale and shift each channel"),
    Wrong(_no_shift, "the norm's second weight is missing: shift each channel"),
    Wrong(_no_eps, "a query of equal numbers gives 0/0: where does 1e-5 belong?"),
    Wrong(_eps_outside, "1e-5 is added to the variance, under the root"),
    Wrong(_tiny_eps, "your norm adds too little to the variance: 1e-5 is wanted"),
    Wrong(_unbiased, "you divide by C - 1 for the variance: a layer norm takes the plain mean"),
    Wrong(_unbiased_no_eps, "`std` divides by C - 1 unless told otherwise; and where is 1e-5?"),
    Wrong(_unbiased_eps_outside, "`std` divides by C - 1 unless told otherwise; 1e-5 goes inside"),
    Wrong(_no_root, "divide by the root of the variance, not by the variance"),
    Wrong(_over_queries, "a query is normalised over its own channels: which axis is that?"),
    Wrong(_over_everything, "each query has a mean and a variance of its own"),
    Wrong(_classes_of_x, "the class head reads the normalised queries too"),
    Wrong(_masks_of_x, "the mask head reads the normalised queries too"),
    Wrong(_no_relu, "without ReLUs three linear layers are as good as one: put them between"),
    Wrong(_first_relu_only, "one ReLU is missing: there is one after the second layer too"),
    Wrong(_second_relu_only, "one ReLU is missing: there is one after the first layer too"),
    Wrong(_relu_at_the_end, "an embedding has negative numbers too: no ReLU after the last layer"),
    Wrong(_two_layers, "the mask head has three layers: you stop after two"),
    Wrong(_no_bias, "each linear layer has a bias: add it"),
    Wrong(_turned, "a weight is (out, in): multiply with its transpose, as nn.Linear does"),
    Wrong(_as_stored, "a weight is (out, in): multiply with its transpose, as nn.Linear does"),
    Wrong(_classes_as_stored, "the class head's weight is (out, in) too: transpose it"),
    Wrong(_probabilities_too, "class logits are wanted: the softmax comes later"),
    Wrong(_swapped, "class logits come first, mask embeddings second"),
]

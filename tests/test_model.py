"""The model road, held against hand-computed numbers and torch's own modules."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import minim2f
from minim2f.model.backbone import ResNet
from minim2f.model.pixel_decoder import FPN
from minim2f.model.position import sine_position
from minim2f.model.transformer_decoder import Attention, TransformerDecoder, attention_mask

SMALL = minim2f.preset("tiny", num_classes=5, num_queries=7, num_layers=4)


def small_inputs(config=SMALL, batch=2, dtype=torch.float64):
    """F_pixel and the pyramid of 64 x 96 pictures, random."""
    c = config.channels
    pyramid = [torch.randn(batch, c, 64 // s, 96 // s, dtype=dtype) for s in (32, 16, 8)]
    return torch.randn(batch, c, 16, 24, dtype=dtype), pyramid


# ---- sine positions --------------------------------------------------------------------------


def test_sine_position_golden_numbers():
    p = sine_position(torch.zeros(1, 8, 2, 3))[0]
    first = [0, -1, 0.0314107, 0.9995065, 0.8660257, -0.5, 0.0209424, 0.9997807]
    last = [0, 1, 0.0627905, 0.9980267, 0, 1, 0.0627905, 0.9980267]
    torch.testing.assert_close(p[:, 0, 0], torch.tensor(first), atol=3e-6, rtol=0)
    torch.testing.assert_close(p[:, 1, 2], torch.tensor(last), atol=3e-6, rtol=0)


def test_rows_come_first_and_columns_second():
    p = sine_position(torch.zeros(1, 16, 4, 6))[0]
    assert (p[:8] == p[:8, :, :1]).all() and (p[8:] == p[8:, :1, :]).all()


def test_sine_position_is_transformers_position():
    m2f = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
    theirs = m2f.Mask2FormerSinePositionEmbedding(num_position_features=32, normalize=True)
    theirs = theirs((1, 64, 5, 7), torch.device("cpu"), torch.float32)
    torch.testing.assert_close(sine_position(torch.zeros(1, 64, 5, 7)), theirs.view(1, 64, 5, 7))


# ---- backbone --------------------------------------------------------------------------------


def test_backbone_is_torchvisions_with_the_same_weights():
    import torchvision

    torch.manual_seed(0)
    ours = ResNet("resnet50", frozen_norm=False).double().eval()
    theirs = torchvision.models.resnet50(weights=None).double().eval()
    names = {"stem.0": "conv1", "stem.1": "bn1"} | {f"res{n + 1}": f"layer{n}" for n in range(1, 5)}
    state = {}
    for key, value in ours.state_dict().items():
        ours_prefix = next(name for name in names if key.startswith(name))
        state[names[ours_prefix] + key[len(ours_prefix) :]] = value
    theirs.load_state_dict(state, strict=False)
    x = torch.randn(1, 3, 64, 64).double()
    y = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x)))))
    torch.testing.assert_close(ours(x)["res2"], y)
    y = theirs.layer4(theirs.layer3(theirs.layer2(y)))
    torch.testing.assert_close(ours(x)["res5"], y)


def test_frozen_norm_has_no_parameters_and_never_moves():
    backbone = ResNet("resnet50", frozen_norm=True).train()
    assert sum(p.numel() for p in backbone.parameters()) == 23_454_912  # spec 1.1
    before = backbone.stem[1].running_mean.clone()
    backbone(torch.randn(2, 3, 64, 64))
    assert torch.equal(backbone.stem[1].running_mean, before)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("resnet18",), "no backbone is called"),
        (("resnet10", True, "imagenet"), "no ImageNet weights"),
        (("resnet50", True, "coco"), "write 'imagenet'"),
    ],
)
def test_backbone_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(*arguments)


@pytest.mark.parametrize("frozen", [True, False])
def test_imagenet_weights_arrive_under_our_names(monkeypatch, frozen):
    import torchvision

    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None).eval()
    for norm in (m for m in theirs.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    fetched = "torchvision.models.ResNet50_Weights.IMAGENET1K_V1.get_state_dict"
    monkeypatch.setattr(fetched, lambda *_, **__: theirs.state_dict())
    ours, theirs = ResNet("resnet50", frozen, "imagenet").double().eval(), theirs.double()
    x = torch.randn(1, 3, 64, 64).double()
    y = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x)))))
    y = theirs.layer4(theirs.layer3(theirs.layer2(y)))
    torch.testing.assert_close(ours(x)["res5"], y)


def test_imagenet_weights_offline_is_one_sentence(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("torchvision.models.ResNet50_Weights.IMAGENET1K_V1.get_state_dict", offline)
    with pytest.raises(ConnectionError, match="weights=None"):
        ResNet("resnet50", weights="imagenet")


# ---- pixel decoder ---------------------------------------------------------------------------


def test_fpn_is_the_written_out_pyramid():
    torch.manual_seed(0)
    fpn = FPN([8, 16, 32, 64], 32).double()
    sizes = {"res2": (8, 16), "res3": (16, 8), "res4": (32, 4), "res5": (64, 2)}
    res = {n: torch.randn(2, c, s, s, dtype=torch.float64) for n, (c, s) in sizes.items()}

    def conv_norm(module, x, relu):
        weight, norm = module[0].weight, module[1]
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        x = F.group_norm(x, 32, norm.weight, norm.bias)
        return F.relu(x) if relu else x

    x = conv_norm(fpn.output["res5"], res["res5"], True)
    expected = [x]
    for name in ("res4", "res3", "res2"):
        big = x.repeat_interleave(2, 2).repeat_interleave(2, 3)  # nearest
        x = conv_norm(fpn.output[name], conv_norm(fpn.lateral[name], res[name], False) + big, True)
        expected.append(x)
    mask_features = F.conv2d(x, fpn.mask_features.weight, fpn.mask_features.bias, padding=1)
    pixel, pyramid = fpn(res)
    torch.testing.assert_close(pixel, mask_features)
    for ours, theirs in zip(pyramid, expected):
        torch.testing.assert_close(ours, theirs)


def test_parameter_counts_of_the_published_sizes():
    """Spec 1.1: backbone 23,454,912; FPN decoder 7,540,480; predictor 14,493,062."""
    model = minim2f.Mask2Former(minim2f.preset("r50", pixel_decoder="fpn"))
    counts = {n: sum(p.numel() for p in m.parameters()) for n, m in model.named_children()}
    assert counts == {"backbone": 23_454_912, "pixel_decoder": 7_540_480, "decoder": 14_493_062}
    assert sum(p.numel() for p in model.decoder.layers[0].parameters()) == 1_578_752


# ---- attention -------------------------------------------------------------------------------


def test_attention_is_torchs_multihead_attention():
    torch.manual_seed(0)
    ours, theirs = (
        Attention(32, 4).double(),
        nn.MultiheadAttention(32, 4, batch_first=True).double(),
    )
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.in_proj.weight,
            "in_proj_bias": ours.in_proj.bias,
            "out_proj.weight": ours.out_proj.weight,
            "out_proj.bias": ours.out_proj.bias,
        }
    )
    q, k, v = (torch.randn(2, s, 32, dtype=torch.float64) for s in (5, 9, 9))
    allowed = torch.rand(2, 5, 9) > 0.5
    allowed[..., 0] = True
    blocked = ~allowed.repeat_interleave(4, 0)  # torch wants True = blocked, once per head
    torch.testing.assert_close(
        ours(q, k, v, allowed), theirs(q, k, v, attn_mask=blocked, need_weights=False)[0]
    )
    torch.testing.assert_close(ours(q, k, v), theirs(q, k, v, need_weights=False)[0])


def test_attention_mask_is_the_official_one():
    """Official order: draw all masks at 1/4, resize the logits, sigmoid, block below 0.5."""
    torch.manual_seed(0)
    e, f = (
        torch.randn(2, 7, 64, dtype=torch.float64),
        torch.randn(2, 64, 16, 24, dtype=torch.float64),
    )
    for size in ((2, 3), (4, 6), (8, 12)):
        masks = torch.einsum("bnc,bchw->bnhw", e, f)
        resized = F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
        blocked = (resized.sigmoid() < 0.5).flatten(2)
        blocked[blocked.all(-1)] = False
        small = F.interpolate(f, size=size, mode="bilinear", align_corners=False).flatten(2)
        assert torch.equal(attention_mask(e, small), ~blocked)


def test_a_query_with_an_empty_mask_looks_everywhere():
    small = torch.ones(1, 2, 6)
    e = torch.tensor([[[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]])
    assert attention_mask(e, small).all()  # logits 2, -2 (rescued) and 0 (sigmoid 0.5 is inside)


def test_no_gradient_passes_through_the_attention_mask():
    """The only way from the first layer's input masks to the class logits would be the mask."""
    torch.manual_seed(0)
    decoder = TransformerDecoder(SMALL).double()
    pixel, pyramid = small_inputs()
    pixel.requires_grad_()
    classes = decoder(pixel, pyramid)[-1][0]
    assert torch.autograd.grad(classes.sum(), pixel, allow_unused=True)[0] is None


# ---- transformer decoder ---------------------------------------------------------------------


def test_the_decoder_is_the_written_out_loop():
    """Spec section 3 in the order of the official code, with torch's attention and no shortcuts."""
    torch.manual_seed(0)
    decoder = TransformerDecoder(SMALL).double().eval()
    pixel, pyramid = small_inputs()

    def attend(module, q, k, v, blocked=None):
        wq, wk, wv = module.in_proj.weight.chunk(3)
        bq, bk, bv = module.in_proj.bias.chunk(3)
        q, k, v = F.linear(q, wq, bq), F.linear(k, wk, bk), F.linear(v, wv, bv)
        heads = []
        for qh, kh, vh in zip(*(t.chunk(module.num_heads, -1) for t in (q, k, v))):
            score = qh @ kh.transpose(1, 2) / qh.shape[-1] ** 0.5
            if blocked is not None:
                score = score.masked_fill(blocked, float("-inf"))
            heads.append(score.softmax(-1) @ vh)
        return module.out_proj(torch.cat(heads, -1))

    def heads(x):
        z = decoder.norm(x)
        return decoder.class_head(z), torch.einsum("bnc,bchw->bnhw", decoder.mask_head(z), pixel)

    e = decoder.query_position.weight.expand(2, -1, -1)
    x = decoder.query_content.weight.expand(2, -1, -1)
    expected = [heads(x)]
    for number, layer in enumerate(decoder.layers):
        level = pyramid[number % 3]
        memory = (level + decoder.level_embed.weight[number % 3][:, None, None]).flatten(2).mT
        position = sine_position(level).flatten(2).mT
        logits = F.interpolate(
            expected[-1][1], level.shape[-2:], mode="bilinear", align_corners=False
        )
        blocked = (logits.sigmoid() < 0.5).flatten(2)
        blocked[blocked.all(-1)] = False
        x = layer.cross_norm(
            x + attend(layer.cross_attention, x + e, memory + position, memory, blocked)
        )
        x = layer.self_norm(x + attend(layer.self_attention, x + e, x + e, x))
        x = layer.ffn_norm(x + layer.ffn[3](F.relu(layer.ffn[0](x))))
        expected.append(heads(x))

    predictions = decoder(pixel, pyramid)
    assert len(predictions) == SMALL.num_layers + 1
    for (classes, embeddings), (their_classes, their_masks) in zip(predictions, expected):
        torch.testing.assert_close(classes, their_classes)
        torch.testing.assert_close(torch.einsum("bnc,bchw->bnhw", embeddings, pixel), their_masks)


def test_queries_permuted_give_predictions_permuted():
    torch.manual_seed(0)
    decoder = TransformerDecoder(SMALL).double().eval()
    pixel, pyramid = small_inputs()
    before = decoder(pixel, pyramid)[-1][0]
    order = torch.randperm(SMALL.num_queries)
    for embedding in (decoder.query_content, decoder.query_position):
        embedding.weight.data = embedding.weight.data[order]
    torch.testing.assert_close(decoder(pixel, pyramid)[-1][0], before[:, order])


def test_initial_values_are_the_official_ones():
    """Queries N(0, 1); Xavier-uniform on attention and feed-forward; no dropout anywhere."""
    torch.manual_seed(0)
    decoder = TransformerDecoder(minim2f.preset("r50"))
    assert abs(decoder.query_content.weight.std() - 1) < 0.02
    assert decoder.level_embed.weight.shape == (3, 256)
    packed = decoder.layers[0].cross_attention.in_proj.weight
    assert packed.abs().max() <= (6 / (256 + 768)) ** 0.5
    assert packed.abs().max() > 0.99 * (6 / (256 + 768)) ** 0.5
    assert not decoder.layers[0].cross_attention.in_proj.bias.any()
    assert all(m.p == 0 for m in decoder.modules() if isinstance(m, nn.Dropout))


# ---- the whole model -------------------------------------------------------------------------


def test_prediction_and_auxiliaries():
    model = minim2f.Mask2Former(SMALL).eval()
    out = model(torch.randn(2, 3, 64, 96))
    assert out.class_logits.shape == (2, 7, 6) and out.mask_logits.shape == (2, 7, 16, 24)
    assert len(out.auxiliary) == SMALL.num_layers
    assert all(a.mask_logits.shape == out.mask_logits.shape for a in out.auxiliary)
    first = out.auxiliary[0].class_logits
    assert torch.equal(first[0], first[1])  # raw queries have not seen a picture yet


def test_batched_is_single():
    torch.manual_seed(0)
    model = minim2f.Mask2Former(SMALL).double().eval()
    x = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    together = model(x)
    for i in range(3):
        alone = model(x[i : i + 1])
        torch.testing.assert_close(together.mask_logits[i], alone.mask_logits[0])
        torch.testing.assert_close(together.class_logits[i], alone.class_logits[0])


def test_same_seed_same_model():
    def make():
        torch.manual_seed(3)
        return minim2f.Mask2Former(SMALL).state_dict()

    a, b = make(), make()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_batch_normalises_then_pads_with_zeros():
    model = minim2f.Mask2Former(SMALL)
    grey = torch.full((3, 40, 33), 255, dtype=torch.uint8)
    batch = model.batch([grey, torch.zeros(3, 20, 70, dtype=torch.uint8)])
    assert batch.shape == (2, 3, 64, 96)
    assert batch[0, 0, 39, 32].item() == pytest.approx((255 - 123.675) / 58.395)
    assert not batch[0, :, 40:].any() and not batch[0, :, :, 33:].any()


def test_a_batch_of_two_sizes_is_two_batches_of_one_where_the_padding_is_equal():
    torch.manual_seed(0)
    model = minim2f.Mask2Former(SMALL).double().eval()
    sizes = ((64, 90), (40, 70), (20, 30))
    large, small, tiny = (torch.randint(0, 256, (3, *s), dtype=torch.uint8) for s in sizes)
    together = model(model.batch([large, small]))
    for i, image in enumerate((large, small)):  # both are padded to (64, 96), alone or not
        alone = model(model.batch([image]))
        torch.testing.assert_close(together.mask_logits[i], alone.mask_logits[0])
        torch.testing.assert_close(together.class_logits[i], alone.class_logits[0])
    padded = model(model.batch([large, tiny])).class_logits[1]
    alone = model(model.batch([tiny])).class_logits[0]  # here alone is (32, 32): another padding
    assert not torch.allclose(padded, alone)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 64, 64),  # no batch
        torch.zeros(1, 1, 64, 64),  # grey
        torch.zeros(1, 64, 64, 3),  # channels last
        torch.zeros(1, 3, 64, 65),
        torch.zeros(1, 3, 0, 64),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
        torch.zeros(1, 3, 64, 64, dtype=torch.float64),
    ],
    ids=["no batch", "grey", "channels last", "odd width", "no height", "uint8", "float64"],
)
def test_wrong_tensors_are_named(images):
    model = minim2f.Mask2Former(SMALL).eval()
    with pytest.raises(minim2f.shapes.ShapeError, match="images"):
        model(images)


def test_nan_in_a_picture_stays_in_its_picture():
    model = minim2f.Mask2Former(SMALL).eval()
    images = torch.randn(2, 3, 64, 64)
    images[1] = float("nan")
    out = model(images)
    assert out.mask_logits[0].isfinite().all() and out.mask_logits[1].isnan().all()


def test_mean_and_std_stay_out_of_checkpoints():
    assert not {"mean", "std"} & set(minim2f.Mask2Former(SMALL).state_dict())


@pytest.mark.parametrize(
    "switch",
    [
        {"masked_attention": False},
        {"self_attention_first": True},
        {"learned_content": False},
        {"scales": (32,)},
        {"scales": (16, 8)},
        {"dropout": 0.3},
    ],
)
def test_each_ablation_switch_changes_the_prediction_and_trains(switch):
    torch.manual_seed(0)
    plain = minim2f.Mask2Former(SMALL).train()
    torch.manual_seed(0)
    changed = minim2f.Mask2Former(dataclasses.replace(SMALL, **switch)).train()
    shared = changed.state_dict()
    changed.load_state_dict(
        {k: v for k, v in plain.state_dict().items() if k in shared and v.shape == shared[k].shape},
        strict=False,
    )
    x = torch.randn(2, 3, 64, 64)
    out = changed(x)
    assert not torch.allclose(out.class_logits, plain(x).class_logits)
    (out.mask_logits.sum() + out.class_logits.sum()).backward()
    missing = [n for n, p in changed.decoder.named_parameters() if p.grad is None]
    assert not missing


def test_zero_content_makes_all_first_predictions_alike():
    model = minim2f.Mask2Former(dataclasses.replace(SMALL, learned_content=False)).eval()
    first = model(torch.randn(1, 3, 64, 64)).auxiliary[0].class_logits[0]
    assert (first == first[0]).all()


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("r500", {}, "no preset is called"),
        ("tiny", {"queries": 3}, "no setting queries"),
        ("tiny", {"num_queries": 0}, "at least 1"),
        ("tiny", {"channels": 65}, "multiple of 32"),
        ("tiny", {"scales": (64,)}, "choose among 32, 16 and 8"),
        ("tiny", {"categories": [{"id": 1}]}, "1 categories were given"),
    ],
)
def test_config_mistakes_are_named(name, changes, message):
    with pytest.raises(ValueError, match=message):
        minim2f.preset(name, **changes)


# ---- what PyTorch does with a model ----------------------------------------------------------


def test_pytorch_takes_the_model_as_it_is(tmp_path):
    """`torch.save`, the tracer and `torch.export`; a prediction is a tree of tensors to all."""
    changes = {"pixel_decoder": "msdeform", "frozen_norm": True, "num_layers": 1}
    model = minim2f.Mask2Former(minim2f.preset("tiny", **changes)).eval()
    images, found = torch.randn(2, 3, 64, 64), {}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, which is old, at every `if`
        torch.save(model, tmp_path / "model.pt")
        found["saved"] = torch.load(tmp_path / "model.pt", weights_only=False)(images)
        found["exported"] = torch.export.export(model, (images,), strict=False).module()(images)
        found["traced"] = torch.jit.trace(model, images, strict=False)(images)
        expected = model(images)
    for prediction in found.values():
        assert len(prediction[3]) == 1
        for a, b in zip(prediction[:3], expected[:3]):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    leaves = torch.utils._pytree.tree_leaves(expected)
    assert len(leaves) == 3 * 2 and all(isinstance(leaf, torch.Tensor) for leaf in leaves)

"""The same numbers as Hugging Face's Mask2Former, with the same random weights, in float64."""

from __future__ import annotations

import pytest
import torch

import minim2f
from minim2f.inference import semantic_scores
from minim2f.checkpoints.names import from_huggingface
from minim2f.model.transformer_decoder import Level
from minim2f.training.losses import Criterion

m2f = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
transformers = pytest.importorskip("transformers")

NAMES = {"loss_ce": "loss_cross_entropy", "loss_mask": "loss_mask", "loss_dice": "loss_dice"}
BACKBONES = {
    "r50": lambda: transformers.ResNetConfig(
        layer_type="bottleneck", out_features=["stage1", "stage2", "stage3", "stage4"]
    ),
    "swin_t": lambda: transformers.SwinConfig(
        image_size=224, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7,
        drop_path_rate=0.3, out_features=["stage1", "stage2", "stage3", "stage4"],
    ),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def float64():
    """Their loss draws its points in the default type, so that is float64 here."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pair(name, seed=0):
    """Their model with weights stirred well away from the initial ones, and ours with the same."""
    torch.manual_seed(seed)
    config = transformers.Mask2FormerConfig(backbone_config=BACKBONES[name](), num_labels=133)
    theirs = transformers.Mask2FormerForUniversalSegmentation(config).double().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        for key, buffer in theirs.named_buffers():
            if "running_mean" in key:
                buffer.normal_(0, 0.1)
            if "running_var" in key:
                buffer.uniform_(0.8, 1.5)
    ours = minim2f.Mask2Former(minim2f.preset(name)).double().eval()
    ours.load_state_dict(from_huggingface(theirs.state_dict(), ours.config))
    return ours, theirs


@pytest.fixture(scope="module", params=["r50", "swin_t"])
def models(request):
    return pair(request.param)


def problem():
    """Two pictures of noise with three and five objects of noise."""
    masks = [(torch.rand(n, 64, 96) > 0.7) for n in (3, 5)]
    return torch.randn(2, 3, 64, 96), [torch.randint(0, 133, (n,)) for n in (3, 5)], masks


def outputs(theirs, images, **targets):
    return theirs(images, output_auxiliary_logits=True, output_hidden_states=True, **targets)


@pytest.mark.parametrize("size", [(64, 96), (160, 128)])
def test_all_ten_predictions_agree(models, size):
    ours, theirs = models
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        mine, hers = ours(images), outputs(theirs, images)
    theirs_all = [*hers.auxiliary_logits, hers]
    assert len(theirs_all) == len(mine.auxiliary) + 1 == 10
    for number, (a, b) in enumerate(zip([*mine.auxiliary, mine], theirs_all)):
        classes, masks = (b["class_queries_logits"], b["masks_queries_logits"])
        assert (a.class_logits - classes).abs().max() < 1e-9, number
        assert (a.mask_logits - masks).abs().max() < 1e-9, number


def test_backbone_and_pixel_decoder_agree(models):
    ours, theirs = models
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        pixel, pyramid = ours.pixel_decoder(ours.backbone(images))
        level = theirs.model.pixel_level_module(images, output_hidden_states=True)
        features = ours.backbone(images)
    for name, map_ in zip(("res2", "res3", "res4", "res5"), level.encoder_hidden_states):
        assert (features[name] - map_).abs().max() < 1e-9, name
    assert (pixel - level.decoder_last_hidden_state).abs().max() < 1e-9
    for mine, hers in zip(pyramid, level.decoder_hidden_states):
        assert (mine - hers).abs().max() < 1e-9


def test_all_thirty_loss_terms_agree(models):
    ours, theirs = models
    images, labels, masks = problem()
    targets = [minim2f.training.matching.Target(c, m) for c, m in zip(labels, masks)]
    with torch.no_grad():
        hers = outputs(theirs, images)
        torch.manual_seed(5)
        auxiliary = hers.auxiliary_logits
        expected = theirs.criterion(
            hers.masks_queries_logits, hers.class_queries_logits, [m.double() for m in masks],
            labels, auxiliary,
        )  # fmt: skip
        torch.manual_seed(5)
        found = Criterion(ours.config)(ours(images), targets)
    weights = {"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    assert len(found) == 30
    for name, value in found.items():
        base = next(n for n in weights if name.startswith(n))
        hers_name = name.replace(base, NAMES[base])
        assert abs(value / weights[base] - expected[hers_name]) < 1e-9, name


def test_every_gradient_agrees(models):
    """Of the loss, for all weights: so every fast path is also right on the way back."""
    ours, theirs = models
    images, labels, masks = problem()
    targets = [minim2f.training.matching.Target(c, m) for c, m in zip(labels, masks)]
    torch.manual_seed(5)
    sum(Criterion(ours.config)(ours(images), targets).values()).backward()
    torch.manual_seed(5)
    masks = [m.double() for m in masks]
    theirs(images, class_labels=labels, mask_labels=masks).loss.backward()
    named = {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in theirs.named_parameters()
    }
    hers = from_huggingface(theirs.state_dict() | named, ours.config)
    for name, parameter in ours.named_parameters():
        mine = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert (mine - hers[name]).abs().max() <= 1e-9 * hers[name].abs().max() + 1e-12, name
    ours.zero_grad()
    theirs.zero_grad()


def test_one_decoder_layer_agrees(models):
    """The third layer alone, on random queries, memory and mask."""
    ours, theirs = (
        models[0].decoder.layers[2],
        models[1].model.transformer_module.decoder.layers[2],
    )
    x, e = torch.randn(2, 100, 256), torch.randn(2, 100, 256)
    memory, position = torch.randn(2, 24, 256), torch.randn(1, 24, 256)
    allowed = torch.rand(2, 100, 24) > 0.5
    allowed[..., 0] = True
    level = Level(memory, memory + position, None, "24")
    with torch.no_grad():
        mine = ours(x, e, level, allowed, 3)
        hers = theirs(  # batch second; three levels are handed over, index 2 is used
            x.transpose(0, 1),
            level_index=2,
            position_embeddings=[None, None, position.transpose(0, 1)],
            query_position_embeddings=e.transpose(0, 1),
            encoder_hidden_states=[None, None, memory.transpose(0, 1)],
            encoder_attention_mask=~allowed.repeat_interleave(8, 0),
        )[0]
    assert (mine - hers.transpose(0, 1)).abs().max() < 1e-9


def test_semantic_maps_agree_where_their_fixed_size_does_no_harm():
    """They resize masks to 384 x 384 first, so masks of that size are left alone."""
    torch.manual_seed(0)
    classes, masks = torch.randn(1, 20, 8), torch.randn(1, 20, 384, 384)
    output = m2f.Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=classes, masks_queries_logits=masks
    )
    processor = transformers.Mask2FormerImageProcessor()
    hers = processor.post_process_semantic_segmentation(output, target_sizes=[(384, 384)])[0]
    assert torch.equal(semantic_scores(classes[0], masks[0]).argmax(0), hers)


def test_attention_over_levels_agrees():
    from minim2f.model.deformable import DeformableAttention

    torch.manual_seed(0)
    sizes = [(2, 3), (4, 6), (8, 12)]
    ours = DeformableAttention(64, 8)
    theirs = m2f.Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(64, 8, 3, 4)
    names = {
        "offsets": "sampling_offsets", "weights": "attention_weights",
        "values": "value_proj", "output": "output_proj",
    }  # fmt: skip
    for mine, hers in names.items():
        layer = getattr(theirs, hers)
        torch.nn.init.normal_(layer.weight, std=0.3)
        getattr(ours, mine).load_state_dict(layer.state_dict())
    length = sum(h * w for h, w in sizes)
    x, position = torch.randn(2, length, 64), torch.randn(2, length, 64)
    reference = torch.rand(length, 2)
    mine = ours(x + position, reference, x, sizes)
    hers = theirs(
        hidden_states=x,
        encoder_hidden_states=x,
        position_embeddings=position,
        reference_points=reference[None, :, None].expand(2, -1, 3, -1),
        spatial_shapes_list=sizes,
    )[0]
    assert (mine - hers).abs().max() < 1e-9

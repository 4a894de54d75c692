# %% [markdown]
# # C · Paper, official code, Hugging Face, ours
#
# Where the four say or do different things, in one table along the road of the data, each row with the test, chapter or file that shows it.
#
# *read 25 min · run 15 s CPU*
#
# **For** the question "why does this implementation give another number?" · **Library** [`minim2f/model/config.py`](../minim2f/model/config.py), [`minim2f/training/recipe.py`](../minim2f/training/recipe.py), [`minim2f/inference.py`](../minim2f/inference.py)

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

import minim2f
from minim2f import shapes
from minim2f.book import exercise, same, setup, show, where_we_are
from minim2f.book import library_table, shape_table, table

setup(seed=0)

# %% [markdown]
# ## How to read it
#
# | column | speaks of |
# | --- | --- |
# | paper | [arXiv 2112.01527](https://arxiv.org/abs/2112.01527), its tables and appendix included |
# | official code | [facebookresearch/Mask2Former](https://github.com/facebookresearch/Mask2Former) at its last commit, 9b0651c of May 2022, with detectron2 |
# | Hugging Face | [Transformers](https://huggingface.co/docs/transformers/model_doc/mask2former): the version that is installed, printed below |
# | minim2f | this library |
# | seen in | a **test**, which proves what the row says of minim2f or of Transformers; a **chapter**, by its number; a **file** of the official code, or of Transformers (marked HF); a **thread** of GitHub, M2F# or HF# and its number |
#
# Tests are named as sentences and linked with the file that holds them; with underscores for its spaces, `test_schedules` for "test schedules", each
# can be run alone, by `pytest -k`. A dash means "does not say" or, for code, "leaves it to you". "The same" means: as in the official code. A letter in brackets, (a) to (j), marks a
# place where the notes from which this project grew simplify; [the tensor walkthrough](W_the_tensor_walkthrough.ipynb) lists those. Where the official
# code has a default and its published configurations another value, the published one is given, and the default if it can mislead.
#
# The official column was read, and counted where it is a number of parameters; the official code does not run in our tests. Transformers does:
# with equal weights, its networks and losses compute the same numbers as those of minim2f ([`test_witness.py`](../tests/test_witness.py)). What
# differs lies before the network, behind it, and around the training.

# %% [markdown]
# Settings and counts of minim2f and of Transformers are read from the code when this page runs. Where Transformers is not
# installed, the values of version 5.24, the last one that was read for this page, stand in.

# %%
from minim2f.model.config import PRESETS
from minim2f.training.recipe import TINY, TrainConfig


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


with torch.device("meta"):  # models without memory: only their shapes exist
    ours = {name: parameters(minim2f.Mask2Former(PRESETS[name])) for name in ("r50", "swin_t")}
official = {"r50": 43_983_878, "swin_t": 47_435_264}  # counted in the official modules, 133 classes
print("parameters:", ours)
assert ours == official

# %%
READ = "5.24"
theirs = dict(r50=44_036_998, swin_t=47_436_800, decoder_layers=10, encoder_layers=6)
theirs |= dict(num_attention_heads=8, encoder_feedforward_dim=1024, num_queries=100)
theirs |= dict(class_weight=2.0, mask_weight=5.0, dice_weight=5.0, no_object_weight=0.1)
theirs |= dict(train_num_points=12544, oversample_ratio=3.0, importance_sample_ratio=0.75)
theirs |= dict(dropout=0.0, pre_norm=False, drop_path=0.3, depths=[2, 2, 18, 2])
theirs |= dict(threshold=0.5, shortest=800, longest=1333, mean=[0.485, 0.456, 0.406])

# %% tags=["hide-input"]
import inspect
import warnings


def read_from(transformers):
    """The same values, from the classes that are installed."""
    config = transformers.Mask2FormerConfig()
    processor = transformers.Mask2FormerImageProcessor()
    panoptic = inspect.signature(processor.post_process_panoptic_segmentation).parameters
    maps = ["stage1", "stage2", "stage3", "stage4"]
    backbones = {
        "r50": transformers.ResNetConfig(layer_type="bottleneck", out_features=maps),
        "swin_t": transformers.SwinConfig(depths=[2, 2, 6, 2], out_features=maps),
    }
    counts = {}
    with torch.device("meta"):
        for name, backbone in backbones.items():
            whole = transformers.Mask2FormerConfig(backbone_config=backbone, num_labels=133)
            counts[name] = parameters(transformers.Mask2FormerForUniversalSegmentation(whole))
    return {name: getattr(config, name) for name in theirs if hasattr(config, name)} | counts | {
        "drop_path": config.backbone_config.drop_path_rate,
        "depths": list(config.backbone_config.depths),
        "threshold": panoptic["threshold"].default,
        "shortest": processor.size["shortest_edge"],
        "longest": processor.size["longest_edge"],
        "mean": [round(number, 3) for number in processor.image_mean],
    }


try:
    with warnings.catch_warnings():  # of progress bars that a notebook could show
        warnings.simplefilter("ignore")
        import transformers

    transformers.logging.set_verbosity_error()
    transformers.Mask2FormerForUniversalSegmentation  # the classes themselves are loaded here
except (ImportError, RuntimeError):
    print(f"Transformers is not installed: values of version {READ}")
else:
    print("Transformers", ".".join(transformers.__version__.split(".")[:2]))
    found = read_from(transformers)
    changed = {name: found[name] for name in theirs if found[name] != theirs[name]}
    print(f"{len(found)} values read; other than in {READ}: {changed or 'none'}")
    theirs |= found

# %% tags=["hide-input"]
import os
import re
from pathlib import Path

ROOT = Path(minim2f.__file__).parent.parent
HOME = "https://github.com/facebookresearch/Mask2Former/blob/main"
MODELING = "mask2former/modeling"
OFFICIAL = {
    "MODEL_ZOO.md": "MODEL_ZOO.md",
    "config.py": "mask2former/config.py",
    "maskformer_model.py": "mask2former/maskformer_model.py",
    "test_time_augmentation.py": "mask2former/test_time_augmentation.py",
    "train_net.py": "train_net.py",
    "augmentations.py": "mask2former/data/augmentations.py",
    "criterion.py": f"{MODELING}/criterion.py",
    "matcher.py": f"{MODELING}/matcher.py",
    "swin.py": f"{MODELING}/backbone/swin.py",
    "fpn.py": f"{MODELING}/pixel_decoder/fpn.py",
    "msdeformattn.py": f"{MODELING}/pixel_decoder/msdeformattn.py",
    "decoder.py": f"{MODELING}/transformer_decoder/mask2former_transformer_decoder.py",
}
HUB = "https://github.com/huggingface/transformers"
HF = {
    "HF-model": ("modeling", f"{HUB}/blob/main/src/transformers/models/mask2former/modeling_mask2former.py"),
    "HF-images": ("image processing", f"{HUB}/blob/main/src/transformers/models/mask2former/image_processing_mask2former.py"),
}
D2 = "https://github.com/facebookresearch/detectron2/blob/main/detectron2/evaluation/sem_seg_evaluation.py"
TESTS = {
    name: path
    for path in sorted((ROOT / "tests").glob("test_*.py"))
    for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
}


def link(word):
    """One word of the column "seen in", as a link to what it names."""
    if word.startswith("test_") and word not in OFFICIAL:
        if not TESTS:  # a book without its tests
            return word.replace("_", " ")
        return f"[{word.replace('_', ' ')}]({Path(os.path.relpath(TESTS[word])).as_posix()})"
    if word in OFFICIAL:
        return f"[{word}]({HOME}/{OFFICIAL[word]})"
    if word in HF:
        return f"[HF {HF[word][0]}]({HF[word][1]})"
    if word == "detectron2":
        return f"[detectron2]({D2})"
    if thread := re.fullmatch(r"(M2F|HF)#(\d+)", word):
        site = HUB if thread[1] == "HF" else "https://github.com/facebookresearch/Mask2Former"
        return f"[{word}]({site}/issues/{thread[2]})"
    assert re.fullmatch(r"\d+|[A-Z]", word), word
    file = next(Path().glob(f"{word:0>2}_*.ipynb" if word.isdigit() else f"{word}_*.ipynb"), None)
    return f"[{word}]({file})" if file else word


def rows(text):
    """A table of blocks of six lines: what, the four, where it is seen."""
    lines = []
    for block in text.strip().split("\n\n"):
        *said, seen = block.split("\n")
        assert len(said) == 5, block
        lines.append([*said, " · ".join(link(word) for word in seen.split())])
    table(["what", "paper", "official code", "Hugging Face", "minim2f", "seen in"], lines)


# %% [markdown]
# ## Data: from a picture to the network

# %% tags=["hide-input"]
rows(f"""
mean and spread of a colour
–
123.675, 116.28, 103.53 and 58.395, 57.12, 57.375, of 0 … 255
{', '.join(map(str, theirs['mean']))} of 0 … 1, after a division by 255: times 255 that is {', '.join(f'{255 * x:g}' for x in theirs['mean'])}; the spread likewise
the same
test_batch_normalises_then_pads_with_zeros

size at inference (COCO)
shortest side 800, longest at most 1,333
the same
the class's default: {theirs['shortest']} and {theirs['longest']}; the files of the hub say 384 × 384, whatever the shape
short_side {PRESETS['r50'].short_side}, long_side {PRESETS['r50'].long_side}; {PRESETS['tiny'].short_side} and {PRESETS['tiny'].long_side} in tiny
test_pictures_get_the_published_size 12

to a multiple of 32
–
zeros on the right and below, after normalising
the picture is stretched to it; zeros only up to the largest picture of the batch
zeros, the same
test_theirs_stretches_to_multiples_of_32 test_batch_normalises_then_pads_with_zeros

does the network know the padding?
–
no: its masks of padding are all empty
no: `pixel_mask` is taken and not used
no
test_their_pixel_mask_changes_nothing test_a_batch_of_two_sizes_is_two_batches_of_one_where_the_padding_is_equal HF-model

outside of a training crop
–
grey 128, before normalising; the truth is void
–
the same
test_random_crop_takes_sixteen_scales test_what_the_window_leaves_out

large scale jitter
scales 0.1 to 2, a crop of 1,024
the same; one random number places the crop along both axes
–
the same
test_large_scale_jitter_draws_one_share_for_both_axes

resizing the truth
–
nearest, on the PNG's colours
nearest ("exact"), on the ids
nearest, on ids and masks, by whole numbers
2 test_the_truth_lies_where_the_image_shows_it

a target without a pixel, after crop or resizing
–
kept in panoptic training, dropped for instances
cannot arise: masks are cut from what the resized map shows
dropped
test_what_the_window_leaves_out 2 M2F#215

crowds
–
no targets
whatever the map that you hand over holds
no targets; known to the metrics
test_labels_and_masks_leave_out_crowds_and_void 2

void in the truth
–
outside of every mask, and so negative for every query
a target of its own, unless `ignore_index` names its number
outside of every mask
test_their_void_is_a_target_unless_named 2 10

targets of semantic data
MaskFormer: one for each class that is there
the numbers that occur in the label map, but the ignored one
the numbers that occur in the map
the same
test_label_maps_become_classes_and_void 1

an id in the PNG that is not listed
–
not noticed in training
an error, if ids are mapped to classes
an error that names file and id
test_a_drawn_id_without_segment_is_refused 2

order of the classes
–
COCO panoptic: things, then stuff
that of the file's `id2label`
by category id: for COCO the same
test_categories_are_sorted_by_id 2
""")

# %% [markdown]
# ## Backbone
#
# Transformers counts the weights and biases of a ResNet's norms as parameters, since its norms learn; that is the whole difference of the first row.
# In the second it is one layer norm of Swin whose result nobody reads.

# %% tags=["hide-input"]
rows(f"""
parameters, ResNet-50, 133 classes
44 M
{official['r50']:,}
{theirs['r50']:,}
{ours['r50']:,}
test_the_presets_have_the_published_parameter_counts test_their_norms_learn_and_ours_do_not

parameters, Swin-T, 133 classes
47 M
{official['swin_t']:,}
{theirs['swin_t']:,}
{ours['swin_t']:,}
test_the_presets_have_the_published_parameter_counts

backbones
ResNet-50, -101; Swin-T, S, B, L
the same
Swin (by default with depths {', '.join(map(str, theirs['depths']))}, which is Swin-S); others work, with a warning
the same, and two small ResNets
3 test_hugging_face_names_and_shapes

maps that are used (a)
1/32, 1/16, 1/8 for the queries
four: res2 skips the attention and joins for F_pixel
the same
the same
test_backbone_and_pixel_decoder_agree 3 W

batch norms of a ResNet
–
frozen for COCO; trained across GPUs for Cityscapes
plain: weights learn, and statistics move in train mode
frozen; trained in tiny (`frozen_norm=False`)
test_frozen_norm_has_no_parameters_and_never_moves test_their_norms_learn_and_ours_do_not 3

stride of a bottleneck
–
in the 3 × 3 convolution, switchable
in the 3 × 3, switchable
in the 3 × 3
test_backbone_is_torchvisions_with_the_same_weights 3

norm on Swin's four maps
–
a layer norm each
the same
the same
test_backbone_and_pixel_decoder_agree 3 swin.py

blocks that Swin skips in training (c)
–
up to 0.3 of the time, the deeper the oftener
{theirs['drop_path']}
`drop_path` {PRESETS['swin_t'].drop_path}
3 swin.py

shift where one window holds the whole map
–
yes; torchvision: no
yes
yes
3 test_backbone_and_pixel_decoder_agree
""")

# %% [markdown]
# ## Pixel decoder

# %% tags=["hide-input"]
rows(f"""
which one (b)
deformable attention; five in Table 4e
deformable attention; a pyramid; a pyramid behind a plain transformer encoder
deformable attention
deformable attention, or the pyramid
test_fpn_is_the_written_out_pyramid test_backbone_and_pixel_decoder_agree 4 5

layers, heads, places a level
6; as in Deformable DETR
6, 8, 4; two settings for heads and places are never read
{theirs['encoder_layers']}, {theirs['num_attention_heads']} (the decoder's too), 4 written into the code
6, 8, 4, written into the code
test_arithmetic_of_the_published_sizes 5 msdeformattn.py

width of its feed-forward network
–
1,024, written into the code
{theirs['encoder_feedforward_dim']:,}
1,024, written into the code
test_arithmetic_of_the_published_sizes

dropout in it (c)
–
0.1 by default, 0.0 in every published configuration
{theirs['dropout']}, shared with the decoder
none
test_backbone_and_pixel_decoder_agree config.py

coarsest level of the pyramid
–
no lateral layer: a 3 × 3 convolution at once; smoothed maps go down
–
the same
test_fpn_is_the_written_out_pyramid 4 fpn.py

the last enlarging, to 1/4
–
bilinear, under a comment that says nearest; nearest in the pyramid
bilinear, with the comment
bilinear; nearest in the pyramid
test_backbone_and_pixel_decoder_agree test_fpn_is_the_written_out_pyramid 4

making F_pixel
at 1/4
a 1 × 1 convolution; 3 × 3 in the pyramid
1 × 1
the same
4 fpn.py msdeformattn.py

level embedding (f)
learned, beside the position
added to the side that asks, never to the values
the same
the same
test_level_embedding_reaches_queries_and_not_values

precision
–
float32, whatever the rest has
that of its input
float32 under autocast
test_under_autocast_the_islands_stay_float32

the operation
–
a CUDA extension; on a CPU `grid_sample`, but only where a stub of the extension can be imported
`grid_sample`
sums of rows with a backward pass of its own
test_the_sum_is_the_sum_of_transformers 5 E
""")

# %% [markdown]
# ## Transformer decoder

# %% tags=["hide-input"]
rows(f"""
layers and predictions (j)
3L = 9 layers
`DEC_LAYERS = 10`: 9 layers and 10 predictions
`decoder_layers = {theirs['decoder_layers']}`: {theirs['decoder_layers'] - 1} layers
`num_layers = {PRESETS['r50'].num_layers}`; {PRESETS['tiny'].num_layers} in tiny
test_all_ten_predictions_agree 8

order of a layer
masked attention, self-attention, feed-forward
the same
the same
the same; `self_attention_first`
test_the_decoder_is_the_written_out_loop 6

the formula of attention
$M + QK^T$, softmax, times V, plus X
scaled by √d, 8 heads, an output map, a norm behind the sum; a switch for the norm before
the same; `pre_norm` is {theirs['pre_norm']}
the same, without the switch
test_attention_is_torchs_multihead_attention 7

queries
100; 200 with Swin-L
the same
{theirs['num_queries']}; 200 in the files of Swin-L
{PRESETS['r50'].num_queries}; {PRESETS['swin_l'].num_queries} with Swin-L; {PRESETS['tiny'].num_queries} in tiny
1 test_official_names_and_shapes_of_every_preset

contents and positions of queries
both learned
the same
the same
the same; `learned_content=False`
test_zero_content_makes_all_first_predictions_alike 6

where positions enter (f, g)
added to the features
sines: keys only; level embedding: keys and values; that of queries: wherever queries ask, and to keys of self-attention
the same
the same
test_one_decoder_layer_agrees test_the_decoder_is_the_written_out_loop 6

the sines themselves
sinusoidal
places from 1, as a share of the side, rows first, sine and cosine in turn
the same
the same
test_sine_position_golden_numbers test_sine_position_is_transformers_position

attention mask (d)
the mask of the layer before, resized, cut at 0.5
its logits are drawn at 1/4, resized to the next level, and cut at 0
the same
F_pixel is resized once a level, then multiplied: the same masks
test_attention_mask_is_the_official_one 7 W

gradient through the mask
–
none
none
none
test_no_gradient_passes_through_the_attention_mask

what True means in it
0 where a query may look, −∞ elsewhere
blocked
blocked
may look
test_one_decoder_layer_agrees 7

what blocking saves
226 G operations with masks, 213 G without
nothing: blocked scores are computed, too, and masks are drawn on top
the same
nothing; the masks that it needs are drawn small
7 E

a query whose mask is empty there (e)
not mentioned
may look everywhere
the same
the same
test_a_query_with_an_empty_mask_looks_everywhere M2F#125

mask of a query (h)
queries times pixel features
a norm shared by all predictions, three linear layers, then the product
the same
the same
test_the_decoder_is_the_written_out_loop 8 W

dropout (c)
removed
0.0, written into the code
`dropout` {theirs['dropout']}, which would skip whole layers, too
`dropout` {PRESETS['r50'].dropout}, for the ablation
test_their_dropout_would_skip_layers test_initial_values_are_the_official_ones

weights before training
–
Xavier; embeddings with a spread of 1
the same since mid-2025; before, embeddings with 0.02
the same
test_initial_values_are_the_official_ones test_initial_offsets_look_in_eight_directions HF#35877
""")

# %% [markdown]
# ## Matching and losses

# %% tags=["hide-input"]
rows(f"""
weights of the cost: class, BCE, dice
2, 5, 5
2, 5, 5; by default 1, 20, 1, as in MaskFormer
{theirs['class_weight']:g}, {theirs['mask_weight']:g}, {theirs['dice_weight']:g}; until June 2025 the class counted 1
{PRESETS['r50'].class_weight:g}, {PRESETS['r50'].mask_weight:g}, {PRESETS['r50'].dice_weight:g}
test_matching_cost_is_the_double_loop 9 config.py HF#38559

points of the matching
12,544, the same for all pairs
the same; draws the masks, then reads them at the points
{theirs['train_num_points']:,}; the same
{PRESETS['r50'].num_points:,}; reads features there, then multiplies; None takes all pixels
test_matching_on_points_of_the_product_is_sampling_the_drawn_masks 9 E

precision of the cost
–
float32
that of the logits
at least float32
9 matcher.py HF-model

NaN in the cost
–
SciPy stops, and does not say where
counts as the largest number (from October 2024 to 2026: as 0)
an error that names query and segment
test_a_cost_that_is_not_finite_is_named test_their_matcher_goes_on_with_nan 9 HF#34074 HF#47730

weight of "no object" (i)
0.1, where a matched query has 2
0.1 inside of a weighted mean, times 2
{theirs['no_object_weight']} in the mean, times {theirs['class_weight']:g}
the same
test_golden_class_loss 10

points of the losses
12,544, importance sampling
3 P are drawn, the 0.75 P least sure kept, 0.25 P drawn anew
{theirs['oversample_ratio']:g} P, {theirs['importance_sample_ratio']} P, the rest anew
the same
test_all_thirty_loss_terms_agree test_uncertain_points_lie_where_the_logit_is_small 10

what mask losses are divided by
–
segments of all GPUs / number of GPUs, at least 1
the same on one GPU; on several by `accelerate`, not tried here
the same, also for parts in time
test_num_masks_divides_the_mask_losses_only test_two_processes_have_the_gradient_of_the_double_batch_and_its_scores 10

what the class loss is divided by
–
the weights of one GPU's own queries
the same
the weights of all parts / number of parts
test_the_mean_of_the_parts_losses_is_the_loss_of_the_whole 10

padding and void
–
outside of every mask
padding between pictures of two sizes is `ignore_index`, where one is given: 255 in a mask of 0 and 1
outside of every mask
test_collate_pads_masks_with_the_images test_their_padded_masks_hold_the_ignored_number 10

losses of the other predictions
on all
summed, weights alike
summed, even with `use_auxiliary_loss=False`, which runs only if hidden states are asked for
summed; `deep_supervision=False` keeps the last
test_all_thirty_loss_terms_agree test_deep_supervision_off_leaves_three_terms test_their_auxiliary_losses_stay 8
""")

# %% [markdown]
# ## Training
#
# Transformers brings no recipe for Mask2Former: optimiser, schedule, augmentation and metrics are yours.

# %% tags=["hide-input"]
recipe = TrainConfig()
rows(f"""
optimiser
AdamW, rate 0.0001, decay 0.05, backbone at a tenth
the same
–
AdamW, {recipe.learning_rate:g}, {recipe.weight_decay}, backbone × {recipe.backbone_multiplier}; tiny: {TINY.learning_rate:g} and × {TINY.backbone_multiplier:g}
test_the_recipe_is_the_published_one test_optimizer_groups_are_the_official_ones

without weight decay
–
norms, embeddings, Swin's tables of relative positions; biases decay
–
the same
test_optimizer_groups_are_the_official_ones train_net.py

level embeddings
–
the decoder's is an embedding and does not decay, the pixel decoder's is a bare tensor and does
–
the same
test_one_of_two_level_embeddings_decays

rate falls to a tenth (COCO)
at 0.9 and 0.95 of the run
at 0.889 and 0.963
–
the same as in the official code
test_schedules test_the_recipe_is_the_published_one

longest gradient
–
0.01, over the whole model
–
{recipe.clip_norm}; {TINY.clip_norm:g} in tiny
test_the_recipe_is_the_published_one 11

precision
–
float16 where autocast deems it safe
–
{recipe.precision}; bfloat16 or float16 if asked
test_half_precision_gives_nearly_the_same_gradient 11

batch
16
16, over 8 GPUs
–
{recipe.batch_size}, over GPUs or parts in time; {TINY.batch_size} in tiny
test_accumulation_gives_the_gradient_of_the_whole_batch 11

a loss that is not finite
–
detectron2 stops
–
stops, and names the first tensor
test_a_loss_that_is_not_finite_stops_training_and_is_named 11
""")

# %% [markdown]
# ## Inference
#
# Here the implementations differ most: the same weights give other maps, and other scores.

# %% tags=["hide-input"]
rows(f"""
size of the masks
–
logits to the padded input, without its padding to the picture
logits to 384 × 384, padding and all; the result to the picture
the same as the official code
test_strips_are_two_bilinear_resizings test_their_masks_are_made_at_384 12 HF#44901

semantic scores
sum over queries of class times mask
added up on masks as large as the picture; in a semantic-only model at the padded input, the sums then resized
added up at 384 × 384, the sums then resized
added up on masks as large as the picture, always
test_semantic_maps_agree_where_their_fixed_size_does_no_harm test_resizing_sums_is_not_summing_resized_masks 0

"no object" among the semantic scores
–
left out, the rest not rescaled
the same
the same
test_semantic_sums_class_times_mask_without_no_object 12

instances: what is kept
–
the 100 best pairs of query and class; no threshold
as many pairs as queries, then a score of 0.5 or more
100 (`top_k`), no threshold unless given
test_instances_may_repeat_a_query_and_score_class_times_mask test_score_threshold_and_top_k 12

instances: where stuff is known
–
pairs of things, after the 100 were chosen
things and stuff alike
the same
test_instances_keep_things_after_the_top_k_were_chosen

instances: edge of a mask
–
logit > 0, at the picture's size
logit > 0, at 384 × 384, then nearest
the same as the official code
test_strips_give_what_the_whole_gives test_their_masks_are_made_at_384

instances that overlap
may
may
later ones overwrite in the map; may with `return_binary_maps`
may; `ids` shows the best
test_their_map_lets_later_instances_overwrite 12

instances: mask and overlap thresholds
–
none
arguments without effect
none
test_their_mask_threshold_of_instances_does_nothing HF#44900

instances: boxes
–
zeros
none
from the masks
test_results_describe_their_own_maps

panoptic: surer than
–
0.8
{theirs['threshold']}
{inspect.signature(minim2f.inference.panoptic).parameters['score_threshold'].default}
test_panoptic_on_a_hand_made_picture 12

panoptic: what counts as a mask
–
probability of at least ½
class score × probability of at least ½
the same as the official code
test_theirs_weighs_masks_before_it_measures_them 12

panoptic: pixels won outside of the own mask
–
void
kept
void
test_won_pixels_below_one_half_stay_void test_theirs_keeps_pixels_outside_of_the_mask

panoptic: pieces of one stuff class
–
one segment
one number for the classes in `label_ids_to_fuse`, none by default; listed once a piece, and the next segment may get a number that is taken
one segment, with the best score
test_panoptic_on_a_hand_made_picture test_theirs_may_give_one_number_to_two_segments 12

panoptic: nothing found
–
a map of 0
a map of −1
a map of 0
test_nothing_found_is_all_void test_their_empty_map_is_minus_one

several sizes, mirrored
Table V, "m.s."
for semantic segmentation
–
–
test_time_augmentation.py
""")

# %% [markdown]
# ## Metrics and files

# %% tags=["hide-input"]
rows("""
PQ
–
panopticapi
–
our own, equal to a slow loop
test_pq_equals_brute_force_on_random_maps test_worked_example 13

AP
–
pycocotools; −1 where a class does not occur
–
pycocotools; 0 there
test_coco_mini_scores_as_pycocotools_scores_it test_nothing_to_score_is_zero 13

mean IoU is over
–
classes that the truth has
–
classes that truth or prediction has
test_an_invented_class_lowers_miou 13 detectron2

published files
–
detectron2's pickles
safetensors
reads both, and runs no code from a pickle
test_every_format_gives_the_same_model test_a_pickle_that_calls_anything_is_refused_by_name 15

names of the weights
–
queries, keys and values stacked
stacked in cross-attention, apart in self-attention
stacked; both are translated there and back
test_queries_keys_and_values_are_stacked_in_this_order test_there_and_back_every_number_is_exact 15

older names of weights
–
"static_query", and a pixel decoder without its prefix, are renamed on loading
the hub's files have other names for Swin than version 5, which renames them on loading
all are read
test_old_official_names_are_read test_hugging_face_names_and_shapes

licence
–
code MIT; weights CC BY-NC 4.0
code Apache 2.0; the weights are the official ones
code and tiny MIT; weights that you load keep theirs
MODEL_ZOO.md

R50 and R101 of the paper
all tasks
files
no files, but the model can be made
reads the official ones
test_official_names_and_shapes_of_every_preset 15
""")

# %% [markdown]
# ## What is not in the table
#
# Differences of rounding: the same sums in another order, which
# [appendix E](E_how_fast_and_why.ipynb) lists as levers of speed. Other implementations, of which mmdetection's is the best known. And
# what nobody has compared yet: the published weights themselves were not at hand when this page was written, so no row speaks of a score.

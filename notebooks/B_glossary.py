# %% [markdown]
# # B · Glossary and symbols
#
# Every letter of the book with its meaning, and every term in English and 中文 with the chapter that explains it.
#
# *read 15 min · run 10 s CPU*
#
# **For** the moment at which a word or a letter is not there · **Library** [`minim2f/shapes.py`](../minim2f/shapes.py)

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

import minim2f
from minim2f import shapes
from minim2f.book import exercise, same, setup, show, where_we_are
from minim2f.book import library_table, shape_table, table

setup(seed=0)

# %% tags=["hide-input"]
where_we_are()

# %% [markdown]
# ## Letters
#
# A letter has one meaning in the whole book, but for those that the field itself uses twice, and both stand here: $k$ is a class, and
# beside $q$ and $v$ a key; $x$ is a column, and in losses a mask logit; K, P, Q and S count, and with a number behind them are tensors.

# %% tags=["hide-input"]
from pathlib import Path


def links(numbers):
    """"6, 7" -> both chapters as links."""
    found = []
    for number in numbers.split(", "):
        name = number.zfill(2) if number.isdigit() else number
        file = next(Path().glob(f"{name}_*.ipynb"), None)
        found.append(f"[{number}]({file})" if file else number)
    return ", ".join(found)


def rows_of(text):
    return [line.split(" | ") for line in text.strip().split("\n")]


def letters(text):
    """A table of `letter | code or shape | meaning | chapters` lines."""
    rows = [[letter, shape, meaning, links(where)] for letter, shape, meaning, where in rows_of(text)]
    table(["letter", "shape", "meaning", "chapter"], rows)


# %% [markdown]
# ### How many

# %% tags=["hide-input"]
letters("""
$B$ |  | pictures in a batch | 3, 6
$H$, $W$ |  | height and width of the picture, in pixels | 1
$h$, $w$ |  | height and width of a map, in cells; hw is their product | 0, 6
$N$ |  | queries | 0
$K$ |  | classes; with "no object" K+1 | 0
$G$ |  | segments of a picture that are to be learned; $G_b$ those of picture $b$ | 1, 10
$C$ |  | channels of a vector | 3, 6
$d$ |  | channels of one attention head, $C$ divided by the heads | 3, 5
$P$ |  | places that are read: points of a mask, or those of a head on one level | 5, 9
$S$ |  | cells of all levels together | 5
$Q$ |  | cells that ask in deformable attention | 5
$L$ |  | rounds through the three levels: the decoder has $3L$ layers | 8
$r$ | pixels | stride of a map: the side of the square of pixels that a cell stands for | 3
$R$ | pixels | side of the receptive field of a cell | 3
$\\kappa$ | cells | side of a convolution's kernel | 3
$\\tau$ |  | stride of one layer, in cells of the map that it reads | 3
""")

# %% [markdown]
# ### Which one

# %% tags=["hide-input"]
letters("""
$n$ | 0 … N−1 | a query | 0
$k$ | 0 … K | a class, or "no object"; $k_g$ that of a segment, $k(i)$ that of a pixel | 0, 1
$g$ | 1 … G | a segment | 1, 9
$b$ |  | a picture of the batch | 10
$i$ |  | a pixel, point or cell, where only its number counts | 0, 4
$y$, $x$ |  | row and column of a pixel | 2, 8
$c$ |  | a channel | 6, 8
$j$ | 2 … 5 | a level: of the backbone, $\\mathrm{res}_j$, or of the pyramid, $P_j$ | 4
$l$ | 1 … 3L | a layer of the transformer decoder; 0 is before the first | 6
$s$ |  | the cell of a level that asks or is asked | 5, 7
$\\eta$ |  | an attention head | 5
""")

# %% [markdown]
# ### What is computed

# %% tags=["hide-input"]
letters("""
$p$ | (N, K+1) | class probabilities, the softmax of the class logits | 0, 9
$m$ | (N, h, w) | mask probabilities, the sigmoid of the mask logits; of a true segment, $m_g$, 0 or 1 | 0, 1
$x$ | (N, P) | in costs and losses: a mask logit | 9
$t$ | (G, P) | the truth at a point: 1 inside, 0 outside, between at a rim | 9
id | (H, W) | the segment of each pixel; 0 is void | 1, 2
$\\mathrm{res}_j$ | (B, C2 … C5, h, w) | maps of the backbone | 3
$P_j$ | (B, C, h, w) | maps of the pixel decoder, to look at | 4
$F_{pixel}$ | (B, C, H/4, W/4) | the map that masks are drawn on | 4
$X_l$ | (B, N, C) | queries after layer $l$; $X_0$ is learned | 6
$E$ | (B, N, C) | learned positions of the queries | 6
$Y_j$ | (B, hw, C) | cells of a level, plus the level's learned vector | 6
$T_j$ | (1, hw, C) | sine positions of these cells | 6
$q$, $k$, $v$ | (N, d), (hw, d), (hw, d) | query, key and value of one attention head | 3, 6
$Q_l$, $K_l$, $V_l$ | (B, N, C), (B, hw, C), (B, hw, C) | the same for all heads of layer $l$ | 7
$A_l$, $S_l$ | (B, N, C) | queries after looking, after talking | 6
$M_l$ | (B, N, hw) | attention mask: 0 may look, $-\\infty$ may not (in code True, False) | 7
$Z_l$ | (B, N, C) | $X_l$ after the norm that all predictions share | 8
$E'_l$ | (B, N, C) | mask embeddings | 8
$M'_l$ | (B, N, H/4, W/4) | mask logits | 8
$a$ | (B, S, heads, levels, P) | weights of deformable attention | 5
$V$ | (B, S, heads, d) | its values | 5
$\\Delta$ | (B, S, heads, levels, P, 2) | its offsets, in cells of the level that is read | 5
$\\pi$ |  | the matching: which query answers for which segment | 9
$\\mathcal{L}$ |  | a loss | 10
$\\lambda$ | 2, 5, 5 | weights of the class, BCE and dice terms | 9
$\\omega$ | (K+1,) | weight of a class in the class loss | 10
$\\zeta$ |  | softplus, $\\ln(1 + e^x)$ | 9
$\\alpha$ | 0 … 1 | a share: of the next cell, of the picture | 4, 9
$u$ | cells | where a pixel reads, counted from the centre of the first cell | 4
$f$ |  | the convolutions of a residual block | 3
$\\mu$, $\\sigma^2$, $\\gamma$, $\\beta$, $\\varepsilon$ | (C,) | mean, variance, factor, summand of a norm; a tiny number | 3
$I$ | operations a byte | arithmetic intensity | E
$\\theta$ |  | all weights of a model | 11
$\\nabla$ |  | the gradient of the loss | 11
""")

# %% [markdown]
# ## Terms
#
# In the order of the road: pictures, network, training, results. The chapter is the one that explains the term.

# %% tags=["hide-input"]
def terms(text):
    """A table of `term | 中文 | chapters | meaning` lines."""
    rows = [[f"**{term}**", zh, meaning, links(where)] for term, zh, where, meaning in rows_of(text)]
    table(["term", "中文", "meaning", "chapter"], rows)


# %% [markdown]
# ### Segmentation and its truth

# %% tags=["hide-input"]
terms("""
semantic segmentation | 语义分割 | 0 | a class for each pixel
instance segmentation | 实例分割 | 0 | a mask with a class for each countable object
panoptic segmentation | 全景分割 | 0 | each pixel in one segment at most; things counted, stuff not
mask classification | 掩码分类 | 0 | segmentation as N masks with a class each
thing | 可数物体 | 0, 1 | an object of a class that one can count: car, boat
stuff | 不可数区域 | 0, 1 | what one cannot count: sky, road
void | 空白区域 | 0, 2 | pixels that belong to nothing that has a name
class map | 类别图 | 1 | the class of each pixel
connected pieces | 连通区域 | 1 | groups of pixels joined over shared sides
touch | 相接 | 1 | things of a class whose union has fewer pieces than the masks counted singly
set | 集合 | 1 | a collection without an order: of queries, of segments
segment | 分割区域 | 2 | one mask and one class of the truth
id | 编号 | 2 | the number of a segment, stored as the colour of a PNG
PNG | 无损图像格式 | 2 | an image file that loses nothing
crowd | 群体标注 | 2 | many objects under one mask, which nobody told apart (`iscrowd`)
target | 训练目标 | 2 | a segment as training wants it: a mask and a label
label | 标签 | 2 | a class as a place in the list of categories
ignored | 忽略 | 2 | pixels in no target
run lengths | 游程编码 | 2 | a mask as counts of pixels outside, inside, outside … (RLE)
polygon | 多边形 | 2 | a mask as a list of corners
scenes | 绘制场景 | 2 | the data set that the project draws itself
COCO | COCO 数据集 | 0, 2 | the data set whose format, metrics and photographs the book uses
coco-mini | COCO 小子集 | 2 | 53 photographs of COCO with panoptic truth
""")

# %% [markdown]
# ### Backbone and pixel decoder

# %% tags=["hide-input"]
terms("""
backbone | 主干网络 | 3 | the network that turns a picture into four maps, res2 to res5
cell | 特征图单元 | 3, 4 | one vector of a map; it stands for a square of pixels
stride | 步幅 | 3 | the side of that square, in pixels; of a layer: how many cells it moves on
convolution | 卷积 | 3 | a weighted sum of each square of cells
kernel | 卷积核 | 3 | the weights of a convolution
padding | 填充 | 3 | zeros around a map or picture
batch norm | 批归一化 | 3 | brings each channel to mean 0 and standard deviation 1 over a batch
layer norm | 层归一化 | 3 | the same for the channels of one vector
group norm | 组归一化 | 4 | the same for groups of channels of one picture
norm | 归一化 | 3 | any of these
freeze | 冻结 | 3 | to leave as it is in training
ResNet | 残差网络 | 3 | a backbone of convolutions in residual blocks
residual block | 残差块 | 3 | a block that adds its input to what it computes
basic block | 基本块 | 3 | two 3 × 3 convolutions
bottleneck | 瓶颈块 | 3 | 1 × 1, 3 × 3, 1 × 1 convolutions
shortcut | 捷径连接 | 3 | the way of the input past the block
stem | 起始层 | 3 | the first layers of a backbone
stage | 阶段 | 3 | the blocks between two halvings of the map
receptive field | 感受野 | 3 | the pixels that can change a cell
paths | 路径 | 3 | the ways from a pixel to a cell
influence | 影响 | 3 | how strongly a pixel changes a cell: its squared gradient
gradient | 梯度 | 3 | by how much a result changes when a number grows
Swin transformer | 移动窗口 Transformer | 3 | a backbone of attention within windows
window | 窗口 | 3 | a square of cells that attend to each other only
shift | 窗口移位 | 3 | moving the windows by half in every second block
relative position | 相对位置 | 3 | the offset from a key to a query
patch merging | 块合并 | 3 | 2 × 2 cells become one
pixel decoder | 像素解码器 | 4 | makes $F_{pixel}$ and the levels of the maps of the backbone
feature pyramid | 特征金字塔 | 4 | coarse maps enlarged and added to finer ones
level | 层级 | 4, 6 | one of the maps P5, P4, P3 that queries look at
nearest | 最近邻 | 4 | enlarging by copying a cell
bilinear | 双线性 | 4 | enlarging by mixing the cells around a place
corners aligned | 角点对齐 | 4 | enlarging so that outer centres lie on each other
honest | 如实掩码 | 4 | of a mask: each cell tells the share of it that is covered
fitted | 拟合掩码 | 4 | of a mask: each cell has the logit that serves best
learned | 学到的掩码 | 4 | of a mask: as a network draws it
vanished | 消失 | 4 | said of a segment whose IoU is 0
deformable attention | 可变形注意力 | 5 | attention to a few places that the query chooses
reference point | 参考点 | 5 | the centre of the cell that asks
offset | 偏移 | 5 | how far from there a place lies
share | 份额 | 5 | how much of a bilinear read comes from one cell
weighted sum of rows | 行的加权和 | 5 | deformable attention as `embedding_bag` does it
finite differences | 有限差分 | 5 | gradients by changing each number a little
""")

# %% [markdown]
# ### Transformer decoder and heads

# %% tags=["hide-input"]
terms("""
query | 查询 | 0, 6 | a learned vector that is to find one segment
transformer decoder | Transformer 解码器 | 6 | the layers that fill queries with what they need to know
attention | 注意力 | 5, 6 | vectors collect information from vectors, by weights
key | 键 | 5, 6 | what an answering vector is found by
value | 值 | 5, 6 | what it hands over
score | 得分 | 6, 7 | the product of a query and a key
weights | 权重 | 5, 6 | scores after the softmax; they sum to 1
attention head | 注意力头 | 6 | attention on a part of the channels
cross-attention | 交叉注意力 | 6 | queries read the cells of a level
self-attention | 自注意力 | 3, 6 | vectors read each other
rescue | 空掩码补救 | 7 | a query whose mask is empty may look everywhere
masked attention | 掩码注意力 | 7 | a query reads only cells inside its last mask
feed-forward network | 前馈网络 | 5, 6 | two linear maps with a ReLU between, vector by vector
content | 内容 | 6 | what a query is, $X$
position | 位置 | 6 | what is added to a query or key only where attention compares
sine position | 正弦位置编码 | 6 | the place of a cell as sines and cosines
look, talk, think | 看、谈、想 | 6 | cross-attention, self-attention, feed-forward network
fit | 契合度 | 6 | IoU of the best mask among the queries that name the class
head | 预测头 | 8 | a small network that turns a query into an answer
class head | 类别头 | 8 | makes K+1 class logits
mask head | 掩码头 | 8 | makes the mask embedding
mask embedding | 掩码嵌入 | 4, 8 | the numbers whose product with a cell of $F_{pixel}$ is a mask logit
filter | 滤波器 | 8 | an embedding, seen as weights of channels
pixel | 像素 | 7, 8 | of the picture; also a cell of $F_{pixel}$
raw queries | 初始查询 | 8 | queries before the first layer, the same for every picture
deep supervision | 深度监督 | 8 | a loss on the prediction after every layer
layer | 层 | 8 | of the transformer decoder: look, talk, think
logit | 对数几率 | 0, 8 | a score that is not yet a probability
no object | 无物体 | 0 | the class of a query that has nothing to say
inference | 推理 | 0 | reading results off the predictions
vote | 投票 | 0 | class probability times mask probability, added up over the queries
winner, owner | 胜者与归属 | 0 | the sure query with the largest product at a pixel; the query that keeps it
sure | 确信 | 0 | of a query: its best column is a class, above the threshold
""")

# %% [markdown]
# ### Training

# %% tags=["hide-input"]
terms("""
matching | 匹配 | 6, 9 | which query answers for which segment
assignment | 指派 | 9 | each segment gets one query, no query two segments
matching cost | 匹配代价 | 9 | the price of a pair of query and segment
Hungarian algorithm | 匈牙利算法 | 9 | finds the cheapest assignment
loss | 损失 | 9, 10 | how wrong a prediction is; gradients pass back through it
cross entropy | 交叉熵 | 10 | minus the logarithm of the probability of the right class
binary cross entropy | 二元交叉熵 | 9, 10 | the same for inside and outside (BCE)
dice | Dice 系数 | 9, 10 | twice the overlap over the sum of both areas
dice loss | Dice 损失 | 10 | 1 minus dice, with a 1 above and below
softplus | softplus 函数 | 9 | $\\ln(1 + e^x)$
points | 采样点 | 9, 10 | places at which masks are compared instead of everywhere
importance sampling | 重要性采样 | 10 | more points where a mask is unsure
class logits | 类别 logits | 10 | K+1 scores of a query
mask | 掩码 | 0, 10 | the pixels of one segment; predicted, a map of logits
biased | 有偏 | 10 | wrong in the mean over all draws
noise | 噪声 | 10 | how far a draw lies from the mean of all
step | 训练步 | 11 | one batch along the road, and one move of the weights
optimiser | 优化器 | 11 | moves the weights along their gradients: AdamW
parameter group | 参数组 | 11 | weights that share rate and decay
weight decay | 权重衰减 | 11 | a pull of a weight towards 0
dropout | 随机失活 | 14 | a share of the numbers is zeroed at random, in training only
clipping | 梯度裁剪 | 11 | shortens a gradient that is too long
warm-up | 预热 | 11 | the first steps, in which the rate grows
forward hook | 前向钩子 | 11 | a function that PyTorch calls with a module's output
ablation | 消融实验 | 14 | one part taken away, the model trained again
seed | 随机种子 | 14 | the number from which all random numbers of a run follow
paired difference | 配对差 | 14 | between two runs with one seed
standard deviation | 标准差 | 14 | how far one value usually is from the mean
standard error | 标准误 | 14 | the same for a mean of several
confidence interval | 置信区间 | 14 | holds the true value in 95 of 100 experiments
Student's t | 学生 t 分布 | 14 | how far an interval of few values reaches
quantile | 分位数 | 14 | the place below which a given share lies
degrees of freedom | 自由度 | 14 | seeds minus 1: how many differences are free
PQ point | PQ 百分点 | 14 | a hundredth of PQ
p-value | p 值 | 14 | how often chance alone does such a thing
power | 检验功效 | 14 | the share of experiments that see an effect
Bonferroni correction | 邦费罗尼校正 | 14 | shares the 5 % among several looks
confounded | 混杂 | 14 | two things changed at once
checkpoint | 检查点 | 15 | a file that holds a state dict
state dict | 状态字典 | 15 | names of tensors, and the tensors
pickle | pickle 格式 | 15 | a program that builds data; a stranger's may do harm
fine-tuning | 微调 | 15 | training that starts from a trained model
held out | 留出 | 15 | never learned, only measured
""")

# %% [markdown]
# ### Results and speed

# %% tags=["hide-input"]
terms("""
IoU | 交并比 | 4, 8 | pixels in both masks over pixels in either
panoptic quality | 全景质量 | 0, 13 | PQ: how good a panoptic result is, 1 at best
PQ | 全景质量 | 0, 13 | panoptic quality
AP, average precision | 平均精度 | 13 | the measure of instance lists: mean precision over 101 recalls
mIoU, mean IoU | 平均交并比 | 13 | IoU of each class's pixels, mean over classes
semantic, instance, panoptic | 语义、实例、全景 | 12, 13 | the three readings of one output
score threshold | 得分阈值 | 12 | how sure a query must be, how good an instance
overlap threshold | 重叠阈值 | 12 | which share of its mask a query must win
top-k | 前 k 个 | 12 | the k best pairs of a query and a class
merge | 合并 | 12 | segments of one class of stuff become one
first guess | 初始猜测 | 12 | the prediction of the raw queries
second guess | 重复猜测 | 12 | another query's guess at the same object
noisy | 带噪声 | 12 | with random grey values added
pycocotools | COCO 官方工具 | 12 | COCO's own code for masks and scores
match | 匹配对 | 13 | a predicted and a true segment with an IoU above 1/2
true positive | 真阳性 | 13 | TP: a match
false positive | 假阳性 | 13 | FP: a predicted segment without a match
false negative | 假阴性 | 13 | FN: a true segment without a match
segmentation quality | 分割质量 | 13 | SQ: how well matches fit
recognition quality | 识别质量 | 13 | RQ: whether the right segments were found
precision | 精确率 | 13 | the share of detections that are right
recall | 召回率 | 13 | the share of true objects that are found
envelope | 包络线 | 13 | the best precision at this or any higher recall
greedy | 贪心 | 13 | what is taken is never given back
threshold | 阈值 | 13 | the least IoU or score that counts
open | 未指派像素 | 13 | pixels that a prediction gives to no segment
confusion matrix | 混淆矩阵 | 13 | pixels by true and predicted class
export | 导出 | 15 | a model's operations, written down as a graph
graph | 计算图 | 15 | the list of operations
ONNX | ONNX 格式 | 15 | a graph that runs without PyTorch
vision transformer | 视觉 Transformer | 15 | a backbone of attention between patches
patch | 图像块 | 15 | a square of pixels that becomes one vector
EoMT | 仅编码器的掩码 Transformer | 15 | a vision transformer in which queries are tokens
arithmetic intensity | 算术强度 | E | operations for each byte moved
roofline | 屋顶线模型 | E | the speed that memory and computing allow
Amdahl's law | 阿姆达尔定律 | E | what a faster part does for the whole
strips | 分条 | E | a product computed a part at a time
scattered additions | 散射累加 | E | sums into rows that lie anywhere
""")

# %% [markdown]
# ## Helpers of the book
#
# | name | what it does |
# | --- | --- |
# | `setup(seed=0)` | seeds all random numbers, prints the versions |
# | `same(mine, theirs)` | stops the run if two results, or two functions on the same inputs, differ by more than 1e-5 |
# | `show(figure, …)`, `table(header, rows)` | a figure with its description and caption; a table |
# | `exercise("7.1", my_function)` | says ○ not tried, ✘ with a hint, or ✔ |
# | `shapes.check(name, tensor, "B N C")` | gives the tensor back if it has this shape, and stops if not |
# | `shapes.scope()`, `@shapes.scoped` | within it, or within the function, a letter keeps its size |
# | `shapes.watch()`, `minim2f.walkthrough` | record every tensor that is checked |
# | `minim2f.segment(model, image, task)` | one picture to one result, at the picture's own size |
# | `predict(model, image)` | the class logits and mask logits of one picture |
# | `collate(model, samples)` | a batch: normalised pictures, and their segments |
# | `match(prediction, targets, config)` | the matched pairs of each picture |
# | `Criterion(config)` | all losses of a prediction |
# | `evaluate(model, dataset)` | PQ and its parts on a data set |

# %% [markdown]
# A term that is missing here is a mistake of the book: a test compares this page with all chapters.

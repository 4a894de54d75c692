"""Queries look at the picture through their own masks, talk to each other, and predict."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from ..shapes import check, scoped
from .config import Config
from .position import sine_position


class Attention(nn.Module):
    """Multi-head attention, softmax(M + Q K^T / sqrt(d)) V, with an output projection."""

    def __init__(self, channels: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.in_proj = nn.Linear(channels, 3 * channels)  # Q, K and V stacked
        self.out_proj = nn.Linear(channels, channels)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        allowed: Tensor | None = None,
        layer: int | None = None,
        keys: str = "S",
    ) -> Tensor:
        """Attends from queries (B, N, C) to keys and values (B, S, C); returns (B, N, C).

        Args:
            allowed: (B, N, S) bool, True where a query may look (0 in the paper's M; False is
                -inf there), shared by the heads. None allows everything.
            layer, keys: the number under which Q, K and V are recorded, and S in symbols.
        """
        weights, biases = self.in_proj.weight.chunk(3), self.in_proj.bias.chunk(3)
        q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))
        if layer is not None:
            check(f"Q_{layer}", q, "B N C")
            check(f"K_{layer}", k, f"B {keys} C")
            check(f"V_{layer}", v, f"B {keys} C")
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        mask = None if allowed is None else allowed[:, None]
        dropout = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(x.transpose(1, 2).flatten(2))


class Level(NamedTuple):
    """One pyramid level as the layers read it; S = h w, its pixels in rows."""

    memory: Tensor  # (B, S, C)
    keys: Tensor  # the same, with the sine embedding: keys know where they are, values do not
    pixel_features: Tensor  # (B, C, S), F_pixel resized to this level
    size: str  # S in symbols, for the shape checks


class DecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, feed-forward; each added to X and normalised."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.channels
        self.self_attention_first = config.self_attention_first
        self.cross_attention = Attention(channels, config.num_heads, config.dropout)
        self.self_attention = Attention(channels, config.num_heads, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        wide = nn.Linear(channels, config.ffn_channels)
        narrow = nn.Linear(config.ffn_channels, channels)
        relu = nn.ReLU(inplace=True)
        self.ffn = nn.Sequential(wide, relu, nn.Dropout(config.dropout), narrow)
        self.cross_norm, self.self_norm, self.ffn_norm = (nn.LayerNorm(channels) for _ in range(3))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for attention in (self.cross_attention, self.self_attention):
            nn.init.zeros_(attention.in_proj.bias)
            nn.init.zeros_(attention.out_proj.bias)

    def forward(
        self, x: Tensor, e: Tensor, level: Level, allowed: Tensor | None, layer: int
    ) -> Tensor:
        """One round: contents X_{l-1} -> X_l, both (B, N, C), of queries with positions E.

        E is added to queries and keys, never to values. `allowed` (B, N, S) says where each query
        may look in `level` (None is everywhere), `layer` is l.
        """

        def look(x: Tensor) -> Tensor:
            keys, values = level.keys, level.memory
            seen = self.cross_attention(x + e, keys, values, allowed, layer, level.size)
            return check(f"A_{layer}", self.cross_norm(x + self.dropout(seen)), "B N C")

        def talk(x: Tensor) -> Tensor:
            heard = self.self_attention(x + e, x + e, x)
            return check(f"S_{layer}", self.self_norm(x + self.dropout(heard)), "B N C")

        x = look(talk(x)) if self.self_attention_first else talk(look(x))
        return check(f"X_{layer}", self.ffn_norm(x + self.dropout(self.ffn(x))), "B N C")


class TransformerDecoder(nn.Module):
    """Mask2Former's decoder: 3L layers over 1/32, 1/16, 1/8 in turn, 3L + 1 predictions (3.2)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        channels, queries = config.channels, config.num_queries
        if config.learned_content:
            self.query_content = nn.Embedding(queries, channels)  # X_0
        self.query_position = nn.Embedding(queries, channels)  # E
        self.level_embed = nn.Embedding(len(config.scales), channels)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(channels)
        self.class_head = nn.Linear(channels, config.num_classes + 1)
        self.mask_head = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
        )

    @scoped
    def forward(self, pixel_features: Tensor, pyramid: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Runs all layers.

        Args:
            pixel_features: F_pixel, (B, C, H/4, W/4).
            pyramid: [P5, P4, P3], (B, C, h, w) at 1/32, 1/16, 1/8.

        Returns:
            3L + 1 pairs (class logits (B, N, K+1), mask embeddings (B, N, C)); the first is made
            from the raw queries, each other one from the layer before it.
        """
        check("F_pixel", pixel_features, "B C H/4 W/4")
        for name, scale, features in zip(("P5", "P4", "P3"), (32, 16, 8), pyramid):
            check(name, features, f"B C H/{scale} W/{scale}")
        levels = [self._level(i, pyramid, pixel_features) for i in range(len(self.config.scales))]
        e = self.query_position.weight.expand(pixel_features.shape[0], -1, -1)
        x = self.query_content.weight.expand_as(e) if self.config.learned_content else e * 0
        check("X_0", x, "B N C")
        predictions = [self.heads(x, 0)]
        for number, layer in enumerate(self.layers, start=1):
            level = levels[(number - 1) % len(levels)]
            allowed = None
            if self.config.masked_attention:
                allowed = attention_mask(predictions[-1][1], level.pixel_features)
                check(f"M_{number - 1}", allowed, f"B N {level.size}")
            x = layer(x, e, level, allowed, number)
            predictions.append(self.heads(x, number))
        check("E_object", self.norm(x), "B N C")
        check("E'_object", predictions[-1][1], "B N C")
        return predictions

    def _level(self, i: int, pyramid: list[Tensor], pixel_features: Tensor) -> Level:
        scale = self.config.scales[i]
        features = pyramid[(32, 16, 8).index(scale)]
        memory = features.flatten(2).transpose(1, 2) + self.level_embed.weight[i]  # reaches K and V
        position = sine_position(features).flatten(2).transpose(1, 2)
        # Resizing is linear and so is the product E' F: resize F once, and every layer multiplies
        # the small map. The official code draws N masks at 1/4 and resizes those, layer by layer.
        small = F.interpolate(pixel_features.detach(), features.shape[-2:], mode="bilinear")
        return Level(memory, memory + position, small.flatten(2), f"H/{scale}*W/{scale}")

    def heads(self, x: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Class logits (B, N, K+1) and mask embeddings E' (B, N, C) of X_l, l = 0 ... 3L."""
        z = self.norm(x)
        class_logits, mask_embeddings = self.class_head(z), self.mask_head(z)
        check(f"class_logits_{layer}", class_logits, "B N K+1", K=self.config.num_classes)
        check(f"E'_{layer}", mask_embeddings, "B N C")
        return class_logits.to(x.dtype), mask_embeddings.to(x.dtype)


def attention_mask(mask_embeddings: Tensor, small_features: Tensor) -> Tensor:
    """Where each query may look in the next layer: inside its own mask (paper eq. 2 and 3).

    Args:
        mask_embeddings: E', (B, N, C).
        small_features: F_pixel resized to the next level and flattened, (B, C, S).

    Returns:
        (B, N, S) bool, True where the mask logit is not negative, that is sigmoid >= 0.5. A query
        whose mask is empty at this size would see nothing, so it may look everywhere (official
        code; the paper does not mention it). No gradient passes.
    """
    allowed = ~(mask_embeddings.detach() @ small_features < 0)
    return allowed | ~allowed.any(dim=-1, keepdim=True)

"""Attention in windows: PyTorch's fused kernel, or the formula, which every graph can hold.

The fused kernel never writes the weights down. ONNX has it for batches of one dimension only, and
windows are a second one.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from . import in_reference


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """softmax(bias + Q K^T / sqrt(d)) V.

    Args:
        query, key, value: (..., S, d).
        bias: broadcasts to (..., S, S).

    Returns:
        (..., S, d).
    """
    if in_reference():
        scores = query * query.shape[-1] ** -0.5 @ key.mT + bias
        return scores.softmax(-1) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)

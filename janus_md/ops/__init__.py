"""Expert products and line attention, with derivatives of their own; the perceptrons that experts merge to."""

from janus_md.ops.element_mlp import by_row, element_mlp
from janus_md.ops.expert_products import (
    expert_contract,
    expert_expand,
    expert_outer,
    routed_mlp,
)
from janus_md.ops.group_mlp import group_mlp
from janus_md.ops.line_attention import fused_line_attention, line_attention, plain_line_attention

__all__ = [
    "by_row",
    "element_mlp",
    "expert_contract",
    "expert_expand",
    "expert_outer",
    "fused_line_attention",
    "group_mlp",
    "line_attention",
    "plain_line_attention",
    "routed_mlp",
]

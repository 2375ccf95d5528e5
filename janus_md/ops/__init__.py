"""The few operators that have more than one form: expert products, smooth weights."""

from janus_md.ops.attention_weights import sigmoid_weights, sink_softmax
from janus_md.ops.expert_products import expert_contract, expert_expand, expert_outer
from janus_md.ops.group_mlp import group_mlp

__all__ = [
    "expert_contract",
    "expert_expand",
    "expert_outer",
    "group_mlp",
    "sigmoid_weights",
    "sink_softmax",
]

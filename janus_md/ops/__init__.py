"""Operators with derivatives of their own: expert products; and the perceptrons that experts merge to."""

from janus_md.ops.expert_products import (
    expert_contract,
    expert_expand,
    expert_outer,
    routed_mlp,
)
from janus_md.ops.group_mlp import group_mlp

__all__ = ["expert_contract", "expert_expand", "expert_outer", "group_mlp", "routed_mlp"]

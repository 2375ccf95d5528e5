"""The few operators that have more than one form: per-group perceptrons, smooth weights."""

from janus_md.ops.attention_weights import sigmoid_weights, sink_softmax
from janus_md.ops.group_mlp import group_mlp

__all__ = ["group_mlp", "sigmoid_weights", "sink_softmax"]

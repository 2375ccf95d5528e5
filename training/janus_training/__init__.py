"""Janus: what trains a MatRIS-MoE potential. ``janus_training.loop.train`` is the way in."""

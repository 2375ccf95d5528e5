"""The main job from end to end on data it makes itself: label, train, evaluate, export, simulate."""

from janus_md.quickstart.path import Size, run_quickstart

__all__ = ["Size", "run_quickstart"]

"""Neighbour lists, line graphs and batches of graphs."""

from janus_md.graph.batch import GraphBatch, batch_graphs
from janus_md.graph.neighbours import AtomGraph, build_graph, neighbour_pairs

__all__ = ["AtomGraph", "GraphBatch", "batch_graphs", "build_graph", "neighbour_pairs"]

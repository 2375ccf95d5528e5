"""Training over several processes: parameters, graphs and experts sharded, gradients those of one process."""

"""What a training step will take on a machine, before anything runs."""

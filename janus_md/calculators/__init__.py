"""Potentials for simulation programs written in Python."""

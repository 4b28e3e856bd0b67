"""Dice, surface distances, the scores of volumes, and their report.

NumPy on the host: no jax where NumPy does, and no training.
"""

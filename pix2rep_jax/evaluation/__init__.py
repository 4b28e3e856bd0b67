"""How good masks are: Dice, surface distances, scores of volumes, and their report.

This is NumPy on the host. Training does not belong here, and neither does JAX: what
predicts is passed in as a function from slices to probabilities.
"""

"""Flax modules, and the functions that build them from the configuration's `model`.

Methods, losses and files do not belong here: a method puts a network and a loss
together, and `runs` stores its parameters.
"""

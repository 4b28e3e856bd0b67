"""Flax modules, and the functions that build them from a configuration.

They know no method, no loss and no file.
"""

"""A page to look into embeddings with: arrays in, one HTML file out.

It reads no run folder. The page needs no server and no network.
"""

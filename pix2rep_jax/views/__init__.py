"""Random views of a batch: arrays and a random key in, arrays out. JAX only.

Files, networks and losses do not belong here. `affine` and `elastic` draw where each
pixel comes from, `warp` reads the image there, `intensity` changes what was read, and
`sampling` puts these together into the two views of the paper.
"""

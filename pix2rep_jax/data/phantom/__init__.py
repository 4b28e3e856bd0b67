"""The built-in cardiac phantom, drawn as NIfTI in ACDC's layout.

Nothing outside this folder knows how an image is drawn.
"""

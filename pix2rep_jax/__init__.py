"""Pix2Rep in JAX: dense self-supervised learning for medical image segmentation.

Reference: M. Seince, L. Le Folgoc, L. A. Facury de Souza, E. Angelini, "Dense
Self-Supervised Learning for Medical Image Segmentation", MIDL 2024.
"""

__version__ = "0.1.0"

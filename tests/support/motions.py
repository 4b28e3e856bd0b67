"""Settings of φ that several tests share."""

STILL = {
    "max_rotation": 0.0,
    "extent": (1.0, 1.0),
    "flip_probability": 0.0,
    "max_shift": (0.0, 0.0),
}
"""The identity, always."""

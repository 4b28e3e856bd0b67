"""From a finished run and scans to probabilities, masks and embeddings.

Training does not belong here, and neither does scoring.
"""

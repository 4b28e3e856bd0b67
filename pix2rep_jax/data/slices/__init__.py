"""One volume as the network's slices: resampled, normalised, cut and cached."""

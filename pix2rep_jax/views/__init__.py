"""Random views of a batch: geometry, intensity and the points compared. JAX only."""

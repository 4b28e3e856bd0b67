"""The paper's comparison: many runs, planned, run once each, and reported."""

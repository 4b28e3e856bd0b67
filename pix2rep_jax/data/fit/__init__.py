"""Settings that follow from the data: what the folder says, and what is measured."""

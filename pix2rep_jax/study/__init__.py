"""The paper's comparison: which runs it needs, and what they say together."""

"""A folder of scans: its layout is recognised, and its volumes are listed."""

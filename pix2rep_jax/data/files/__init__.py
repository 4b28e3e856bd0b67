"""One file of a scan or a mask: NIfTI and pictures, headers, axes, label values."""

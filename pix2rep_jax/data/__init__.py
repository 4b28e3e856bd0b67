"""From files to slices: finding, reading, preparing and splitting scans. NumPy only.

Run folders, JAX and networks do not belong here. `files` reads one file, `slices`
prepares one volume, and `layout` lists the volumes of a folder. `dataset` puts all
slices into one array, and `splits` says who trains and who tests. `fit` measures the
scans and plans spacing and intensities; `phantom` draws scans.
"""

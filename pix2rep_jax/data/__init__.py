"""From files to slices: reading, preparing, splitting and caching scans. NumPy only.

Run folders, JAX and networks do not belong here. `acdc`, `nifti_folder` and `phantom`
list the volumes of a data set, `volume` prepares one of them, and `dataset` puts all
slices into one array. `splits` says who trains and who tests.
"""

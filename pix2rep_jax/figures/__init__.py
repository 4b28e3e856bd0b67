"""Pictures, one per file: arrays in, a matplotlib figure or an HTML page out.

Run folders and checkpoints are not read here. A picture gets the numbers of a run as
arguments, and a network as a function. (`panels` reads the scans themselves, to show
them on their own grids.)
"""

"""One file per method: which parts it trains, and by which loss.

`pretraining` learns from scans without masks, `downstream` from a few masks. No file
here reads scans or writes a run.
"""

"""The built-in cardiac phantom, drawn as NIfTI files in ACDC's layout.

`write` is the only function that other folders call. `heart`, `thorax`, `acquisition`
and `canvas` draw one patient; nobody needs them to read real scans.
"""

"""A trained network for other programs, one file per format.

It knows runs, and writes files that can be read without this package.
"""

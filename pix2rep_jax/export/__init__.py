"""A trained network for other programs, one format a file.

It knows runs, and writes files that can be read without this package.
"""

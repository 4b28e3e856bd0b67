"""The command line, configuration checks, hosts, compiler and whole files.

Everything else may import this folder; it imports only `errors`.
"""

"""Command lines, checks of settings, messages, hosts, compiler and whole files.

Everything else may import this folder; it imports only `errors`.
"""

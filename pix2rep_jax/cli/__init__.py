"""The program: it reads the command line, checks the configuration, runs one mode.

It may import everything. Nothing imports it but `main.py` and the installed command.
"""

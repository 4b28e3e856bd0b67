"""The program: it reads the command line, checks the configuration, runs one mode.

It may import everything but `api`, which makes its commands from Python. Nothing else
imports it but `main.py` and the installed command.
"""

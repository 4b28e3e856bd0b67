"""The long form of the fault tests: `python -m tests.faults.long --folder FOLDER`."""

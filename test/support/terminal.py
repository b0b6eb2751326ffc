"""Runs a command line on a terminal of 80 columns: terminal.py COMMAND. What is typed comes from standard input."""

import os
import pty
import sys

status = pty.spawn(["bash", "-c", "stty cols 80 rows 24; " + sys.argv[1]])
sys.exit(os.waitstatus_to_exitcode(status))

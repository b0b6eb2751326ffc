"""Runs the Python of a page of documentation.

    python test/interop/page.py PAGE FOLDER

Every block of Python runs in FOLDER, one after the other in one interpreter. Prints a JSON list of what each one has
printed and of what the page says: the text block behind it, or nothing.
"""

import sys

sys.dont_write_bytecode = True

import contextlib
import io
import json
import os
import re
import tempfile
import traceback

# Nothing is fetched and nothing is left in the home folder.
CACHE = tempfile.TemporaryDirectory()
os.environ.update(HF_HOME=CACHE.name, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
os.environ.update(HF_DATASETS_DISABLE_PROGRESS_BARS="1")
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "stand-ins"))

BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.M | re.S)


def run(code, names):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, "<the page>", "exec"), names)
        except Exception:
            print(traceback.format_exc())
    return printed.getvalue()


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        page = file.read()
    os.chdir(sys.argv[2])
    names = {"__name__": "page"}
    json.dump(
        [{"code": code, "printed": run(code, names), "says": says} for code, says in BLOCK.findall(page)],
        sys.stdout,
    )

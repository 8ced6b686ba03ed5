"""Print the bytes that a package takes on disk with all that it requires: `python size.py PACKAGE [FOLDER...]`.

A package installed in editable mode lies elsewhere: its folders are given.
"""

import sys
from importlib.metadata import distribution
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement


def required(package, found):
    if package in found:
        return
    found[package] = distribution(package)
    for text in found[package].requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            required(requirement.name.lower().replace("_", "-"), found)


packages = {}
required(sys.argv[1], packages)
files = {Path(file.locate()) for package in packages.values() for file in package.files or ()}
files |= {file for folder in sys.argv[2:] for file in Path(folder).rglob("*") if "__pycache__" not in file.parts}
print(sum(file.stat().st_size for file in files if file.is_file()))

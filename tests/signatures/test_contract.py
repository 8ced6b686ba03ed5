import subprocess
import sys

import signatures


def test_the_contract_costs_no_import_of_tensorflow():
    code = (
        "import pkgutil, sys, signatures.contract as contract\n"
        "from importlib import import_module\n"
        "for module in pkgutil.iter_modules(contract.__path__): import_module(f'signatures.contract.{module.name}')\n"
        "print('judge' in dir(contract), sorted({'tensorflow', 'keras', 'tensorflow_serving'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["True", "[]\n"]


def test_every_public_name_of_signatures_is_there():
    assert all(getattr(signatures, name) for name in signatures.__all__)

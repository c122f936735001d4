import subprocess
import sys
from importlib import import_module

import pytest

ROOMS = ("stemblend.metrics", "stemblend.evaluation", "stemblend.reports")


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_the_object_and_no_module(room):
    module = import_module(room)
    for name in module.__all__:
        value = getattr(module, name)
        assert callable(value) or name.isupper()
    with pytest.raises(AttributeError, match=f"module '{room}' has no attribute 'nothing'"):
        _ = module.nothing


def test_libraries_are_loaded_on_first_use():
    libraries = "{'matplotlib', 'polars', 'scipy', 'torch'}"
    code = f"import sys, {', '.join(ROOMS[1:])}; print({libraries} & {{*sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"

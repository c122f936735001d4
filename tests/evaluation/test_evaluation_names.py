import importlib

import pytest

import stemblend.evaluation


def test_bss_eval_is_the_function_even_after_its_module_is_imported():
    importlib.import_module("stemblend.evaluation.bss_eval")
    assert callable(stemblend.evaluation.bss_eval)


@pytest.mark.parametrize("name", stemblend.evaluation.__all__)
def test_every_public_name_is_there(name):
    assert getattr(stemblend.evaluation, name) is not None


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="no attribute 'bss_evil'"):
        _ = stemblend.evaluation.bss_evil

import inspect

import pytest

from sat2map import errors

CLASSES = [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, errors.Sat2mapError)]
ALSO = {
    "MissingExtra": ImportError,
    "TrainingFailed": RuntimeError,
    "UserError": ValueError,
    "SceneError": OSError,
    "OutputError": OSError,
}


@pytest.mark.parametrize("kind", CLASSES)
def test_the_tree_in_the_docstring_is_complete(kind):
    assert kind.__name__ in str(errors.__doc__)
    assert issubclass(kind, ALSO.get(kind.__name__, Exception))
    assert kind.exit_code == (2 if issubclass(kind, errors.UserError) else 1)


def test_an_unknown_name_comes_with_close_ones():
    error = errors.UnknownName("network", "unte", ["unet", "fpn"])
    assert "There is no network 'unte'" in str(error)
    assert "'unet'" in str(error) and "fpn, unet" in str(error)


def test_a_missing_extra_says_how_to_install_it():
    assert "pip install 'sat2map[serve]'" in str(errors.MissingExtra("Serving", "serve"))

"""Scores become ids, and pixels without data never become a class."""

from __future__ import annotations

import json

import numpy as np

from sat2map.legend import IGNORED
from sat2map.outputs import Classes
from synthetic import LEGEND, landscape


def test_the_most_probable_class_is_the_map():
    ids = landscape(0, 20)
    scores = np.random.default_rng(0).uniform(0, 0.3, (3, 20, 20)).astype(np.float32)
    np.put_along_axis(scores, ids[None].astype(int), 0.4, axis=0)
    valid = np.random.default_rng(1).random((20, 20)) < 0.7
    made = Classes(LEGEND).decode(scores, valid)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, np.where(valid, ids, IGNORED))


def test_an_output_comes_back_from_json():
    output = Classes(LEGEND.without(["Water"]))
    assert output.channels == 2
    assert Classes.from_json(json.loads(json.dumps(output.to_json()))) == output

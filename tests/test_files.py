"""Files and folders that are there completely or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from sat2map.errors import OutputError, SceneError
from sat2map.files import check_folder, record, whole_file, whole_folder, write_json


def names(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


def test_a_file_appears_when_it_is_finished(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    with whole_file(path) as part:
        part.write_text("all")
        assert not path.exists()
        assert part.suffix == path.suffix
    assert names(path.parent) == ["model.safetensors"]
    assert path.read_text() == "all"


def test_an_exception_keeps_the_older_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyError), whole_file(path) as part:
        part.write_text("new, and not finished")
        raise KeyError
    assert names(tmp_path) == ["file.txt"]
    assert path.read_text() == "old"


def test_a_file_that_was_never_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "file.txt"):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_holds_numbers_only(tmp_path, number):
    write_json(tmp_path / "a.json", {"loss": 1.5})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": number})
    assert (tmp_path / "a.json").read_text() == '{\n "loss": 1.5\n}\n'
    assert names(tmp_path) == ["a.json"]


def test_files_appear_together_in_a_folder(tmp_path):
    path = tmp_path / "new" / "report"
    with whole_folder(path) as part:
        (part / "a.txt").write_text("a")
        (part / "b.txt").write_text("b")
        assert names(path) == [part.name] and part.name.startswith(".")  # its parent may be another disk, or not ours
    assert names(path) == ["a.txt", "b.txt"]
    assert names(path.parent) == ["report"]


def test_a_folder_keeps_what_is_not_replaced(tmp_path):
    path = tmp_path / "report"
    path.mkdir()
    (path / "a.txt").write_text("old")
    (path / "notes.txt").write_text("mine")
    with whole_folder(path) as part:
        (part / "a.txt").write_text("new")
    assert {f.name: f.read_text() for f in path.iterdir()} == {"a.txt": "new", "notes.txt": "mine"}


def test_an_exception_leaves_no_folder(tmp_path):
    with pytest.raises(KeyError), whole_folder(tmp_path / "report") as part:
        (part / "a.txt").write_text("a")
        raise KeyError
    assert names(tmp_path) == []


def test_an_exception_leaves_a_folder_as_it_was(tmp_path):
    for name in ("a.txt", "old.txt"):
        (tmp_path / name).write_text("old")
    with pytest.raises(KeyError), whole_folder(tmp_path, stale=["old.txt"]) as part:
        (part / "a.txt").write_text("new")
        raise KeyError
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"a.txt": "old", "old.txt": "old"}


def test_what_is_not_written_anew_goes(tmp_path):
    for name in ("a.txt", "old.txt", "notes.txt"):
        (tmp_path / name).write_text("old")
    with whole_folder(tmp_path, stale=["a.txt", "old.txt", "never.txt"]) as part:
        (part / "a.txt").write_text("new")
        assert (tmp_path / "old.txt").exists()
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"a.txt": "new", "notes.txt": "old"}


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    told = r"report cannot be written to: .*Choose another folder"
    with pytest.raises(OutputError, match=told), whole_folder(tmp_path / "file" / "report"):
        pass
    with pytest.raises(OutputError, match="No space left on device"), whole_folder(tmp_path / "report"):
        raise OSError(28, "No space left on device")
    with pytest.raises(SceneError, match="is damaged"), whole_folder(tmp_path / "report"):
        raise SceneError("a.tif is damaged")
    assert names(tmp_path) == ["file"]


def test_a_folder_is_tried_before_the_work(tmp_path, monkeypatch):
    words = {"files": ["b.txt", "a.txt"], "overwrite": False}
    assert check_folder(tmp_path / "new" / "report", "a report", **words) == tmp_path / "new" / "report"
    assert names(tmp_path) == []
    (tmp_path / "a.txt").touch()
    with pytest.raises(OutputError, match=r"holds a.txt already, which a report would replace\. .*--overwrite"):
        check_folder(tmp_path, "a report", **words)
    assert check_folder(tmp_path, "a report", **words | {"overwrite": True}) == tmp_path
    with pytest.raises(OutputError, match=r"a.txt is a file. Name a folder for a report"):
        check_folder(tmp_path / "a.txt" / "report", "a report", **words)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.F_OK and path == tmp_path)
    with pytest.raises(OutputError, match=r"report cannot be written to: no permission to write"):
        check_folder(tmp_path / "report", "a report", **words)


def test_lists_of_json_become_tuples():
    @dataclass(frozen=True)
    class Thing:
        name: str
        sides: tuple[int, ...]

    assert record(Thing, {"name": "roof", "sides": [1, 2]}) == Thing("roof", (1, 2))
    with pytest.raises(TypeError):
        record(Thing, {"name": "roof", "sides": [], "colour": "red"})

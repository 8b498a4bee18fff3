"""Of a run that is refused at its first step nothing is left; what is not its own stays."""

import shutil
from pathlib import Path

import pytest

from arraycnn.errors import InvalidValueError, RunFolderError
from arraycnn.storage.run_folder import RunFolder, read_config

EVENTS = "events.out.tfevents.1.host"


def refuse(path, meanwhile):
    folder = RunFolder.create(path, {"who": "first"})
    folder.metrics.write_text("{}\n")
    folder.events.mkdir()
    (folder.events / EVENTS).touch()
    meanwhile()
    with pytest.raises(InvalidValueError), folder, folder.beginning(lambda: 0):
        raise InvalidValueError


def names(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


def test_nothing_is_left(tmp_path):
    refuse(tmp_path / "a" / "run", lambda: None)
    assert names(tmp_path) == []


def test_a_later_run_at_the_same_place_is_left_alone(tmp_path):
    later = []

    def replace():
        shutil.rmtree(tmp_path / "run")
        later.append(RunFolder.create(tmp_path / "run", {"who": "second"}))
        later[0].metrics.write_text("{}\n")
        later[0].best.write_bytes(b"best")

    refuse(tmp_path / "run", replace)
    assert names(tmp_path / "run") == [".lock", "best.npz", "config.json", "metrics.jsonl"]
    assert read_config(tmp_path / "run") == {"who": "second"}
    later[0].close()


def test_a_file_that_came_to_the_place_is_left_alone(tmp_path):
    def replace():
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").write_text("mine")

    refuse(tmp_path / "run", replace)
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize("name", ["notes.txt", "tensorboard/notes.txt"])
def test_what_a_user_put_there_meanwhile_stays(tmp_path, name):
    refuse(tmp_path / "run", lambda: (tmp_path / "run" / name).write_text("mine"))
    assert names(tmp_path / "run") == ([name] if name == "notes.txt" else ["tensorboard", name])


def test_what_a_link_leads_to_stays(tmp_path):
    elsewhere, events = tmp_path / "elsewhere", tmp_path / "run" / "tensorboard"

    def link():
        events.rename(elsewhere)
        events.symlink_to(elsewhere)

    refuse(tmp_path / "run", link)
    assert names(elsewhere) == [EVENTS]


@pytest.mark.parametrize("make", [RunFolder.open, lambda path: RunFolder.create(path, {})])
@pytest.mark.parametrize("way", ["name", "permission"])
def test_a_path_that_cannot_be_looked_at_gets_a_remedy(tmp_path, monkeypatch, make, way):
    path = tmp_path / "closed" / "run"
    if way == "name":
        path = tmp_path / ("long" * 100)
    else:  # as to a user who may not enter the folder: the one who tests may be allowed all

        def denied(self, **_):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(RunFolderError, match=r"^run folder .*; [^\n]*$"):
        make(path)

"""Where results come from: the commit of a checkout, and the versions at work."""

import platform
import subprocess

import numpy as np
import pytest

from arraycnn.storage import provenance


@pytest.fixture
def checkout(tmp_path):
    """A package in a git repository of one commit, and a function that runs git there."""
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "module.py").write_text("x = 1\n")
    (tmp_path / "README").write_text("about\n")

    def git(*arguments):
        author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(tmp_path), *author, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    return package, git


def test_a_checkout_says_its_commit(checkout):
    package, git = checkout
    assert provenance.checked_out_commit(package / "module.py") == git("rev-parse", "HEAD")


def test_only_a_change_of_the_package_counts_as_one(checkout):
    package, git = checkout
    (package.parents[1] / "README").write_text("more\n")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "module.pyc").write_bytes(b"")
    assert provenance.checked_out_commit(package / "module.py") == git("rev-parse", "HEAD")
    (package / "module.py").write_text("x = 2\n")
    assert provenance.checked_out_commit(package / "module.py") == f"{git('rev-parse', 'HEAD')}+"


def test_a_repository_that_does_not_track_the_package_says_nothing(checkout):
    package, _ = checkout
    (package / "installed.py").write_text("x = 1\n")
    assert provenance.checked_out_commit(package / "installed.py") is None


def test_without_a_repository_or_git_nothing_is_said(checkout, tmp_path_factory, monkeypatch):
    package, _ = checkout
    alone = tmp_path_factory.mktemp("alone") / "module.py"
    alone.write_text("x = 1\n")
    assert provenance.checked_out_commit(alone) is None
    monkeypatch.setenv("PATH", str(alone.parent))
    assert provenance.checked_out_commit(package / "module.py") is None


def test_a_hook_of_another_repository_does_not_mislead(checkout, tmp_path_factory, monkeypatch):
    package, git = checkout
    other = tmp_path_factory.mktemp("other")
    subprocess.run(["git", "init", "--quiet", str(other)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    found = provenance.checked_out_commit(package / "module.py")
    monkeypatch.delenv("GIT_DIR")
    assert found == git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("recorded", "commit"),
    [
        ('{"url": "https://example.org/a.git", "vcs_info": {"commit_id": "abc"}}', "abc"),
        ('{"url": "file:///a", "dir_info": {"editable": true}}', "checkout"),
        ("no JSON", "checkout"),
        (None, "checkout"),
    ],
)
def test_an_installation_from_a_repository_says_its_commit(monkeypatch, recorded, commit):
    class Installed:
        def read_text(self, name):
            assert name == "direct_url.json"
            return recorded

    monkeypatch.setattr(provenance.metadata, "distribution", lambda name: Installed())
    monkeypatch.setattr(provenance, "checked_out_commit", lambda file: "checkout")
    assert provenance.source_commit() == commit


def test_versions_are_of_what_is_installed():
    found = provenance.versions("matplotlib", "no-such-package")
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert "arraycnn" in found
    assert "no-such-package" not in found

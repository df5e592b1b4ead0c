"""What an installation keeps beside its records."""

import json
import logging
import shutil
import stat
from pathlib import Path

import pytest

from modelyard.control import installation
from modelyard.domain.errors import Conflict, Unavailable
from modelyard.store import Database


def test_only_one_control_plane_may_have_a_data_directory(tmp_path: Path) -> None:
    second = installation.locked(tmp_path)
    with installation.locked(tmp_path), pytest.raises(Conflict, match=r"already runs .*--data-dir"), second:
        pytest.fail("a second one got in")
    with installation.locked(tmp_path):
        pass


def test_the_master_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    key = installation.master_key(tmp_path)
    assert len(key) == 32
    assert installation.master_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / "master-key").stat().st_mode) == 0o600


async def test_an_installation_has_one_identity_in_its_database_and_in_every_copy_of_it(
    tmp_path: Path,
) -> None:
    ids = iter(("first", "second", "third"))
    url = f"sqlite:///{tmp_path / 'one.db'}"
    for _ in range(2):
        database = await Database.open(url)
        assert await installation.identity(database, lambda: next(ids)) == "first"
        await database.close()
    one, other = await Database.open(url), await Database.open(f"sqlite:///{tmp_path / 'two.db'}")
    assert await installation.identity(one, lambda: next(ids)) == "first"
    assert await installation.identity(other, lambda: next(ids)) == "second"
    shutil.copy(tmp_path / "one.db", tmp_path / "restored.db")
    restored = await Database.open(f"sqlite:///{tmp_path / 'restored.db'}")
    assert await installation.identity(restored, lambda: next(ids)) == "first"
    for each in (one, other, restored):
        await each.close()


def test_sockets_go_where_their_paths_are_short_enough(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    chosen = installation.socket_directory(deep)
    assert len(str(chosen)) < 60
    assert chosen == installation.socket_directory(deep)
    assert stat.S_IMODE(chosen.stat().st_mode) == 0o700


def test_sockets_go_elsewhere_where_even_the_users_own_directory_is_too_deep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    for variable in ("XDG_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.setenv(variable, str(deep))
    monkeypatch.setattr(installation.tempfile, "tempdir", None)
    chosen = installation.socket_directory(deep)
    assert len(str(chosen)) < 60
    chosen.rmdir()


def test_sockets_do_not_go_where_somebody_has_laid_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp/" + tmp_path.name[-20:])  # short, and nobody else's
    chosen = installation.socket_directory(deep)
    chosen.rmdir()
    try:
        for target in (tmp_path, tmp_path / "nowhere"):
            chosen.symlink_to(target)
            with pytest.raises(Unavailable, match="belongs to somebody else"):
                installation.socket_directory(deep)
            chosen.unlink()
        chosen.write_text("")
        with pytest.raises(Unavailable, match="cannot be made: File exists; set XDG_RUNTIME_DIR"):
            installation.socket_directory(deep)
    finally:
        chosen.unlink()
        chosen.parent.rmdir()


def test_a_data_directory_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="--data-dir"):
        installation.prepare(tmp_path / "file" / "home")


def test_the_log_is_json_lines_with_what_was_given(tmp_path: Path) -> None:
    installation.prepare(tmp_path)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        installation.log_to(tmp_path)
        logging.getLogger("modelyard.test").warning("replica started", extra={"replica": "a-1"})
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:], root.level = before, level
    line = json.loads((tmp_path / "logs" / "control-plane.log").read_text())
    assert (line["event"], line["replica"], line["level"]) == ("replica started", "a-1", "warning")

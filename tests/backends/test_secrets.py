"""Secrets of a project where replicas are processes: files and variables of their own, and nothing else."""

from __future__ import annotations

import contextlib
import stat

import psutil

from modelyard.domain import mounts
from modelyard.domain.deployment import Phase
from modelyard.domain.program import Subject, program
from modelyard.domain.secret import SecretValues
from tests.backends import things
from tests.backends.conftest import LocalWorld
from tests.backends.contract import Shop
from tests.backends.test_keeper import KEY, SITE, said, spec

GIVEN = {
    "db": SecretValues(mark="m", values={"PASSWORD": b"hunter2"}),
    "keys": SecretValues(mark="m", values={"ca.crt": b"hunter3", "raw": b"\xff\0"}),
}
COMMAND = 'exec python -S "$MODELYARD_CONFIG_DIR"/site.py {{MODELYARD_PORT}} "{{URL}}"'
WANTED = spec(
    COMMAND,
    env={"URL": "pg:{{secret.db.PASSWORD}}@{{MODELYARD_PORT}}"},
    config=f"---site.py\n{SITE}---conf\n{{{{URL}}}}",
    mounts=mounts.parse("keys(secret):/keys"),
)


async def begun(shop: Shop, world: LocalWorld) -> str:
    """Start a replica, however its spec came to name the variable in its command; its port."""
    made = program(WANTED, Subject(name="web"))
    launch = things.launch("a", world.path, key=KEY, spec=WANTED, program=made, secrets=GIVEN)
    await shop.backend.start(launch)
    ready = (await shop.until(lambda seen: seen["a"].phase is Phase.READY, KEY))["a"]
    return ready.address.rpartition(":")[2]


async def test_a_replica_reads_them_as_variables_and_as_files(shop: Shop, world: LocalWorld) -> None:
    port = await begun(shop, world)
    script = (
        'echo "$URL"; cd "$MODELYARD_MOUNT_KEYS"/; cat ca.crt; echo; stat -c %a . ca.crt raw; '
        'cat "$MODELYARD_CONFIG_DIR"/conf'
    )
    shell = await shop.backend.exec(KEY, "a", ("sh", "-c", script))
    lines = (await said(shell)).decode()
    await shell.close()
    assert lines == f"pg:hunter2@{port}\nhunter3\n700\n600\n600\n{{{{URL}}}}"


async def test_they_stand_in_no_command_and_in_no_file_that_others_read(
    shop: Shop, world: LocalWorld
) -> None:
    await begun(shop, world)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    assert any("site.py" in line and "{{URL}}" in line for line in found)
    assert not any("hunter" in line for line in found)
    everything = [each for each in world.directory.rglob("*") if each.is_file() and not each.is_symlink()]
    holding = [each for each in everything if b"hunter" in each.read_bytes()]
    home = world.home("a", KEY)
    assert holding
    assert all(each.is_relative_to(home) for each in holding)
    assert {stat.S_IMODE(each.stat().st_mode) for each in holding} == {0o600}
    await shop.backend.kill(KEY, "a")
    assert not home.exists()

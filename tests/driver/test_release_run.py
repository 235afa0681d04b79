"""The command of a subscription: what it is told, how it may end, that nothing of it is left when it hangs."""

from __future__ import annotations

from pathlib import Path

from overlay.driver.release_run import activate, healthy


async def test_a_command_is_told_file_channel_and_revision(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = f'echo "$OVERLAY_CHANNEL $OVERLAY_REVISION $OVERLAY_RELEASE_FILE" > {out}'
    assert await activate(command, file=tmp_path / "r7", channel="app", revision=7) == ""
    assert out.read_text() == f"app 7 {tmp_path / 'r7'}\n"


async def test_how_it_failed_is_told_with_what_it_said_last(tmp_path: Path) -> None:
    assert await activate("echo one >&2; echo two >&2; exit 3", file=tmp_path, channel="app", revision=1) == "exit status 3: two"
    assert "exit status 127" in await activate("/nothing/there", file=tmp_path, channel="app", revision=1)


async def test_what_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    command = f"(while :; do date > {alive}; sleep 0.05; done) & sleep 60"
    assert "did not end within" in await activate(command, file=tmp_path, channel="app", revision=1, limit=0.5)
    alive.unlink(missing_ok=True)
    assert await healthy(f"test ! -e {alive}", limit=5) == ""


async def test_what_goes_on_in_the_background_keeps_nobody_waiting(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    assert await activate(f"sleep 60 & echo $! > {pid}", file=tmp_path, channel="app", revision=1, limit=10) == ""
    assert await healthy(f"kill $(cat {pid})", limit=5) == ""


async def test_health_is_waited_for_and_its_absence_told() -> None:
    assert (await healthy("exit 1", limit=0.2)).startswith("not well after 0.2 s: exit status 1")
    assert "does not answer" in await healthy("http://127.0.0.1:9/", limit=0.2)

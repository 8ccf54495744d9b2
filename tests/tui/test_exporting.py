"""Exporting beside the app: what is left when the app ends meanwhile."""

import asyncio
from pathlib import Path

import pytest

from engine.runs.durable import making_of
from tui.archive import exporting


def test_an_export_that_is_broken_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "out"
    unfinished = making_of(to, private=False)
    slow = tmp_path / "slow"
    slow.write_text(
        f"#!/bin/sh\nmkdir {unfinished}; echo half > {unfinished}/half; exec sleep 60\n"
    )
    slow.chmod(0o755)
    monkeypatch.setattr(exporting.sys, "executable", str(slow))

    async def broken_off() -> None:
        export = asyncio.ensure_future(
            exporting.export(tmp_path, "adapters", to, lambda line: None)
        )
        while not (unfinished / "half").exists():
            await asyncio.sleep(0.02)
        export.cancel()
        with pytest.raises(asyncio.CancelledError):
            await export

    asyncio.run(broken_off())
    assert list(tmp_path.iterdir()) == [slow]

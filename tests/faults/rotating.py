"""A process that rotates a vault's keys, to be killed: the database's URL, the keyring's path and the new key's id."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from nexus_hub.db.pool import Database
from nexus_hub.errors import RotationRunning
from nexus_hub.vault.keyring import KeyringFile
from nexus_hub.vault.rotation import Rotation


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def told(progress: dict[str, Any]) -> None:
    say(**progress)


async def main(url: str, keyring: str, new_key_id: str) -> None:
    async with Database(url, name="rotating") as database:
        rotation = Rotation(database, KeyringFile(Path(keyring)), batch=10)
        plan = await rotation.plan(None, new_key_id)
        while True:
            try:
                report = await rotation.run(plan, told)
            except RotationRunning:  # the server has not seen yet that the last one was killed
                await asyncio.sleep(0.1)
            else:
                say(updated=report.updated, errors=report.errors, promoted=report.promoted)
                return


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

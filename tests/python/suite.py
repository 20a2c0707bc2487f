"""Runs tests: every `async def test_…` of the modules named, each on a loop of its own.

    suite.py BINARY GENERATED WORK DOOR MODULE...
"""

import asyncio
import gc
import importlib
import inspect
import pathlib
import sys
import time
import traceback

import capnp

import carrack
from place import PATIENCE, Place
from server import Server


def main(binary, generated, work, door, *modules):
    passed = failed = 0
    with Server(binary, pathlib.Path(work) / "data") as server:
        place = Place(binary, generated, work, server, *door_of(server, door))
        asyncio.run(capnp.run(prepare(place)))
        for module in modules:
            for name, test in inspect.getmembers(importlib.import_module(module), inspect.iscoroutinefunction):
                if name.startswith("test_"):
                    good = run(f"{door}: {module}.{name}", test, place)
                    passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if passed and not failed else 1


async def prepare(place):
    async with carrack.connect(place.server.unix) as gate:
        importer = gate.login("").session.importer().importer
        for car in (place.car, place.big_car):
            answer = await carrack.upload(importer, car)
            assert answer.result.which() == "imported", answer.result


def door_of(server, door):
    """The address and what to say there. On the store's own socket one needs no token; TCP asks for one."""
    if door == "unix":
        return server.unix, ""
    token = server.command(
        *("grant", "create", "--label", "python", "--repos", "all", "--collections", "all"),
        *("--may", "all", "--expires", "1h"),
    )
    return server.tcp, token.strip().splitlines()[-1]


def run(name, test, place):
    started = time.monotonic()
    try:
        asyncio.run(capnp.run(asyncio.wait_for(test(place), PATIENCE)))
        outcome = "ok"
    except Exception:
        traceback.print_exc()
        outcome = "FAILED"
    gc.collect()
    print(f"{outcome:6} {name} ({time.monotonic() - started:.2f} s)", flush=True)
    return outcome == "ok"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

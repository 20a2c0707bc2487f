"""Where tests run: a server of their own, a repository in it, and how to get there."""

import asyncio
import contextlib
import gc
import itertools
import json
import pathlib

import carrack
from server import Server

# Catches a hang. Nothing else depends on it.
PATIENCE = 120


class Place:
    def __init__(self, binary, generated, work, server, address, credential):
        self.binary, self.work, self.server = binary, pathlib.Path(work), server
        self.address, self.credential = address, credential
        # What the project's own generator wrote: signed repositories, in the order that exports have.
        generated = pathlib.Path(generated)
        self.car, self.big_car = ((generated / f"{name}.pre.car").read_bytes() for name in ("repo", "big"))
        self.did_document = (generated / "repo.did.json").read_bytes()
        self.did = json.loads(self.did_document)["id"]
        self.big_did = json.loads((generated / "big.did.json").read_bytes())["id"]
        lines = (generated / "repo.records.tsv").read_text().splitlines()
        self.records = dict(line.split("\t") for line in lines)
        self.folders = itertools.count()

    @contextlib.asynccontextmanager
    async def session(self):
        """A session on a connection of its own."""
        async with carrack.connect(self.address) as gate:
            yield gate.login(self.credential).session

    @contextlib.asynccontextmanager
    async def repo(self):
        """The generated repository."""
        async with self.session() as session:
            yield session.store().store.repo(self.did).repo

    def another_server(self, *options):
        """A server for a test that ends it, fills it or damages its files."""
        return Server(self.binary, self.work / f"data-{next(self.folders)}", options)


def task(promise):
    """A call as a task. Cancelling the task drops the call, and the server hears of it."""

    async def wait():
        return await promise

    return asyncio.ensure_future(wait())


async def happens(event, during):
    """Waits for an event that comes while a call is under way."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({waiting, during}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not event.is_set():
        raise AssertionError(f"the call ended before: {await during}")


async def dropped(call):
    """Cancels a call and forgets it."""
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def eventually(what, condition):
    """Waits for something that the other side brings about."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"never: {what}"
        await asyncio.sleep(0.01)


async def released(reference):
    """Waits until the server has let go of an object of ours that nobody here holds any more: a weak reference to it."""

    def gone():
        gc.collect()
        return reference() is None

    await eventually("the server lets go of it", gone)


@contextlib.contextmanager
def fails(kind, code):
    """Expects a fault of this kind and code."""
    try:
        with carrack.faults():
            yield
    except carrack.Fault as fault:
        assert fault.kind == kind and code in (None, fault.code), f"{kind} {code} was expected, this came: {fault}"
        assert fault.words, "a fault without words"
        return
    raise AssertionError(f"{kind} {code} was expected, and nothing failed")

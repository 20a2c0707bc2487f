"""A small client: how to load the schema, connect, log in, and read an error.

Everything else is what the schema says, called as it stands there.
"""

import contextlib
import os
import pathlib

import capnp

# pycapnp would let `import store_capnp` find schemas on sys.path; to load them by hand is plainer.
capnp.remove_import_hook()

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "schema" / "capnp"

# `-> stream` needs /capnp/stream.capnp. pycapnp brings it inside its package, and does not look there by itself: without
# this path, loading ends the process.
IMPORTS = [os.path.dirname(os.path.dirname(capnp.__file__))]


def load(name, folder=SCHEMAS, parser=None):
    """Loads a schema. What it imports from others is loaded with it, but has its names in the other's module only."""
    loading = parser.load if parser else capnp.load
    return loading(str(pathlib.Path(folder) / name), imports=IMPORTS)


store = load("store.capnp")
record = load("record.capnp")
grant = load("grant.capnp")
query = load("query.capnp")


@contextlib.asynccontextmanager
async def connect(address):
    """Connects to `unix:PATH` or `IP:PORT` and gives the Gate. Leaving the block closes the connection."""
    if address.startswith("unix:"):
        stream = await capnp.AsyncIoStream.create_unix_connection(address[len("unix:") :])
    else:
        host, port = address.rsplit(":", 1)
        stream = await capnp.AsyncIoStream.create_connection(host.strip("[]"), int(port))
    client = capnp.TwoPartyClient(stream)
    try:
        yield client.bootstrap().cast_as(store.Gate)
    finally:
        client.close()
        stream.close()


class Fault(Exception):
    """An exception of the store's: `kind` says how to react, `code` what it is, `words` are for people."""

    KINDS = {
        "FAILED": "do not repeat it",
        "OVERLOADED": "wait, then repeat it",
        "DISCONNECTED": "connect anew, then repeat it if it may be done twice",
        "UNIMPLEMENTED": "the server is older than the method: take another way",
    }

    def __init__(self, error):
        self.kind = error.type
        # pycapnp puts this in front of what comes from the other side.
        text = error.description.removeprefix("remote exception: ")
        code, colon, words = text.partition(": ")
        # Text without a code comes from the library, not from the store.
        known = colon and code.isalpha() and code[0].islower()
        self.code, self.words = (code, words) if known else ("", text)
        super().__init__(f"{text} ({self.kind}: {self.KINDS.get(self.kind, '?')})")


@contextlib.contextmanager
def faults():
    """Turns the library's exceptions into `Fault`s."""
    try:
        yield
    except capnp.KjException as error:
        raise Fault(error) from error


async def pages(listing, want, range=None, limit=0):
    """Goes through a listing (`repo.list` or `collection.list`) page by page, following its cursor."""
    cursor = b""
    while True:
        answer = await listing(range or {}, want, {"cursor": cursor, "limit": limit})
        if answer.which() == "absent":
            raise LookupError(str(answer.absent))
        for found in answer.page.records:
            yield found
        cursor = answer.page.next
        if not cursor:
            return


CHUNK_BYTES = 128 << 10


async def upload(importer, car, progress=None, **options):
    """Streams a CAR in and gives the answer of `done`: `result`, a union, and `repo`, to go on with."""
    sink = importer.importCar(options, progress).sink if progress else importer.importCar(options).sink
    # Not awaited: calls on one object arrive in the order they were made in.
    expected = sink.expectSize(len(car))
    for start in range(0, len(car), CHUNK_BYTES):
        # Waits while the window is full, which is how a slow store holds a fast client back.
        await sink.write(car[start : start + CHUNK_BYTES])
    answer = await sink.done()
    await expected
    return answer

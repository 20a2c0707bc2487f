"""A proxy that writes down which calls pass, and can hold the answers back.

Promise pipelining shows on the wire: all calls of a chain have gone out before the first answer has come in. Held answers prove
it without a clock: if any hop waited for one, the calls after it would never pass.
"""

import asyncio
import os

import capnp

import carrack

rpc = capnp.load(os.path.join(os.path.dirname(capnp.__file__), "rpc.capnp"), imports=carrack.IMPORTS)


def method_names(*modules):
    """Names of the methods by interface and number."""
    names = {}
    for module in modules:
        for name, found in vars(module).items():
            node = getattr(getattr(found, "schema", None), "node", None)
            if node is not None and node.which() == "interface":
                for number, method in enumerate(node.interface.methods):
                    names[node.id, number] = f"{name}.{method.name}"
    return names


METHODS = method_names(carrack.store, carrack.grant)


class Recorder:
    """Listens on a socket in `folder` and passes on what comes to `address`.

    `log` holds what passed: calls by name, "bootstrap", and "answer" for what came back.
    """

    def __init__(self, address, folder, answers_after=0):
        self.target = address
        self.path = os.path.join(folder, f"recorder-{id(self):x}.sock")
        self.address = f"unix:{self.path}"
        self.answers_after = answers_after
        self.log, self.connections = [], []
        self.released = asyncio.Event()

    async def __aenter__(self):
        self.server = await asyncio.start_unix_server(self.accept, self.path)
        return self

    async def __aexit__(self, *_):
        self.server.close()
        os.unlink(self.path)
        for connection in self.connections:
            connection.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    def accept(self, reader, writer):
        self.connections.append(asyncio.ensure_future(self.serve(reader, writer)))

    def calls(self):
        return [entry for entry in self.log if entry not in ("answer", "bootstrap")]

    def flights(self):
        """How often calls went out after an answer had come in, and the first ones."""
        behind = ["answer"] + self.log
        return sum(1 for before, entry in zip(behind, self.log) if before == "answer" and entry != "answer")

    async def serve(self, reader, writer):
        if self.target.startswith("unix:"):
            to_reader, to_writer = await asyncio.open_unix_connection(self.target[len("unix:") :])
        else:
            to_reader, to_writer = await asyncio.open_connection(*self.target.rsplit(":", 1))
        try:
            await asyncio.gather(self.requests(reader, to_writer), self.answers(to_reader, writer))
        finally:
            to_writer.close()
            writer.close()

    async def requests(self, reader, writer):
        while frame := await read_frame(reader):
            with rpc.Message.from_bytes(frame, traversal_limit_in_words=1 << 40) as message:
                kind = message.which()
                if kind == "bootstrap":
                    self.log.append("bootstrap")
                elif kind == "call":
                    self.log.append(METHODS[message.call.interfaceId, message.call.methodId])
            if len(self.calls()) >= self.answers_after:
                self.released.set()
            writer.write(frame)
            await writer.drain()
        writer.write_eof()

    async def answers(self, reader, writer):
        await self.released.wait()
        while frame := await read_frame(reader):
            self.log.append("answer")
            writer.write(frame)
            await writer.drain()
        writer.write_eof()


async def read_frame(reader):
    """Reads one message: how many segments, their lengths in words, padding to a word, the segments. None at the end."""
    try:
        start = await reader.readexactly(4)
        segments = int.from_bytes(start, "little") + 1
        sizes = await reader.readexactly(4 * segments + (4 if segments % 2 == 0 else 0))
        words = sum(int.from_bytes(sizes[4 * i : 4 * i + 4], "little") for i in range(segments))
        return start + sizes + await reader.readexactly(8 * words)
    except asyncio.IncompleteReadError:
        return None

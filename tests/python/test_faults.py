"""The four kinds of exceptions, hostile arguments, and peers of another age."""

import asyncio
import pathlib

import capnp

import carrack
from place import fails


async def test_failed_is_for_what_would_fail_again(place):
    async with place.session() as session:
        with fails("FAILED", "invalidArgument"):
            await session.store().store.repo("not a name").repo.info()
        with fails("FAILED", "invalidArgument"):
            await session.store().store.repo(place.did).repo.record("no slash").record.read({})
        with fails("FAILED", "limitExceeded"):
            want = {"form": "value", "fields": [f"field{i}" for i in range(1000)]}
            await session.store().store.repo(place.did).repo.list({}, want, {})
        with fails("FAILED", "limitExceeded"):
            longest = (await session.about()).about.chunkBytesMax
            # A stream's fault may come with a later call on it.
            sink = session.importer().importer.importCar({}).sink
            await sink.write(bytes(longest + 1))
            await sink.done()
        # The connection has come to no harm.
        assert (await session.about()).about.version


async def test_disconnected_is_for_what_is_gone(place):
    with place.another_server() as server:
        async with carrack.connect(server.unix) as gate:
            session = gate.login("").session
            assert (await session.about()).about.version
            # A call under way: the sink's import waits for bytes.
            sink = session.importer().importer.importCar({}).sink
            await sink.write(place.car[:1000])
            server.kill()
            with fails("DISCONNECTED", ""):
                await sink.done()
            with fails("DISCONNECTED", ""):
                await session.about()


async def test_unimplemented_is_for_an_older_server(place):
    newer = newer_schema(place.work)
    stream = await connect_with(newer, place.address)
    gate = stream.bootstrap().cast_as(newer.Gate)
    session = gate.login(place.credential).session
    with fails("UNIMPLEMENTED", ""):
        await session.tomorrow("anything")
    # A parameter that the server does not know is not seen, and what it does know works.
    assert (await session.about(verbose=True)).about.version
    # What it would have to understand is refused.
    repo = session.store().store.repo(place.did).repo
    with fails("FAILED", "invalidArgument"):
        await repo.list({}, {"form": "poetry"}, {})
    # An answer has nothing where the server knows nothing.
    about = (await session.about()).about
    assert about.mood == ""
    stream.close()


async def test_a_peer_of_another_age_is_read(place):
    newer = newer_schema(place.work)
    message = newer.InfoResult.new_message()
    message.tomorrow = "an outcome of tomorrow"
    read = carrack.store.InfoResult.from_bytes_packed(message.to_bytes_packed())
    # An arm without a name: asking for it fails, and the arms that have names are not it.
    try:
        raise AssertionError(read.which())
    except capnp.KjException:
        pass
    message = newer.Change.new_message(kind="tomorrow", did="did:web:example.com")
    read = carrack.store.Change.from_bytes_packed(message.to_bytes_packed())
    # A number without a name: `raw` is the number, and the name is not to be asked for.
    assert read.kind.raw == len(carrack.store.Change.Kind.schema.enumerants)
    assert read.did == "did:web:example.com"
    # And the other way: what the older one did not write is nothing.
    older = carrack.store.About.new_message(version="0.1.0")
    read = newer.About.from_bytes_packed(older.to_bytes_packed())
    assert (read.version, read.mood) == ("0.1.0", "")


async def test_a_message_that_is_too_long_ends_its_connection_only(place):
    async with carrack.connect(place.address) as gate:
        session = gate.login(place.credential).session
        longest = (await session.about()).about.messageBytesMax
        # The server says why before it hangs up; a socket that is closed already may be met first.
        with fails("DISCONNECTED", None):
            await gate.login("x" * (longest + 8))
        with fails("DISCONNECTED", None):
            await session.about()
    async with place.session() as session:
        assert (await session.about()).about.messageBytesMax == longest


async def test_bytes_that_are_no_message_end_their_connection_only(place):
    for bytes_ in [b"GET / HTTP/1.1\r\n\r\n" * 8, b"\xff" * 64, bytes(64)]:
        if place.address.startswith("unix:"):
            reader, writer = await asyncio.open_unix_connection(place.address[len("unix:") :])
        else:
            reader, writer = await asyncio.open_connection(*place.address.rsplit(":", 1))
        writer.write(bytes_)
        writer.write_eof()
        # Whatever it answers, it closes.
        try:
            await reader.read()
        except ConnectionError:
            pass
        writer.close()
    async with place.session() as session:
        assert (await session.about()).about.version


def newer_schema(work):
    """Today's schema and what a later release might append to it."""
    additions = {
        "store.capnp": [
            ("  usage @5 () -> (usage :Grant.Usage);", "  tomorrow @6 (what :Text) -> (answer :Text);"),
            ("  grant @13 :Text;", "  mood @14 :Text;"),
            ("    info @1 :RepoInfo;", "    tomorrow @2 :Text;"),
            ("    status @4; ", "    tomorrow @5;"),
        ],
        "record.capnp": [("    dagCbor @2;", "    poetry @3;")],
    }
    folder = pathlib.Path(work) / "newer"
    folder.mkdir(exist_ok=True)
    for schema in carrack.SCHEMAS.glob("*.capnp"):
        text = schema.read_text()
        for after, added in additions.get(schema.name, []):
            lines = text.split("\n")
            at = next(number for number, line in enumerate(lines) if line.startswith(after))
            lines.insert(at, added)
            text = "\n".join(lines)
        text = text.replace("about @0 ()", "about @0 (verbose :Bool)")
        (folder / schema.name).write_text(text)
    # Ids are today's, so it needs a parser that has not met them.
    return carrack.load("store.capnp", folder, capnp.SchemaParser())


async def connect_with(schema, address):
    if address.startswith("unix:"):
        return capnp.TwoPartyClient(await capnp.AsyncIoStream.create_unix_connection(address[len("unix:") :]))
    host, port = address.rsplit(":", 1)
    return capnp.TwoPartyClient(await capnp.AsyncIoStream.create_connection(host, int(port)))

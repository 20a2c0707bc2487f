"""Revisions, scans, watches, threads and what a session has used."""

import asyncio
import weakref

import blocks
import carrack
import values
from place import dropped, eventually, fails, happens, released, task
from recorder import Recorder

NOTES = "com.example.note"
POSTS = "app.bsky.feed.post"
VALUE = {"form": "value"}
BYTES = {"form": "dagCbor", "cid": True}


async def imported(session, car, **options):
    answer = await carrack.upload(session.importer().importer, car, **options)
    assert answer.result.which() in ("imported", "unchanged"), answer.result
    return answer


async def test_what_comes_after_an_import_rides_along(place):
    did, key = "did:plc:ride2ride2ride2ride2ride", next(blocks.ground_keys(NOTES))
    car = blocks.small_repo(did, {f"{NOTES}/{key}": {"text": "hello"}})
    # The import, and a read of what it will have brought: nothing has been answered when all of it is on the way.
    async with Recorder(place.address, place.work, answers_after=7) as recorder:
        async with carrack.connect(recorder.address) as gate:
            sink = gate.login(place.credential).session.importer().importer.importCar({}).sink
            written, done = sink.write(car), sink.done()
            read = done.repo.collection(NOTES).collection.record(key).record.read(VALUE)
            answer = await read
            assert values.to_python(answer.found.record.value) == {"text": "hello"}
            assert answer.found.source.did == did
            await written
            assert (await done).result.which() in ("imported", "unchanged")
    assert recorder.flights() == 1, recorder.log


async def test_the_repo_of_a_refused_import_leads_nowhere(place):
    async with place.session() as session:
        answer = await carrack.upload(session.importer().importer, place.car[:-5])
        assert answer.result.which() == "rejected"
        try:
            with carrack.faults():
                await answer.repo.info()
        except carrack.Fault as fault:
            assert fault.kind == "FAILED", fault
        else:
            raise AssertionError("a repository that was refused")


async def test_a_revision_can_be_pinned(place):
    did, key = "did:plc:revs2revs2revs2revs2revs", next(blocks.ground_keys(NOTES))
    revs = ["3kxjewfv2ep2b", "3kxjewfv2ep2c"]
    async with place.session() as session:
        for rev in revs:
            await imported(session, blocks.small_repo(did, {f"{NOTES}/{key}": {"rev": rev}}, rev))
        repo = session.store().store.repo(did).repo
        for rev in revs:
            found = (await repo.at(rev).repo.record(f"{NOTES}/{key}").record.read(VALUE)).found
            assert found.source.rev == rev and values.to_python(found.record.value) == {"rev": rev}
        with fails("FAILED", "revNotRetained"):
            await repo.at("3aaaaaaaaaa2b").repo.info()


class Records(carrack.store.RecordSink.Server):
    def __init__(self):
        self.records, self.is_done = {}, False
        self.was_written, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_answer.set()

    async def write(self, records, **_):
        for found in records:
            self.records[f"{found.collection}/{found.rkey}"] = bytes(found.dagCbor)
        self.was_written.set()
        await self.may_answer.wait()

    async def done(self, **_):
        self.is_done = True


async def test_a_scan_pushes_everything(place):
    async with place.session() as session:
        repo = session.store().store.repo(place.did).repo
        sink = Records()
        scanned = (await repo.scan({}, BYTES, sink)).scanned
        assert sink.is_done and scanned.records == len(place.records)
        assert {path: values.cid_text(blocks.cid_of(block)) for path, block in sink.records.items()} == place.records
        assert list(sink.records) == sorted(sink.records)
        # Of one collection, the name of which is not repeated.
        sink = Records()
        scanned = (await repo.collection(POSTS).collection.scan({"reverse": True}, BYTES, sink)).scanned
        assert scanned.records == sum(path.startswith(f"{POSTS}/") for path in place.records)
        assert (await session.store().store.repo("did:web:example.com").repo.scan({}, BYTES, sink)).absent == "repo"


async def test_a_scan_that_is_dropped_stops(place):
    async with place.session() as session:
        repo = session.store().store.repo(place.big_did).repo
        total = (await repo.info()).info.records
        sink = Records()
        sink.may_answer.clear()
        alive, was_written, may_answer, records = weakref.ref(sink), sink.was_written, sink.may_answer, sink.records
        scanning = task(repo.scan({}, BYTES, sink))
        del sink
        await happens(was_written, scanning)
        await dropped(scanning)
        del scanning
        may_answer.set()
        await released(alive)
        assert 0 < len(records) < total
        assert (await repo.info()).which() == "info"


class Listener(carrack.store.Listener.Server):
    def __init__(self):
        self.changes = []

    async def changed(self, changes, missed, **_):
        self.changes += [(change.did, str(change.kind), change.rev) for change in changes]


async def test_a_watch_tells_of_changes(place):
    did, key = "did:plc:news2news2news2news2news", next(blocks.ground_keys(NOTES))
    async with place.session() as session:
        store = session.store().store
        listener = Listener()
        alive, changes = weakref.ref(listener), listener.changes
        watch = (await store.watch({"only": [did]}, listener)).watch
        del listener
        await imported(session, blocks.small_repo(did, {f"{NOTES}/{key}": {"text": "news"}}))
        await eventually("the import is told", lambda: (did, "imported", "3kxjewfv2ep2b") in changes)
        # Not of what was not asked for.
        other = "did:plc:else2else2else2else2else"
        await imported(session, blocks.small_repo(other, {f"{NOTES}/{key}": {"text": "elsewhere"}}))
        keeper = session.keeper().keeper
        await keeper.delete(did, f"{NOTES}/{key}", False)
        await eventually("the deletion is told", lambda: (did, "recordDeleted") in [change[:2] for change in changes])
        await keeper.delete(did, "", False)
        await eventually("the end is told", lambda: (did, "repoDeleted", "") in changes)
        assert {change[0] for change in changes} == {did}
        del watch
        # A watch that is dropped lets go of its listener.
        await released(alive)


def thread(did, outside):
    """A post, an answer to it, an answer to that; and one that answers a post elsewhere. Keys in that order."""
    keys = [key for key, _ in zip(blocks.ground_keys(POSTS), range(4))]
    uris = [f"at://{did}/{POSTS}/{key}" for key in keys]

    def post(number, parent=None, root=None):
        reply = {"reply": {"parent": reference(parent), "root": reference(root)}} if parent else {}
        return {"$type": POSTS, "text": f"post {number}", "createdAt": "2026-01-01T00:00:00Z", **reply}

    def reference(uri):
        return {"uri": uri, "cid": values.cid_text(blocks.cid_of(uri.encode()))}

    posts = [post(0), post(1, uris[0], uris[0]), post(2, uris[1], uris[0]), post(3, outside, outside)]
    return keys, uris, {f"{POSTS}/{key}": value for key, value in zip(keys, posts)}


async def test_ancestors_are_read_from_below(place):
    did = "did:plc:talk2talk2talk2talk2talk"
    outside = "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3kxjewfv2ep2b"
    keys, uris, posts = thread(did, outside)
    async with place.session() as session:
        await imported(session, blocks.small_repo(did, posts))
        store = session.store().store

        async def above(uri, max=0):
            found = (await store.ancestors(uri, max, VALUE)).ancestors
            texts = [values.to_python(node.record.value)["text"] for node in found.nodes]
            return texts, str(found.end), found.missing

        assert await above(uris[2]) == (["post 1", "post 0"], "root", "")
        assert await above(uris[2], 1) == (["post 1"], "max", "")
        assert await above(uris[0]) == ([], "root", "")
        assert await above(uris[3]) == ([], "missing", outside)
        assert (await above(f"at://{did}/{POSTS}/nothing"))[1] == "absent"


async def test_the_store_can_be_asked_to_verify(place):
    async with place.session() as session:
        path = next(iter(place.records))
        repo = session.store().store.repo(place.did).repo
        verified = (await repo.record(path).record.verify()).verified
        assert verified.present and values.cid_text(verified.cid) == place.records[path] and verified.nodes >= 1
        verified = (await repo.record(f"{POSTS}/nothing").record.verify()).verified
        assert not verified.present and not verified.cid

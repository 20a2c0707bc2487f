"""Finding and reading records."""

import blocks
import carrack
import values
from place import fails
from recorder import Recorder

POSTS = "app.bsky.feed.post"
VALUE = {"form": "value"}
BYTES = {"form": "dagCbor", "cid": True}


async def test_about_says_what_the_server_is(place):
    async with place.session() as session:
        about = (await session.about()).about
        assert about.version.count(".") == 2
        # What a client should know before its first upload.
        assert about.messageBytesMax > about.chunkBytesMax >= carrack.CHUNK_BYTES
        assert about.listRecordsMax > 0 and about.listBytesMax > 0


async def test_a_chain_is_one_flight(place):
    path = next(path for path in place.records if path.startswith(POSTS))
    # No answer comes before all six calls have gone out, so a client that waited for any would wait for good.
    async with Recorder(place.address, place.work, answers_after=6) as recorder:
        async with carrack.connect(recorder.address) as gate:
            session = gate.login(place.credential).session
            collection = session.store().store.repo(place.did).repo.collection(POSTS).collection
            answer = await collection.record(path.split("/")[1]).record.read(VALUE)
            assert answer.which() == "found"
            assert values.to_python(answer.found.record.value)["$type"] == POSTS
    hops = ["Gate.login", "Session.store", "Store.repo", "Repo.collection", "Collection.record"]
    assert recorder.calls() == [*hops, "RecordCap.read"]
    assert recorder.flights() == 1, recorder.log


async def test_a_chain_that_waits_at_each_hop_is_six_flights(place):
    # The same calls, written the way that costs a round trip each: what the test above must be able to see.
    path = next(path for path in place.records if path.startswith(POSTS))
    async with Recorder(place.address, place.work, answers_after=1) as recorder:
        async with carrack.connect(recorder.address) as gate:
            session = (await gate.login(place.credential)).session
            store = (await session.store()).store
            repo = (await store.repo(place.did)).repo
            collection = (await repo.collection(POSTS)).collection
            record = (await collection.record(path.split("/")[1])).record
            assert (await record.read(VALUE)).which() == "found"
    assert len(recorder.calls()) == 6
    assert recorder.flights() == 6, recorder.log


async def test_every_record_is_what_its_bytes_say(place):
    async with place.repo() as repo:
        exact = {f"{r.collection}/{r.rkey}": (r.cid, r.dagCbor) async for r in carrack.pages(repo.list, BYTES)}
        assert {path: values.cid_text(cid) for path, (cid, _) in exact.items()} == place.records
        for path, (cid, block) in exact.items():
            assert cid == blocks.cid_of(block), path
        seen = 0
        async for found in carrack.pages(repo.list, VALUE, limit=1000):
            path = f"{found.collection}/{found.rkey}"
            assert found.which() == "value", path
            value = values.to_python(found.value)
            assert value == blocks.decode(exact[path][1]), path
            # Maps come in the order that their bytes have.
            assert blocks.encode(value) == exact[path][1], path
            seen += 1
        assert seen == len(place.records)


async def test_the_deepest_record_is_read_with_default_options(place):
    def nested(levels):
        """Maps and lists in turn, so many of them around one number."""
        value = 7
        for level in range(levels):
            value = [value] if level % 2 else {"below": value}
        return value

    did = "did:plc:deep2deep2deep2deep2deep"
    # The record's own map is the first level. One level more is against the data model: its bytes are kept all the same.
    deep, deeper = ({"$type": "com.example.deep", "tree": nested(levels)} for levels in (31, 32))
    keys = blocks.ground_keys("com.example.deep")
    first, second = next(keys), next(keys)
    records = {f"com.example.deep/{first}": deep, f"com.example.deep/{second}": deeper}
    async with place.session() as session:
        answer = await carrack.upload(session.importer().importer, blocks.small_repo(did, records))
        assert answer.result.which() in ("imported", "unchanged"), answer.result
        collection = session.store().store.repo(did).repo.collection("com.example.deep").collection
        read = await collection.record(first).record.read(VALUE)
        assert values.to_python(read.found.record.value) == deep
        read = await collection.record(second).record.read(VALUE)
        assert read.found.record.which() == "undecodable", read.found.record
        read = await collection.record(second).record.read(BYTES)
        assert blocks.decode(read.found.record.dagCbor) == deeper


async def test_fields_are_read_without_the_rest(place):
    want = {"form": "value", "fields": ["text", "reply.root.uri"]}
    async with place.repo() as repo:
        answers = 0
        async for found in carrack.pages(repo.collection(POSTS).collection.list, want):
            value = values.to_python(found.value)
            assert set(value) <= {"text", "reply"}, value
            assert not found.collection and not found.cid, "what was not asked for"
            if "reply" in value:
                assert list(value["reply"]) == ["root"] and list(value["reply"]["root"]) == ["uri"], value
                answers += 1
        assert answers


async def test_a_listing_goes_on_at_its_cursor(place):
    keys = sorted(path.split("/")[1] for path in place.records if path.startswith(f"{POSTS}/"))
    want = {"form": "none"}
    async with place.session() as session:
        repo = session.store().store.repo(place.did).repo
        posts = repo.collection(POSTS).collection

        async def listed(range, limit):
            return [found.rkey async for found in carrack.pages(posts.list, want, range, limit)]

        assert await listed({}, 7) == keys
        assert await listed({"reverse": True}, 1000) == keys[::-1]
        assert await listed({"from": keys[3], "before": keys[9]}, 4) == keys[3:9]
        longest = (await repo.list({}, want, {"limit": 1_000_000})).page
        assert len(longest.records) == (await session.about()).about.listRecordsMax
        first = (await posts.list({}, want, {"limit": 2})).page
        with fails("FAILED", "invalidArgument"):
            # A cursor is of the listing that gave it.
            await posts.list({"reverse": True}, want, {"cursor": first.next})
        with fails("FAILED", "invalidArgument"):
            await posts.list({}, want, {"cursor": b"x" + first.next[1:]})


async def test_a_miss_says_which_hop_was_missing(place):
    async with place.session() as session:
        store = session.store().store
        repo = store.repo(place.did).repo
        read = await store.repo("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa").repo.record(f"{POSTS}/self").record.read(VALUE)
        assert (read.which(), read.absent) == ("absent", "repo")
        read = await repo.record("com.example.nothing/self").record.read(VALUE)
        assert (read.which(), read.absent) == ("absent", "collection")
        read = await repo.record(f"{POSTS}/nothing").record.read(VALUE)
        assert (read.which(), read.absent) == ("absent", "record")
        listed = await repo.collection("com.example.nothing").collection.list({}, VALUE, {})
        assert (listed.which(), listed.absent) == ("absent", "collection")


async def test_what_is_held_can_be_looked_over(place):
    async with place.session() as session:
        store = session.store().store
        repos = {info.source.did: info for info in (await store.repos()).repos}
        assert repos[place.did].records == len(place.records)
        info = (await store.repo(place.did).repo.info()).info
        assert info.source.rev == repos[place.did].source.rev
        assert info.bytesIn == len(place.car)
        # Nobody gave a DID document when it was imported.
        assert info.source.verdict.outcome == "unchecked"
        found = (await store.repo(place.did).repo.collections()).found
        counted = {}
        for path in place.records:
            nsid = path.split("/")[0]
            counted[nsid] = counted.get(nsid, 0) + 1
        assert {c.nsid: c.records for c in found.collections} == counted
        stats = (await store.stats()).stats
        assert stats.repos >= 1 and stats.bytesSegments > 0


async def test_a_proof_leads_from_the_commit_to_the_record(place):
    async with place.repo() as repo:
        for path, present in [(next(iter(place.records)), True), (f"{POSTS}/nothing", False)]:
            answer = await repo.record(path).record.prove()
            proof = answer.proof
            assert proof.present is present
            root, held = blocks.read_car(proof.car)
            assert root == proof.source.commit
            commit = blocks.decode(held[root])
            assert commit["did"] == place.did and commit["rev"] == proof.source.rev
            cid = blocks.find(held, commit["data"].cid, path)
            if present:
                assert values.cid_text(cid) == place.records[path] and cid in held
            else:
                assert cid is None

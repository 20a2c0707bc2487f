"""Bytes in, bytes out, and what becomes of a stream that is let go."""

import asyncio
import gc
import weakref

import blocks
import carrack
from place import dropped, happens, released, task


class Progress(carrack.store.Progress.Server):
    """Called by the server while it imports. An answer that takes its time holds nothing back."""

    def __init__(self):
        self.reports = []

    async def report(self, phase, done, total, **_):
        self.reports.append((str(phase), done, total))


class Bytes(carrack.store.ByteSink.Server):
    """Keeps what an export pushes."""

    def __init__(self):
        self.car, self.is_done = bytearray(), False

    async def write(self, bytes, **_):
        assert not self.is_done
        self.car += bytes

    async def done(self, **_):
        self.is_done = True


class Slow(Bytes):
    """Says that it took the first bytes when it is told to."""

    def __init__(self):
        super().__init__()
        self.was_written, self.may_answer = asyncio.Event(), asyncio.Event()

    async def write(self, bytes, **_):
        await super().write(bytes)
        self.was_written.set()
        await self.may_answer.wait()


async def test_an_import_tells_how_far_it_is(place):
    with place.another_server() as server:
        async with carrack.connect(server.unix) as gate:
            progress = Progress()
            importer = gate.login("").session.importer().importer
            options = {"did": place.did, "didDocument": place.did_document, "requireSignature": True}
            answer = await carrack.upload(importer, place.car, progress, **options)
            report = answer.result.imported
            assert answer.result.which() == "imported"
            assert report.info.records == len(place.records)
            assert report.info.source.verdict.outcome == "valid"
            assert report.info.source.verdict.key.startswith("did:key:z")
            assert sum(collection.records for collection in report.collections) == len(place.records)
        phases = carrack.store.Progress.Phase.schema.enumerants
        order = [(phases[phase], done) for phase, done, _ in progress.reports]
        assert order and order == sorted(order), progress.reports
        # The size was said before the first byte, so there was a total from the start.
        assert all(total == len(place.car) for phase, _, total in progress.reports if phase == "receiving")


async def test_the_same_again_is_unchanged(place):
    async with place.session() as session:
        answer = await carrack.upload(session.importer().importer, place.car)
        assert answer.result.which() == "unchanged"
        assert answer.result.unchanged.info.source.did == place.did


async def test_what_is_wrong_with_a_car_is_an_answer(place):
    broken = bytearray(place.car)
    broken[-1] ^= 1
    async with place.session() as session:
        importer = session.importer().importer
        answer = await carrack.upload(importer, bytes(broken))
        assert (answer.result.which(), answer.result.rejected.code) == ("rejected", "badHash"), answer.result
        answer = await carrack.upload(importer, place.car[:-5])
        assert (answer.result.which(), answer.result.rejected.code) == ("rejected", "incomplete"), answer.result
        answer = await carrack.upload(importer, place.car, did="did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
        assert (answer.result.which(), answer.result.rejected.code) == ("rejected", "wrongDid"), answer.result
        # The store is as it was.
        assert (await session.store().store.repo(place.did).repo.info()).info.records == len(place.records)


async def test_an_export_gives_back_the_bytes_that_came_in(place):
    async with place.repo() as repo:
        sink = Bytes()
        answer = await repo.export(sink)
        assert answer.which() == "exported" and sink.is_done
        assert bytes(sink.car) == place.car
        assert answer.exported.bytes == len(place.car)
        assert answer.exported.records == len(place.records)
        root, held = blocks.read_car(bytes(sink.car))
        assert root == answer.exported.source.commit and len(held) == answer.exported.blocks


async def test_a_sink_that_is_slow_holds_an_export_back(place):
    async with place.session() as session:
        repo = session.store().store.repo(place.big_did).repo
        sink = Slow()
        exporting = task(repo.export(sink))
        await happens(sink.was_written, exporting)
        # Others are served meanwhile, on this connection too.
        assert (await repo.info()).which() == "info"
        assert not exporting.done() and len(sink.car) < len(place.big_car)
        sink.may_answer.set()
        assert (await exporting).exported.bytes == len(place.big_car)
        assert bytes(sink.car) == place.big_car and sink.is_done


async def test_an_export_that_is_dropped_stops(place):
    async with place.session() as session:
        repo = session.store().store.repo(place.big_did).repo
        sink = Slow()
        alive, was_written, may_answer, car = weakref.ref(sink), sink.was_written, sink.may_answer, sink.car
        exporting = task(repo.export(sink))
        del sink
        await happens(was_written, exporting)
        await dropped(exporting)
        del exporting
        assert (await repo.info()).which() == "info"
        may_answer.set()
        # What was on the way has come in; then the server let go of the sink.
        await released(alive)
        assert len(car) < len(place.big_car), "an export that nobody waits for went on to its end"
        assert (await repo.info()).which() == "info"


async def test_a_check_that_is_dropped_ends(place):
    class Watcher(carrack.store.CheckWatcher.Server):
        def __init__(self, stuck):
            self.stuck, self.findings, self.was_told = stuck, [], asyncio.Event()

        async def found(self, finding, **_):
            self.findings.append(finding.section)
            self.was_told.set()
            if self.stuck:
                # The check waits until a finding is taken.
                await asyncio.Event().wait()

        async def progress(self, **_):
            pass

    with place.another_server() as server:
        async with carrack.connect(server.unix) as gate:
            session = gate.login("").session
            answer = await carrack.upload(session.importer().importer, place.car)
            assert answer.result.which() == "imported"
            [segment] = (server.folder / "segments").glob("*.cseg")
            with open(segment, "r+b") as file:
                file.seek(segment.stat().st_size // 2)
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes([byte ^ 1]))
            keeper = session.keeper().keeper
            watcher = Watcher(stuck=True)
            alive, was_told = weakref.ref(watcher), watcher.was_told
            checking = task(keeper.check(True, watcher))
            del watcher
            await happens(was_told, checking)
            await dropped(checking)
            del checking
            await released(alive)
            # Nothing waits for the one that was let go.
            watcher = Watcher(stuck=False)
            report = (await keeper.check(True, watcher)).report
            assert report.findings == len(watcher.findings) >= 1
            assert report.reposDamaged == 1


async def test_a_dropped_upload_leaves_nothing_and_frees_its_place(place):
    with place.another_server("--import-wait", "0") as server:
        async with carrack.connect(server.unix) as gate:
            session = gate.login("").session
            importer = session.importer().importer
            # Uploads until the server takes no more at once; each has begun when its first write has come through.
            sinks = []
            while True:
                sink = importer.importCar({}).sink
                await sink.write(place.car[:1000])
                probe = importer.importCar({}).sink
                sinks.append(sink)
                assert len(sinks) <= 64, "imports without a limit"
                try:
                    with carrack.faults():
                        await probe.write(place.car[:1000])
                        # An upload of nothing but a start is refused; one that was not admitted is a fault.
                        await probe.done()
                except carrack.Fault as fault:
                    assert (fault.kind, fault.code) == ("OVERLOADED", "overloaded"), fault
                    break
            del sink, probe
            sinks.pop()
            gc.collect()

            async def imported():
                try:
                    with carrack.faults():
                        return (await carrack.upload(importer, place.car)).result.which()
                except carrack.Fault as fault:
                    assert fault.kind == "OVERLOADED", fault
                    return None

            # The server hears of the release a moment later: do what OVERLOADED says.
            for _ in range(1000):
                if outcome := await imported():
                    break
                await asyncio.sleep(0.01)
            assert outcome == "imported"
            sinks.clear()
            gc.collect()
            stats = (await session.store().store.stats()).stats
            assert (stats.repos, stats.segments) == (1, 1)

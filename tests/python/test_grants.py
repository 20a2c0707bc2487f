"""Authority: narrowed, handed on, used up and taken back."""

import asyncio
import time

import blocks
import carrack
from place import fails, happens, task
from test_streams import Slow

POSTS = "app.bsky.feed.post"
VALUE = {"form": "value"}
UNLIMITED = {"total": {"unlimited": None}, "perSecond": {"unlimited": None}}


def in_an_hour():
    return int((time.time() + 3600) * 1e6)


def scope(**changes):
    """A scope that allows to read and list everything for an hour, or what `changes` say instead."""
    usual = {
        "repos": {"all": None},
        "collections": {"all": None},
        "may": {"read": True, "list": True},
        "calls": UNLIMITED,
        "bytes": UNLIMITED,
        "expires": in_an_hour(),
    }
    return {**usual, **changes}


def grants_of(session):
    return session.grants().grants


async def test_a_grant_holds_what_it_was_given_and_no_more(place):
    async with place.session() as session:
        narrow = scope(repos={"only": [place.did]}, collections={"only": ["app.bsky.feed.*"]})
        # In the same flight: the session that is being issued is used at once.
        held = grants_of(session).issue(narrow, "posts only").session
        repo = held.store().store.repo(place.did).repo
        assert (await repo.collection(POSTS).collection.list({}, VALUE, {"limit": 3})).which() == "page"
        with fails("FAILED", "denied"):
            await repo.record("app.bsky.actor.profile/self").record.read(VALUE)
        with fails("FAILED", "denied"):
            await held.store().store.repo(place.big_did).repo.info()
        with fails("FAILED", "denied"):
            await repo.record(next(iter(place.records))).record.prove()
        with fails("FAILED", "denied"):
            await held.importer().importer.importCar({}).sink.done()
        with fails("FAILED", "denied"):
            await held.keeper().keeper.compact("", False)
        with fails("FAILED", "denied"):
            await grants_of(held).issue(scope(), "more than it has").grant.info()
        about = (await held.about()).about
        assert about.label == "posts only" and list(about.scope.repos.only) == [place.did]


async def test_a_scope_that_says_nothing_allows_nothing(place):
    async with place.session() as session:
        held = grants_of(session).issue({"expires": in_an_hour()}, "nothing").session
        with fails("FAILED", "budgetSpent"):
            await held.store().store.repo(place.did).repo.info()
        with fails("FAILED", "invalidArgument"):
            await grants_of(session).issue({}, "without an end").grant.info()


async def test_a_token_opens_a_grant_on_another_connection(place):
    async with place.session() as session:
        issued = grants_of(session).issue(scope(), "to hand on")
        saved = await issued.grant.save("for the other side")
        assert len(saved.token) >= 43, "256 bits"
        async with carrack.connect(place.address) as gate:
            held = gate.restore(saved.token).session
            assert (await held.store().store.repo(place.did).repo.info()).which() == "info"
            [token] = (await issued.grant.tokens()).tokens
            assert (token.id, token.label) == (saved.id, "for the other side")
            assert (await issued.grant.forget(saved.id)).known
            # Sessions that are open go on; nobody opens another.
            assert (await held.about()).about.label == "to hand on"
            with fails("FAILED", "badCredential"):
                await gate.login(saved.token)
        async with carrack.connect(place.address) as gate:
            with fails("FAILED", "badCredential"):
                await gate.restore("")


async def test_a_revoked_grant_fails_with_all_below_it(place):
    async with place.session() as session:
        may = {"read": True, "list": True, "grant": True}
        issued = await grants_of(session).issue(scope(may=may), "to be revoked")
        repo = issued.session.store().store.repo(place.did).repo
        below = await grants_of(issued.session).issue(scope(), "below it")
        below_repo = below.session.store().store.repo(place.did).repo
        assert (await repo.info()).which() == (await below_repo.info()).which() == "info"
        assert (await issued.grant.revoke()).revoked == 2
        for gone in (repo, below_repo):
            with fails("FAILED", "revoked"):
                await gone.info()
        with fails("FAILED", "revoked"):
            await issued.session.about()
        # The issuer's own authority is as it was.
        assert (await session.store().store.repo(place.did).repo.info()).which() == "info"


async def test_revoking_ends_an_import_under_way(place):
    did = "did:plc:stop2stop2stop2stop2stop"
    key = next(blocks.ground_keys("com.example.note"))
    car = blocks.small_repo(did, {f"com.example.note/{key}": {"text": "never to be seen"}})
    async with place.session() as session:
        issued = await grants_of(session).issue(scope(may={"import": True}), "an importer")
        sink = issued.session.importer().importer.importCar({}).sink
        await sink.write(car[:-10])
        await issued.grant.revoke()
        with fails("FAILED", "revoked"):
            await sink.write(car[-10:])
            await sink.done()
        assert (await session.store().store.repo(did).repo.info()).absent == "repo"


async def test_revoking_ends_an_export_under_way(place):
    async with place.session() as session:
        issued = await grants_of(session).issue(scope(may={"read": True, "export": True}), "an exporter")
        sink = Slow()
        exporting = task(issued.session.store().store.repo(place.big_did).repo.export(sink))
        await happens(sink.was_written, exporting)
        await issued.grant.revoke()
        sink.may_answer.set()
        with fails("FAILED", "revoked"):
            await exporting
        assert not sink.is_done and len(sink.car) < len(place.big_car)


async def test_a_budget_is_spent_for_good(place):
    async with place.session() as session:
        few = {"total": {"atMost": 6}, "perSecond": {"unlimited": None}}
        issued = await grants_of(session).issue(scope(calls=few), "six calls")
        repo = issued.session.store().store.repo(place.did).repo
        with fails("FAILED", "budgetSpent"):
            for _ in range(10):
                await repo.info()
        info = (await issued.grant.info()).info
        assert info.usage.calls == 6 and info.usage.refused >= 1
        hasty = {"total": {"unlimited": None}, "perSecond": {"atMost": 3}}
        issued = await grants_of(session).issue(scope(calls=hasty), "three at a time")
        repo = issued.session.store().store.repo(place.did).repo
        # That passes: another second has calls of its own.
        with fails("OVERLOADED", "overloaded"):
            await asyncio.gather(*(task(repo.info()) for _ in range(50)))


async def test_grants_are_listed_with_their_use(place):
    async with place.session() as session:
        may = {"read": True, "list": True, "grant": True}
        issued = await grants_of(session).issue(scope(may=may), "one that lists")
        made = [await grants_of(issued.session).issue(scope(), f"number {i}") for i in range(5)]
        await made[0].session.store().store.repo(place.did).repo.info()
        seen, after, more = [], "", True
        while more:
            page = await grants_of(issued.session).list(after, 2)
            seen += list(page.grants)
            after, more = page.grants[-1].id, page.more
        assert sorted(info.label for info in seen) == [f"number {i}" for i in range(5)]
        assert [info.id for info in seen] == sorted(info.id for info in seen)
        used = next(info for info in seen if info.label == "number 0")
        assert used.usage.calls >= 3 and used.usage.bytes >= 0
        # By its id, also after the handle is gone.
        del made
        await grants_of(issued.session).grant(used.id).grant.revoke()
        with fails("FAILED", "notFound"):
            await grants_of(issued.session).grant("nothing").grant.info()
        # What was used of those that descend counts for the grant above; the owner's use is not counted.
        assert (await issued.session.usage()).usage.calls > used.usage.calls
        assert (await session.usage()).usage.calls == 0


async def test_a_session_knows_what_it_has_used(place):
    async with place.session() as session:
        held = grants_of(session).issue(scope(may={"list": True}), "one that lists").session
        before = (await held.usage()).usage
        await held.store().store.repo(place.did).repo.list({}, {"form": "value"}, {"limit": 100})
        after = (await held.usage()).usage
        assert after.calls > before.calls and after.bytes > before.bytes


async def test_a_grant_outlives_its_server(place):
    with place.another_server() as server:
        async with carrack.connect(server.unix) as gate:
            session = gate.login("").session
            answer = await carrack.upload(session.importer().importer, place.car)
            assert answer.result.which() == "imported"
            saved = await grants_of(session).issue(scope(), "for later").grant.save("a token")
            token = saved.token
        server.kill()
        with server:
            async with carrack.connect(server.tcp) as gate:
                repo = gate.login(token).session.store().store.repo(place.did).repo
                assert (await repo.info()).info.records == len(place.records)
            async with carrack.connect(server.tcp) as gate:
                with fails("FAILED", "badCredential"):
                    # On TCP nobody is the owner.
                    await gate.login("")


async def test_a_connection_that_guesses_is_closed(place):
    async with carrack.connect(place.address) as gate:

        async def guess(number):
            try:
                with carrack.faults():
                    await gate.login(f"guess{number}")
            except carrack.Fault as fault:
                return fault
            raise AssertionError("a guess was right")

        for number in range(100):
            fault = await guess(number)
            if fault.kind == "DISCONNECTED":
                assert number >= 1, "the first guess was not answered"
                break
            assert (fault.kind, fault.code) == ("FAILED", "badCredential"), fault
        else:
            raise AssertionError("a hundred guesses on one connection")

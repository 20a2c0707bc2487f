"""Plans: filter, follow, count and group next to the data, in one round trip."""

import blocks
import carrack
import values
from place import fails
from recorder import Recorder

DID = "did:plc:plan2plan2plan2plan2plan"
NOTES = "com.example.note"
VALUE = {"form": "value"}


def notes():
    """Eight notes of three colours and growing sizes; each but the first answers the one before it."""
    keys = [key for key, _ in zip(blocks.ground_keys(NOTES), range(8))]
    found = {}
    for number, key in enumerate(keys):
        note = {"$type": NOTES, "colour": "red green blue".split()[number % 3], "size": number, "text": f"Note {number}"}
        if number:
            note["answers"] = f"at://{DID}/{NOTES}/{keys[number - 1]}"
        found[key] = note
    return found


async def prepared(session):
    car = blocks.small_repo(DID, {f"{NOTES}/{key}": note for key, note in notes().items()})
    answer = await carrack.upload(session.importer().importer, car)
    assert answer.result.which() in ("imported", "unchanged")
    return session.store().store


ALL = {"list": {"repos": {"named": [DID]}, "collection": NOTES}}


def records_of(answer):
    return [values.to_python(row.record.record.value) for row in answer.rows]


async def test_a_plan_is_one_call(place):
    async with place.session() as session:
        await prepared(session)
    async with Recorder(place.address, place.work, answers_after=3) as recorder:
        async with carrack.connect(recorder.address) as gate:
            store = gate.login(place.credential).session.store().store
            answer = (await store.query({"steps": [ALL, {"from": 1, "count": None}]})).answer
            assert [row.count for row in answer.rows] == [8]
            assert answer.ended == "complete"
    assert recorder.calls() == ["Gate.login", "Session.store", "Store.query"] and recorder.flights() == 1


async def test_rows_are_records(place):
    async with place.session() as session:
        store = await prepared(session)
        answer = (await store.query({"steps": [ALL]})).answer
        assert records_of(answer) == list(notes().values())
        assert [row.record.record.rkey for row in answer.rows] == list(notes())
        # Where they come from is said once, and rows name it by number.
        assert {answer.sources[row.record.source].did for row in answer.rows} == {DID}


async def test_filters_look_at_paths(place):
    async with place.session() as session:
        store = await prepared(session)

        async def sizes(*tests):
            answer = (await store.query({"steps": [ALL, {"from": 1, "filter": list(tests)}]})).answer
            return [note["size"] for note in records_of(answer)]

        assert await sizes({"path": "colour", "equals": values.wire("red")}) == [0, 3, 6]
        assert await sizes({"path": "colour", "equals": values.wire("red"), "negate": True}) == [1, 2, 4, 5, 7]
        assert await sizes({"path": "size", "atLeast": values.wire(6)}) == [6, 7]
        assert await sizes({"path": "size", "below": values.wire(2)}) == [0, 1]
        assert await sizes({"path": "answers", "exists": None}) == list(range(1, 8))
        assert await sizes({"path": "answers", "exists": None, "negate": True}) == [0]
        assert await sizes({"path": "text", "contains": "nOTE 5"}) == [5]
        assert await sizes({"path": "text", "prefix": "Note 7"}, {"path": "size", "equals": values.wire(7)}) == [7]
        assert await sizes({"path": "@rkey", "equals": values.wire(list(notes())[4])}) == [4]


async def test_references_are_followed(place):
    async with place.session() as session:
        store = await prepared(session)
        blue = {"from": 1, "filter": [{"path": "colour", "equals": values.wire("blue")}]}
        answer = (await store.query({"steps": [ALL, blue, {"from": 2, "map": "answers"}]})).answer
        # What the blue ones answer is green.
        assert [note["size"] for note in records_of(answer)] == [1, 4]
        # A name that leads nowhere is a row that says so.
        nowhere = f"at://{DID}/{NOTES}/nothing"
        uris = [f"at://{DID}/{NOTES}/{next(iter(notes()))}", nowhere]
        answer = (await store.query({"steps": [{"get": uris}]})).answer
        assert values.to_python(answer.rows[0].record.record.value)["size"] == 0
        assert (answer.rows[1].absent.uri, answer.rows[1].absent.hop) == (nowhere, "record")


async def test_rows_are_counted_grouped_and_cut(place):
    async with place.session() as session:
        store = await prepared(session)
        groups = (await store.query({"steps": [ALL, {"from": 1, "group": "colour"}]})).answer
        assert {values.to_python(row.value): row.count for row in groups.rows} == {"red": 3, "green": 3, "blue": 2}
        fewest = {"from": 2, "top": {"count": 1, "ascending": True}}
        answer = (await store.query({"steps": [ALL, {"from": 1, "group": "colour"}, fewest]})).answer
        assert [(values.to_python(row.value), row.count) for row in answer.rows] == [("blue", 2)]
        largest = {"from": 1, "top": {"count": 2, "by": "size"}}
        answer = (await store.query({"steps": [ALL, largest, {"from": 2, "project": {"form": "value", "fields": ["size"]}}]})).answer
        assert records_of(answer) == [{"size": 7}, {"size": 6}]
        answer = (await store.query({"steps": [ALL, {"from": 1, "distinct": "colour"}]})).answer
        assert [note["size"] for note in records_of(answer)] == [0, 1, 2]
        # Any step can be the answer.
        answer = (await store.query({"steps": [ALL, {"from": 1, "count": None}], "answer": 1})).answer
        assert len(answer.rows) == 8


async def test_budgets_end_a_plan_and_costs_are_told(place):
    async with place.session() as session:
        store = await prepared(session)
        answer = (await store.query({"steps": [ALL], "budget": {"rows": 3}})).answer
        assert [note["size"] for note in records_of(answer)] == [0, 1, 2] and answer.ended == "rows"
        answer = (await store.query({"steps": [ALL, {"from": 1, "count": None}], "budget": {"work": 4}})).answer
        assert answer.ended == "work"
        answer = (await store.query({"steps": [ALL, {"from": 1, "count": None}]})).answer
        listed, counted = answer.steps
        assert (listed.rowsOut, counted.rowsIn, counted.rowsOut) == (8, 8, 1) and listed.work >= 8


async def test_a_plan_that_makes_no_sense_is_refused(place):
    async with place.session() as session:
        store = await prepared(session)
        about = (await session.about()).about
        for steps in (
            [],
            [{"none": None}],
            [{"from": 1, "count": None}],
            [ALL, {"from": 3, "count": None}],
            [{"list": {"repos": {"named": ["no name"]}, "collection": NOTES}}],
            [ALL, {"from": 1, "filter": [{"path": "size"}]}],
        ):
            with fails("FAILED", "invalidArgument"):
                await store.query({"steps": steps})
        with fails("FAILED", "limitExceeded"):
            await store.query({"steps": [ALL] * (about.queryStepsMax + 1)})

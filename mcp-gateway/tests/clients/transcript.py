"""Holds the session in a README against one that was just had: transcript.py README NAME EVENTS

EVENTS is what session.mjs or session.py wrote. What differs from run to run is replaced by words of fixed form. The README has the
transcript between two comments that name it; if it is another one, the difference is printed and this fails. UPDATE=1 in
the environment writes it instead.
"""

import difflib
import json
import os
import re
import sys
from pathlib import Path

# What differs from run to run, or is the store's own affair, such as how well it packs.
VOLATILE = [
    (re.escape(os.environ["DIR"]), "DIR"),
    (re.escape(os.environ["GRANT"]), "GRANT"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"cursor=c1_[\w-]+", "cursor=CURSOR"),
    (r"checked \d{4}-\d\d-\d\dT[\d:]+Z", "checked TIME"),
    (r"[\d,]+ stored", "N stored"),
    (r"work [\d,]+", "work N"),
]


def fixed(text):
    for pattern, word in VOLATILE:
        text = re.sub(pattern, word, text)
    return text


# What is told of an import's progress.
TOLD = re.compile(r"received [\d,]+ of [\d,]+ bytes|verified [\d,]+ records|committing")


def progress(notes):
    """Says what was told of a call's progress. How often, and of which phases, depends on how fast things go; that it only grows does not."""
    if not notes:
        return []
    values = [note["progress"] for note in notes]
    assert values == sorted(set(values)) and values[-1] <= notes[0]["total"] == 100, notes
    assert all(TOLD.fullmatch(note["message"]) for note in notes), notes
    return ['notifications/progress, N of 100: "received N of N bytes", "verified N records", "committing"']


def lines(event):
    if "protocol" in event:
        yield f"protocol {event['protocol']}, server {event['server']['name']}"
        return
    if "run" in event:
        yield f"$ {' '.join(event['run'])}"
        read = event["printed"].splitlines()
    else:
        arguments = event.get("arguments")
        # As short as JSON can be, in the order in which the client sends it.
        shown = "" if arguments is None else " " + json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
        yield f"> {event['sent']}{shown}"
        told = progress(event.get("notes"))
        assert told or "at_import" not in event["sent"], "nothing was told of the import's progress"
        read = told + "\n".join(event["read"]).splitlines()
    mark = "!" if event.get("refused") else " "
    yield from (f"{mark} {line}" for line in read)


def main():
    readme, name, events = sys.argv[1:]
    transcript = fixed("\n".join(line for event in Path(events).read_text().splitlines() for line in lines(json.loads(event))))
    text = Path(readme).read_text()
    start, end = f"<!-- session {name} -->\n", f"<!-- end of session {name} -->\n"
    before, found, rest = text.partition(start)
    old, also_found, after = rest.partition(end)
    assert found and also_found, f"{readme} has no place for the session {name}"
    new = f"```text\n{transcript}\n```\n"
    if old == new:
        return
    if os.environ.get("UPDATE"):
        Path(readme).write_text(before + start + new + end + after)
        return
    difference = difflib.unified_diff(old.splitlines(), new.splitlines(), readme, "the session just had", lineterm="")
    print("\n".join(difference), f"\nthe session {name} is another one; UPDATE=1 writes it", sep="\n", file=sys.stderr)
    sys.exit(1)


main()

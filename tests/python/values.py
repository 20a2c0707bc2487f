"""Record values: from the flat tree on the wire to Python objects.

A `Value` is a list of nodes in pre-order. A list or a map says how many children follow it, so one pass rebuilds the tree:

    {"a": [1, "x"]}   is   map 1 · (key a) list 2 · int 1 · text "x"

It is flat because Cap'n Proto readers refuse structs nested more than 64 pointers deep, and a legal record may nest 32 levels of
maps, each of which would take two or three.
"""

import base64
import dataclasses

NULL, BOOL, INT, TEXT, BYTES, LINK, LIST, MAP = range(8)  # Node.Kind


@dataclasses.dataclass(frozen=True)
class Link:
    """A reference to a block: its binary CID."""

    cid: bytes

    def __str__(self):
        return cid_text(self.cid)


def cid_text(cid):
    """The text form of a binary CID: base32 in lower case behind a `b`."""
    return "b" + base64.b32encode(cid).decode().rstrip("=").lower()


def to_python(value):
    """Returns a value as None, bool, int, str, bytes, Link, list or dict. A dict's keys keep their order on the wire."""
    # Each list is fetched once: every fetch counts against the message's traversal limit.
    texts, blobs = list(value.texts), list(value.blobs)
    nodes = iter(value.nodes)

    def read(node):
        kind, scalar = node.kind.raw, node.scalar
        if kind == NULL:
            return None
        if kind == BOOL:
            return scalar != 0
        if kind == INT:
            return scalar
        if kind == TEXT:
            return texts[scalar]
        if kind == BYTES:
            return blobs[scalar]
        if kind == LINK:
            return Link(blobs[scalar])
        if kind == LIST:
            return [read(next(nodes)) for _ in range(scalar)]
        if kind == MAP:
            children = (next(nodes) for _ in range(scalar))
            return {texts[child.key]: read(child) for child in children}
        raise ValueError(f"a node of kind {kind} is of a newer schema, and nobody knows how many children it has")

    return read(next(nodes))


def to_json(value):
    """Returns a Python value as JSON would have it in the AT Protocol: `{"$link": …}`, `{"$bytes": …}`."""
    if isinstance(value, Link):
        return {"$link": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode().rstrip("=")}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def wire(value):
    """Returns a text or an integer as the test of a query's filter takes it: what pycapnp makes a `Value` of."""
    if isinstance(value, str):
        return {"nodes": [{"kind": "text", "scalar": 0}], "texts": [value]}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"nodes": [{"kind": "int", "scalar": value}]}
    raise TypeError(f"{value!r} is neither text nor integer")

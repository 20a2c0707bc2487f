"""Blocks of a repository without Carrack: DAG-CBOR, CIDs, CAR files and the tree, as small as they can be.

It is here to check with other eyes what the store says, and to make repositories that no generator would. It trusts its input.
"""

import hashlib
import itertools

from values import Link

CID_BYTES = 36


def cid_of(block):
    """The CID of a DAG-CBOR block: version 1, codec 0x71, SHA-256 of 32 bytes."""
    return b"\x01\x71\x12\x20" + hashlib.sha256(block).digest()


def encode(value):
    """Python objects to DAG-CBOR."""
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return head(3, len(text)) + text
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        # Shorter keys first, then by bytes.
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return head(5, len(keys)) + b"".join(encode(key) + encode(value[key]) for key in keys)
    if isinstance(value, Link):
        # Tag 42, and a zero before the CID.
        return b"\xd8\x2a" + encode(b"\x00" + value.cid)
    raise TypeError(f"{value!r} has no place in the data model")


def head(major, argument):
    if argument < 24:
        return bytes([major << 5 | argument])
    size = next(size for size in (1, 2, 4, 8) if argument < 1 << 8 * size)
    return bytes([major << 5 | 23 + size.bit_length()]) + argument.to_bytes(size, "big")


def decode(block):
    """DAG-CBOR to Python objects."""
    value, end = decode_at(block, 0)
    assert end == len(block), "bytes after the value"
    return value


def decode_at(block, at):
    major, argument = block[at] >> 5, block[at] & 31
    at += 1
    if major == 7:
        return {20: False, 21: True, 22: None}[argument], at
    if argument >= 24:
        size = 1 << argument - 24
        argument = int.from_bytes(block[at : at + size], "big")
        at += size
    if major == 0:
        return argument, at
    if major == 1:
        return -1 - argument, at
    if major == 2:
        return bytes(block[at : at + argument]), at + argument
    if major == 3:
        return block[at : at + argument].decode(), at + argument
    if major == 6:
        value, at = decode_at(block, at)
        return Link(value[1:]), at
    items = []
    for _ in range(argument * (2 if major == 5 else 1)):
        item, at = decode_at(block, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2])) if major == 5 else items), at


def varint(number):
    low = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes(byte | 0x80 for byte in low[:-1]) + bytes(low[-1:])


def read_varint(data, at):
    number = 0
    for shift in itertools.count(0, 7):
        number |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return number, at


def car(root, blocks):
    """A CAR file: a header that names the root, then the blocks, each behind its length and its CID."""
    header = encode({"version": 1, "roots": [Link(root)]})
    sections = [header] + [cid_of(block) + block for block in blocks]
    return b"".join(varint(len(section)) + section for section in sections)


def read_car(data):
    """Returns a CAR's root and its blocks by CID, each of which hashes to it."""
    size, at = read_varint(data, 0)
    root = decode(data[at : at + size])["roots"][0].cid
    at += size
    blocks = {}
    while at < len(data):
        size, at = read_varint(data, at)
        cid, block = data[at : at + CID_BYTES], data[at + CID_BYTES : at + size]
        assert cid == cid_of(block), "a block that does not hash to its CID"
        blocks[cid] = block
        at += size
    return root, blocks


def find(blocks, node, key):
    """Looks for a key in the tree below a node: its record's CID, or None where it would be and is not.

    Fails if it needs a node that is not among the blocks, so its answer is one that the blocks prove.
    """
    key = key.encode()
    tree = decode(blocks[node])
    below, last = tree["l"], b""
    for entry in tree["e"]:
        last = last[: entry["p"]] + entry["k"]
        if last == key:
            return entry["v"].cid
        if last > key:
            break
        below = entry["t"]
    return find(blocks, below.cid, key.decode()) if below else None


def is_on_ground(path):
    """Whether a key is of height 0, as three quarters are: its SHA-256 does not begin with two zero bits."""
    return hashlib.sha256(path.encode()).digest()[0] >> 6 > 0


def ground_keys(collection, start=""):
    """Record keys of a collection whose paths are of height 0, ascending."""
    letters = (start + a + b for a in "abcdefgh" for b in "abcdefgh")
    return (key for key in letters if is_on_ground(f"{collection}/{key}"))


def small_repo(did, records, rev="3kxjewfv2ep2b"):
    """A repository as a CAR, from values by path. Nobody signed it; its tree is one node, so every key must be of height 0."""
    assert all(map(is_on_ground, records)), "a key above the tree's ground"
    blocks, entries, last = [], [], b""
    for path in sorted(records, key=str.encode):
        blocks.append(encode(records[path]))
        key = path.encode()
        shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(last, key)))
        entries.append({"p": shared, "k": key[shared:], "v": Link(cid_of(blocks[-1])), "t": None})
        last = key
    node = encode({"l": None, "e": entries})
    fields = {"did": did, "version": 3, "data": Link(cid_of(node)), "rev": rev, "prev": None, "sig": bytes(64)}
    commit = encode(fields)
    return car(cid_of(commit), [commit, node, *blocks])

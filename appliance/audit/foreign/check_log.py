#!/usr/bin/env python3
"""Checks an audit log in a folder, sharing no code with the program that wrote it.

    check_log.py DIR --vkey VKEY [--since CHECKPOINT] [--json]

Written from the public formats alone: RFC 6962 hashing, c2sp.org/signed-note, c2sp.org/tlog-checkpoint and
c2sp.org/tlog-tiles. Needs Python 3.9 or later with `cryptography`; with `pymerkle` 7 the root is computed a second
time by that library. Exit status: 0 the log is intact, 1 it is not, 2 it could not be checked.
"""

import argparse
import base64
import binascii
import hashlib
import json
import os
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FULL = 256
HASH_BYTES = 32
LEAF_BYTES_MAX = 16 * 1024
NOTE_BYTES_MAX = 512 * 1024
ED25519 = 0x01


class Bad(Exception):
    """The log is not what it should be."""


def sha256(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def leaf_hash(entry):
    return sha256(b"\x00", entry)


def node_hash(left, right):
    return sha256(b"\x01", left, right)


def merkle_root(hashes):
    """MTH of RFC 6962 over hashes of one level, by pairing up: an odd last one moves up as it is."""
    if not hashes:
        return sha256()
    while len(hashes) > 1:
        paired = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes) - 1, 2)]
        hashes = paired + ([hashes[-1]] if len(hashes) % 2 else [])
    return hashes[0]


def strict_base64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Bad(f"not base64: {text[:40]!r}") from error
    if base64.b64encode(data).decode() != text:
        raise Bad(f"not the one right base64: {text[:40]!r}")
    return data


class Key:
    """A verifier key: name+id+base64(type || public key)."""

    def __init__(self, text):
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise Bad("a verifier key is name+id+key")
        self.name = parts[0]
        raw = strict_base64(parts[2])
        if not raw or raw[0] != ED25519 or len(raw) != 1 + 32:
            raise Bad("not an Ed25519 log key")
        self.id = sha256(self.name.encode(), b"\n", raw)[:4]
        if self.id.hex() != parts[1]:
            raise Bad("the id of the verifier key does not fit")
        self.public = Ed25519PublicKey.from_public_bytes(raw[1:])


def open_note(data, key):
    """Text of a note that `key` signed."""
    if len(data) > NOTE_BYTES_MAX:
        raise Bad("the note is too long")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Bad("the note is not UTF-8") from error
    if any((ord(c) < 0x20 and c != "\n") or ord(c) == 0x7F for c in note):
        raise Bad("the note holds control characters")
    split = note.rfind("\n\n")
    if split < 0 or not note.endswith("\n") or split + 2 >= len(note):
        raise Bad("the note has no signatures")
    text, lines = note[: split + 1], note[split + 2 : -1].split("\n")
    good = 0
    for line in lines:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014" or not valid_name(parts[1]):
            raise Bad("malformed signature line")
        raw = strict_base64(parts[2])
        if len(raw) < 5:
            raise Bad("short signature line")
        if (parts[1], raw[:4]) != (key.name, key.id):
            continue  # of somebody that we do not know
        try:
            key.public.verify(raw[4:], text.encode())
        except InvalidSignature as error:
            raise Bad("bad signature on the checkpoint") from error
        good += 1
    if not good:
        raise Bad("the checkpoint is not signed by the key")
    return text


def valid_name(name):
    return bool(name) and "+" not in name and not any(c.isspace() for c in name)


def open_checkpoint(data, key):
    """Size and root of a signed checkpoint."""
    lines = open_note(data, key).split("\n")
    if len(lines) != 4 or lines[3] != "":
        raise Bad("a checkpoint has three lines")
    origin, size, root = lines[:3]
    if origin != key.name:
        raise Bad(f"the checkpoint is of {origin!r}")
    if not (size.isascii() and size.isdigit()) or (size != "0" and size[0] == "0") or int(size) >= 2**64:
        raise Bad("bad tree size")
    root = strict_base64(root)
    if len(root) != HASH_BYTES:
        raise Bad("bad root")
    return int(size), root


def tile_path(level, index, width):
    """tile/<level>/<index in groups of three>[.p/<width>]"""
    digits = str(index)
    digits = digits.zfill((len(digits) + 2) // 3 * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    name = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
    return f"tile/{level}/{name}" + ("" if width == FULL else f".p/{width}")


class Log:
    def __init__(self, folder):
        self.folder = folder

    def read(self, path):
        with open(os.path.join(self.folder, path), "rb") as file:
            return file.read()

    def place(self, level, index, count):
        """A tile or bundle of a tree in which its level has `count` items, and how many of them it holds.

        When a log has grown since its checkpoint was copied, the full file stands in for the partial one.
        """
        width = min(FULL, count - index * FULL)
        path = tile_path(level, index, width)
        try:
            return self.read(path), path, width, False
        except FileNotFoundError:
            pass
        try:
            return self.read(tile_path(level, index, FULL)), path, width, True
        except FileNotFoundError as error:
            raise Bad(f"{path} is missing") from error

    def hashes(self, level, index, count):
        data, path, width, is_full = self.place(level, index, count)
        if len(data) % HASH_BYTES or (len(data) // HASH_BYTES != (FULL if is_full else width)):
            raise Bad(f"{path} has the wrong length")
        return [data[i * HASH_BYTES : (i + 1) * HASH_BYTES] for i in range(width)], path

    def entries(self, index, count):
        data, path, width, is_full = self.place("entries", index, count)
        found, position = [], 0
        while position < len(data):
            length = int.from_bytes(data[position : position + 2], "big")
            entry = data[position + 2 : position + 2 + length]
            if position + 2 > len(data) or len(entry) != length:
                raise Bad(f"{path} is cut off")
            found.append(entry)
            position += 2 + length
        if len(found) != (FULL if is_full else width):
            raise Bad(f"{path} holds {len(found)} entries")
        return found[:width], path


def no_repeats(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def no_number(text):
    raise ValueError(f"{text} is not an integer")


def check_leaf(index, entry):
    """One canonical JSON object (RFC 8785, integers only) that says its own index."""
    if len(entry) > LEAF_BYTES_MAX:
        raise Bad(f"leaf {index} is too long")
    try:
        leaf = json.loads(
            entry.decode("utf-8"), object_pairs_hook=no_repeats, parse_float=no_number, parse_constant=no_number
        )
        canonical = json.dumps(leaf, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as error:
        raise Bad(f"leaf {index} is not JSON") from error
    if canonical != entry:
        raise Bad(f"leaf {index} is not canonical")
    if not isinstance(leaf, dict) or leaf.get("seq") != index or isinstance(leaf.get("seq"), bool):
        raise Bad(f"leaf {index} says that it is another one")


def check(folder, key, since=None):
    log = Log(folder)
    try:
        size, root = open_checkpoint(log.read("checkpoint"), key)
    except FileNotFoundError as error:
        raise Bad("checkpoint is missing") from error

    leaves = []
    second_opinion = SecondOpinion()
    for index in range((size + FULL - 1) // FULL):
        entries, path = log.entries(index, size)
        for position, entry in enumerate(entries):
            check_leaf(index * FULL + position, entry)
            second_opinion.append(entry)
        hashes = [leaf_hash(entry) for entry in entries]
        tile, tile_name = log.hashes(0, index, size)
        if tile != hashes:
            raise Bad(f"{tile_name} is not that of {path}")
        leaves += hashes

    level, below = 0, leaves
    while len(below) >= FULL:
        level += 1
        here = [merkle_root(below[i : i + FULL]) for i in range(0, len(below) - FULL + 1, FULL)]
        for index in range((len(here) + FULL - 1) // FULL):
            tile, tile_name = log.hashes(level, index, len(here))
            if tile != here[index * FULL : (index + 1) * FULL]:
                raise Bad(f"{tile_name} is not that of the tiles below")
        below = here

    if merkle_root(leaves) != root:
        raise Bad("the entries do not give the signed root")
    second_opinion.compare(root)
    if since is not None:
        old_size, old_root = open_checkpoint(since, key)
        if old_size > size:
            raise Bad(f"{old_size} leaves were signed before, here are {size}")
        if merkle_root(leaves[:old_size]) != old_root:
            raise Bad("the log is not a continuation of the earlier checkpoint")
    return {"intact": True, "size": size, "root": base64.b64encode(root).decode(), "pymerkle": second_opinion.state}


class SecondOpinion:
    """The root once more, by pymerkle, where it is installed."""

    def __init__(self):
        try:
            from pymerkle import InmemoryTree
        except ImportError:
            self.tree, self.state = None, "not installed"
        else:
            self.tree, self.state = InmemoryTree(algorithm="sha256"), "same root"

    def append(self, entry):
        if self.tree is not None:
            self.tree.append_entry(entry)

    def compare(self, root):
        if self.tree is not None and self.tree.get_root() != root:
            raise Bad("pymerkle finds another root")


def main():
    parser = argparse.ArgumentParser(description="Checks an audit log in a folder.")
    parser.add_argument("folder")
    parser.add_argument("--vkey", required=True, help="verifier key of the log: name+id+key")
    parser.add_argument("--since", help="file with an earlier checkpoint that was kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        since = None
        if arguments.since:
            with open(arguments.since, "rb") as file:
                since = file.read()
        result = check(arguments.folder, Key(arguments.vkey), since)
    except Bad as reason:
        result = {"intact": False, "reason": str(reason)}
    except OSError as error:
        print(f"cannot be checked: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(result))
    elif result["intact"]:
        print(f"intact: {result['size']} leaves, root {result['root']} (pymerkle: {result['pymerkle']})")
    else:
        print(f"not intact: {result['reason']}")
    return 0 if result["intact"] else 1


if __name__ == "__main__":
    sys.exit(main())

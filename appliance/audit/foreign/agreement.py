#!/usr/bin/env python3
"""Spoils copies of a log in every way it knows, and asks two checkers: they have to agree.

    agreement.py DIR --vkey VKEY --checker PROGRAM [--count N] [--seed N]

PROGRAM is called as `PROGRAM FOLDER VKEY` and exits with 0 for an intact log and 1 for another (the example
`check_log` of this crate). The other checker is `check_log.py`. Exit status 0: they agreed on every copy.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile

import check_log


def files_of(folder):
    return sorted(
        os.path.relpath(os.path.join(place, name), folder) for place, _, names in os.walk(folder) for name in names
    )


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def split_bundle(data):
    entries, position = [], 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 2], "big")
        entries.append(data[position + 2 : position + 2 + length])
        position += 2 + length
    return entries


def join_bundle(entries):
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def spoil(folder, chance):
    """Changes one thing; returns what it did."""
    path = chance.choice(files_of(folder))
    full = os.path.join(folder, path)
    data = read(full)
    ways = ["flip", "cut", "grow", "delete", "empty", "swap files"]
    if path.startswith("tile/entries/"):
        ways += ["delete leaf", "swap leaves", "repeat leaf", "drop leaves", "blank in leaf"] * 2
    way = chance.choice(ways)
    if way == "flip" and data:
        position = chance.randrange(len(data))
        flipped = bytes([data[position] ^ (1 << chance.randrange(8))])
        write(full, data[:position] + flipped + data[position + 1 :])
        return f"{path}: bit at {position}"
    if way == "cut" and data:
        write(full, data[: chance.randrange(len(data))])
    elif way == "grow":
        write(full, data + chance.randbytes(chance.choice([1, 2, 32])))
    elif way == "delete":
        os.remove(full)
    elif way == "empty":
        write(full, b"")
    elif way == "swap files":
        other = os.path.join(folder, chance.choice(files_of(folder)))
        other_data = read(other)
        write(other, data)
        write(full, other_data)
    elif way == "blank in leaf":
        entries = split_bundle(data)
        position = chance.randrange(len(entries))
        entries[position] = entries[position].replace(b":", b": ", 1)
        write(full, join_bundle(entries))
    else:
        entries = split_bundle(data)
        position = chance.randrange(len(entries))
        if way == "delete leaf":
            del entries[position]
        elif way == "swap leaves":
            other = chance.randrange(len(entries))
            entries[position], entries[other] = entries[other], entries[position]
        elif way == "repeat leaf":
            entries.insert(position, entries[position])
        else:
            del entries[position:]
        write(full, join_bundle(entries))
    return f"{path}: {way}"


def accepts(folder, vkey):
    try:
        check_log.check(folder, check_log.Key(vkey))
    except check_log.Bad:
        return False
    return True


def main():
    parser = argparse.ArgumentParser(description="Compares two checkers on spoiled copies of a log.")
    parser.add_argument("folder")
    parser.add_argument("--vkey", required=True)
    parser.add_argument("--checker", required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    accepted = disagreed = 0
    for number in range(arguments.count):
        with tempfile.TemporaryDirectory() as parent:
            copy = os.path.join(parent, "log")
            shutil.copytree(arguments.folder, copy)
            what = spoil(copy, chance) if number else "untouched"
            theirs = accepts(copy, arguments.vkey)
            ran = subprocess.run([arguments.checker, copy, arguments.vkey], capture_output=True, text=True, check=False)
            ours = ran.returncode == 0
            accepted += ours
            if ours != theirs or (number == 0 and not ours):
                disagreed += 1
                print(f"{what}: ours {ours} ({ran.stdout.strip()}), theirs {theirs}")
    print(f"{arguments.count} copies, {accepted} accepted, {disagreed} disagreements (seed {arguments.seed})")
    return 1 if disagreed else 0


if __name__ == "__main__":
    sys.exit(main())

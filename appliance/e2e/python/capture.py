"""Counts the frames that one Ethernet address sends on an interface, by kind, until standard input closes.

usage: capture.py INTERFACE BOX_MAC BOX_PORT

Prints one JSON object: {"arp": N, "reply": N, "other": [up to 20 descriptions]}. A reply is a TCP segment from the box's
port that is no opening SYN.
"""

import json
import select
import socket
import struct
import sys

ETH_P_ALL = 3


def kind_of(frame, port):
    kind = struct.unpack(">H", frame[12:14])[0]
    if kind == 0x0806:
        return "arp"
    if kind == 0x0800 and frame[23] == 6:
        start = 14 + (frame[14] & 15) * 4
        source, flags = struct.unpack(">H", frame[start:start + 2])[0], frame[start + 13]
        opens = flags & 0x02 and not flags & 0x10
        if source == port and not opens:
            return "reply"
    return f"ethertype {kind:04x} {frame[14:60].hex()}"


def main():
    interface, mac, port = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), int(sys.argv[3])
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.bind((interface, 0))
    raw.setblocking(False)
    print("ready", flush=True)
    counts, other = {"arp": 0, "reply": 0}, []
    closing = False
    while True:
        ready, _, _ = select.select([raw] if closing else [raw, sys.stdin], [], [], 0.5 if closing else None)
        if sys.stdin in ready:
            closing = True
        if raw in ready:
            frame = raw.recv(65535)
            if frame[6:12] != mac:
                continue
            kind = kind_of(frame, port)
            if kind in counts:
                counts[kind] += 1
            elif len(other) < 20:
                other.append(kind)
        elif closing:
            break
    print(json.dumps({**counts, "other": other}))


if __name__ == "__main__":
    main()

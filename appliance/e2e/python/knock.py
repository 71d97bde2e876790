"""Packets for the test of the firewall: `serve` answers, `tcp`, `udp`, `syn-ack`, `ping` try once and say what came of it."""

import socket
import sys
import threading

# Long enough for an answer on a link of our own, short enough to wait for one that never comes.
PATIENCE_S = 1.5


def serve(ports):
    """Answers on each TCP port with one byte, both families, until standard input ends."""
    listeners = []
    for port in ports:
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        listeners.append(listener)
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


def answer(listener):
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"!" * 4096)
        connection.close()


def tcp(address, port):
    with socket.create_connection((address, port), timeout=PATIENCE_S) as connection:
        return "answered" if connection.recv(1) else "closed"


def udp(address, port, source_port=0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.settimeout(PATIENCE_S)
        sender.bind(("::" if ":" in address else "0.0.0.0", source_port))
        sender.sendto(b"?", (address, port))
        return "sent"


def ping(address):
    """An ICMP echo request, as `ping` sends it."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.settimeout(PATIENCE_S)
        sender.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (address, 0))
        while True:
            reply, (source, _) = sender.recvfrom(2048)
            if source == address and reply[20] == 0:
                return "answered"


def stray(address, port):
    """A TCP segment that begins in the middle of a conversation: ACK without SYN."""
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.connect((address, port))
    source = own.getsockname()[0]
    header = bytearray(
        (40000).to_bytes(2, "big") + port.to_bytes(2, "big") + bytes(8) + b"\x50\x10\x20\x00" + bytes(4)
    )
    pseudo = socket.inet_aton(source) + socket.inet_aton(address) + b"\x00\x06\x00\x14"
    data = pseudo + bytes(header)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    header[16:18] = (~total & 0xFFFF).to_bytes(2, "big")
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sender:
        sender.settimeout(PATIENCE_S)
        sender.sendto(bytes(header), (address, 0))
        while True:
            reply, (peer, _) = sender.recvfrom(2048)
            if peer == address:
                return "answered"


def main(words):
    name, *rest = words
    if name == "serve":
        serve([int(port) for port in rest])
        return
    deeds = {"tcp": tcp, "udp": udp, "ping": ping, "stray": stray}
    numbers = [rest[0], *(int(word) for word in rest[1:])]
    try:
        print(deeds[name](*numbers))
    except TimeoutError:
        print("silence")
    except OSError as error:
        print(f"refused {error.errno}")


main(sys.argv[1:])

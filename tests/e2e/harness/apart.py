"""A host of its own on this machine: another name, and a network that ends at its own
loopback, which the kernel's namespaces give to whoever is root, and to others with a
namespace of users.

What runs there reaches Unix sockets by their paths, as everybody does, and of TCP only
what listens there; and nobody else reaches that.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys

from .process import find_program

SIOCSIFFLAGS, IFF_UP = 0x8914, 1


class Apart:
    """listeners: one for each port, of this host's loopback; enter: what stands before the
    words of a program that is to run there."""

    def __init__(self, name, ports):
        self.name = name
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [find_program("unshare"), "--net", "--uts",
                 *([] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]), "--",
                 sys.executable, "-B", "-m", "harness.apart", name, *map(str, ports)],
                stdin=theirs, cwd=os.path.dirname(os.path.dirname(__file__)))
        self.line = ours
        said, descriptors, *_ = socket.recv_fds(ours, 1, len(ports))
        assert said == b".", f"no host of its own: unshare(1) ended with {self.process.wait()}; this takes root, or user namespaces"
        self.listeners = [socket.socket(fileno=d) for d in descriptors]
        self.enter = [find_program("nsenter"), f"--target={self.process.pid}", "--net", "--uts",
                      *([] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]), "--"]

    def close(self):
        """It goes with the last process in it."""
        for listener in self.listeners:
            listener.close()
        self.line.close()
        self.process.wait(60)


def main(name, *ports):
    socket.sethostname(name)
    with socket.socket() as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
    listeners = []
    for port in ports:
        listeners.append(socket.create_server(("127.0.0.1", int(port))))
    with socket.socket(fileno=0) as line:
        socket.send_fds(line, [b"."], [s.fileno() for s in listeners])
        for s in listeners:
            s.close()
        line.recv(1)  # until nobody needs it any more


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs a command on a kernel without Landlock, as far as that command can tell:
its system calls fail as they do where they do not exist (ENOSYS)."""

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LANDLOCK_CREATE_RULESET = 444  # on all machines
BPF_LD_W_ABS, BPF_JEQ, BPF_RET = 0x20, 0x15, 0x06
ALLOW, ENOSYS = 0x7FFF0000, 0x00050000 | 38


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


code = b"".join(struct.pack("HBBI", *line) for line in (
    (BPF_LD_W_ABS, 0, 0, 0),  # the number of the call
    (BPF_JEQ, 0, 1, LANDLOCK_CREATE_RULESET),
    (BPF_RET, 0, 0, ENOSYS),
    (BPF_RET, 0, 0, ALLOW),
))  # fmt: skip
buffer = ctypes.create_string_buffer(code)
program = Program(4, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)):  # fmt: skip
    sys.exit(f"no_landlock.py: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])

"""Initialises a PKCS#11 token: token_init.py MODULE LABEL SO_PIN USER_PIN.

A program of its own, so that the module is loaded into a process of its own, with
the environment and in the namespaces that belong to it. Takes the first slot whose
token has not been initialised.
"""

import ctypes
import sys

TOKEN_INITIALIZED, RW_SERIAL, SO = 0x400, 0x6, 0
ALREADY_INITIALIZED = 0x191


class TokenInfo(ctypes.Structure):
    _fields_ = [("label", ctypes.c_char * 32), ("manufacturer", ctypes.c_char * 32), ("model", ctypes.c_char * 16),
                ("serial", ctypes.c_char * 16), ("flags", ctypes.c_ulong), ("numbers", ctypes.c_ulong * 10),
                ("versions", ctypes.c_ubyte * 4), ("time", ctypes.c_char * 16)]


def call(module, name, *args):
    rv = getattr(module, name)(*args)
    if rv not in (0, ALREADY_INITIALIZED):
        sys.exit(f"{name}: CKR 0x{rv:x}")


def slots(module):
    count = ctypes.c_ulong(0)
    call(module, "C_GetSlotList", ctypes.c_ubyte(1), None, ctypes.byref(count))
    found = (ctypes.c_ulong * count.value)()
    call(module, "C_GetSlotList", ctypes.c_ubyte(1), found, ctypes.byref(count))
    return list(found)[:count.value]


def is_fresh(module, slot):
    info = TokenInfo()
    call(module, "C_GetTokenInfo", ctypes.c_ulong(slot), ctypes.byref(info))
    return not info.flags & TOKEN_INITIALIZED


def main(path, label, so_pin, pin):
    module = ctypes.CDLL(path)
    call(module, "C_Initialize", None)
    slot = next((s for s in slots(module) if is_fresh(module, s)), None)
    if slot is None:
        sys.exit("no slot with a fresh token")
    so, user = so_pin.encode(), pin.encode()
    call(module, "C_InitToken", ctypes.c_ulong(slot), so, ctypes.c_ulong(len(so)), label.encode().ljust(32))
    session = ctypes.c_ulong(0)
    call(module, "C_OpenSession", ctypes.c_ulong(slot), ctypes.c_ulong(RW_SERIAL), None, None, ctypes.byref(session))
    call(module, "C_Login", session, ctypes.c_ulong(SO), so, ctypes.c_ulong(len(so)))
    call(module, "C_InitPIN", session, user, ctypes.c_ulong(len(user)))
    call(module, "C_Logout", session)
    call(module, "C_Finalize", None)


if __name__ == "__main__":
    main(*sys.argv[1:])

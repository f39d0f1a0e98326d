# Memory that belongs to no process, which no measuring of processes would see.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
if libc.shmget(0, 1 << 20, 0o1666) >= 0:
    print("BREACH System V shared memory")
try:
    os.close(os.memfd_create("hidden"))
    print("BREACH memfd")
except OSError:
    pass
print("tried", flush=True)

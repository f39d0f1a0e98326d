# argv: the pid of a process outside. Everybody is signalled, read and slowed down.
import os
import signal
import sys

victims = [os.getppid(), int(sys.argv[1]), 1]
for victim in victims:
    for number in (0, signal.SIGUSR1, signal.SIGSTOP, signal.SIGKILL):
        try:
            if victim in (0, os.getpid()):
                continue
            os.kill(victim, number)
            # Process 1 inside cannot be hurt by its own, and reads nothing.
            if victim == int(sys.argv[1]) and victim > 2000:
                print("BREACH signalled", victim)
        except OSError:
            pass
    for name in ("mem", "environ", "maps", "fd/0", "root", "cwd"):
        try:
            if victim > 0:
                os.open("/proc/%d/%s" % (victim, name), os.O_RDONLY)
                print("BREACH opened", victim, name)
        except OSError:
            pass
try:
    pids = os.listdir("/proc")
except OSError:
    pids = []
for pid in filter(str.isdigit, pids):
    try:
        with open("/proc/%s/cmdline" % pid, "rb") as file:
            if b"test_box" in file.read():
                print("BREACH sees the supervisor")
    except OSError:
        pass
try:
    os.kill(-1, 0)
    os.kill(-1, signal.SIGUSR1)
except OSError:
    pass
print("tried", flush=True)

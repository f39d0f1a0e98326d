# Leaves processes behind that have their own sessions and ignore what can be ignored.
import os
import signal
import sys
import time

marker = sys.argv[1]
for kind in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 32):
                if number not in (signal.SIGKILL, signal.SIGSTOP):
                    signal.signal(number, signal.SIG_IGN)
            if kind == 1:
                os.kill(os.getpid(), signal.SIGSTOP)
            if kind == 2:
                os.closerange(0, 256)
            os.execvp("sh", ["sh", "-c", "sleep 300; : " + marker])
        os._exit(0)
time.sleep(0.3)
print("tried", flush=True)

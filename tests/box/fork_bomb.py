# As many processes as the box allows, each making more.
import os
import time

most = 0
end = time.monotonic() + 1.0
while time.monotonic() < end:
    try:
        if os.fork() == 0:
            continue
        most += 1
    except OSError:
        time.sleep(0.01)
if most > 2000:
    print("BREACH one process made", most)
print("tried", flush=True)

# Fills every place that can be written to, with bytes and with files.
import os

def fill(folder):
    n = 0
    try:
        for i in range(40):
            with open(folder + "/flood%d" % i, "wb") as file:
                for _ in range(8):
                    n += file.write(bytes(1 << 20))
    except OSError:
        pass
    return n

total = fill(".") + fill("/tmp") + fill("/dev/shm") + fill("/box")
if total > 80 << 20:
    print("BREACH wrote", total)
print("tried", flush=True)

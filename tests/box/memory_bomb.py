# Several processes that together take far more memory than each alone.
import os
import time

for _ in range(4):
    if os.fork() == 0:
        break
blocks = []
for _ in range(64):
    blocks.append(bytearray(8 << 20))
    for at in range(0, 8 << 20, 4096):
        blocks[-1][at] = 1
time.sleep(5)
print("BREACH kept all memory")

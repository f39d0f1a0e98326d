# Leaves something where another box might find it, and looks for what another one left.
import os

for folder in ("/dev/shm", "/tmp", "/var/tmp", ".", "/box"):
    path = folder + "/octet-left"
    if os.path.exists(path):
        print("BREACH found", path)
for folder in ("/dev/shm", "/var/tmp", "/box", "."):
    try:
        open(folder + "/octet-left", "w").close()
    except OSError:
        pass
print("tried", flush=True)

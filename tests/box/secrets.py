# argv: a path with a secret; the secret itself is in the caller's environment and on descriptors.
import glob
import os
import sys

word = "octet-" + "planted-" + "secret"

def look(place, text):
    if word in text:
        print("BREACH secret in", place)

look("environment", repr(os.environ))
allowed = {"PATH", "HOME", "TMPDIR", "LANG", "PWD", "SHLVL", "_", "LC_CTYPE"}
for name in set(os.environ) - allowed:
    print("BREACH variable", name)
for fd in range(3, 1024):
    try:
        look("descriptor %d" % fd, repr(os.pread(fd, 4096, 0)))
        print("BREACH descriptor", fd)
    except OSError:
        pass
paths = [sys.argv[1], "/root/.ssh/id_rsa", "/etc/shadow", "/etc/hostname", "/root", "/home",
         "/var", "/proc/1/environ", "/proc/1/mem", "/proc/1/root", "/proc/1/cwd", "/sys/kernel",
         "/etc/machine-id", "/run"]
for path in paths + glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    if "/%d/" % os.getpid() in path:
        continue
    try:
        if os.path.isdir(path):
            if path != "/root" or os.listdir(path) != [".pyenv"]:  # an interpreter may be there
                os.listdir(path)
                print("BREACH listed", path)
        else:
            with open(path, "rb") as file:
                look(path, repr(file.read(1 << 16)))
                print("BREACH opened", path)
    except OSError:
        pass
print("tried", flush=True)

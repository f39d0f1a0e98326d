# argv: a folder and a file outside that anybody may write to.
import os
import sys

folder, file = sys.argv[1], sys.argv[2]
attempts = {
    "create": lambda: open(folder + "/created", "w").close(),
    "change": lambda: open(file, "a").write("changed"),
    "remove": lambda: os.unlink(file),
    "rights": lambda: os.chmod(file, 0o600),
    "times": lambda: os.utime(file, (1, 1)),
    "rename": lambda: os.rename(file, file + ".moved"),
    "link": lambda: os.link(file, "linked"),
    "truncate": lambda: os.truncate(file, 0),
    "truncate by reading": lambda: os.open(file, os.O_RDONLY | os.O_TRUNC),
    "climb": lambda: open("../../../../../../.." + file, "a").write("changed"),
}
for place in ("/", "/usr", "/usr/bin", "/etc", "/dev", "/bin", "/lib", "/proc", "/root"):
    attempts["create in " + place] = lambda place=place: open(place + "/octet-evil", "w").close()
    attempts["folder in " + place] = lambda place=place: os.mkdir(place + "/octet-evil-folder")
for name, attempt in attempts.items():
    try:
        attempt()
        print("BREACH", name)
    except OSError:
        pass
print("tried", flush=True)

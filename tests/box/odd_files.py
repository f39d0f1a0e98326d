# Files that are a trap for whoever reads or removes them: "kept" is asked for by the test.
import os

os.symlink("/etc/passwd", "kept_link")
os.mkfifo("kept_fifo")
os.mkdir("kept_folder")
with open("kept_sparse", "wb") as file:
    try:
        file.truncate(1 << 40)
    except OSError:
        file.truncate(1 << 20)
os.symlink("..", "up")
os.mkdir("closed")
open("closed/file", "w").close()
try:
    os.chmod("closed", 0)
except OSError:
    pass  # where files of the user outside are to be protected
print("tried", flush=True)
for _ in range(2000):
    os.mkdir("deep")
    os.chdir("deep")
